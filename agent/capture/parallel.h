/* SPDX-License-Identifier: MIT */
/*
 * parallel - the same step for many items, on a few threads that end with the call
 *
 * The caller works too, so that a short list starts no thread at all. Items are handed out in their
 * order, a run of `grain` at a time. After a step that fails nothing more is handed out; of several
 * failures the one of the first item is reported, so the same fault gives the same message.
 *
 * Threads: the step is called from several at a time, one `worker` number for each; signals stay
 * with the threads of the caller.
 * Errors:  the step's.
 */
#pragma once

#include <stddef.h>

#include "common/error.h"

#define PARALLEL_WORKERS_MAX 4

struct parallel {
	size_t count; /* items 0 to count - 1 */
	size_t grain; /* handed out at a time */
	size_t worth; /* so many items are worth a thread more */
	int (*step)(void *context, unsigned worker, size_t item, struct error *err);
	void *context;
};

int parallel_run(const struct parallel *parallel, struct error *err);
