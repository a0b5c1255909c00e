/* SPDX-License-Identifier: MIT */
/*
 * executor - how a run is started: an interface, so that queue, limits and recovery can be tested
 * without processes (tests/fake_executor.h is the other one)
 *
 * The three calls return at once. What happens is told through the events, from the loop, never
 * from within a call: `started` at most once, then `ended` exactly once. After `ended` the executor
 * has forgotten the run.
 *
 * Threads: the loop's alone.
 */
#pragma once

#include <stdint.h>

#include "common/run_dir.h"

struct executor_events {
	/* The command runs; since when (UTC). */
	void (*started)(void *run, int64_t start_us);
	/* It is over and nothing of it is left. NULL: the supervisor is gone without a verdict;
	 * `seen_us` is when it was last known to live. */
	void (*ended)(void *run, const struct run_exit *exit, int64_t seen_us);
};

enum executor_found {
	EXECUTOR_LIVES, /* reattached; events will come */
	EXECUTOR_ENDED, /* it is over: `ended` will come with its record */
	EXECUTOR_LOST, /* it had been started and nobody knows how it ended: `ended(NULL)` will come
			*/
	EXECUTOR_NEVER_STARTED, /* forgotten again; no event will come */
};

struct executor;

struct executor_ops {
	/* run_dir holds `launch`. 0, or a negative errno: then no event comes. */
	int (*start)(struct executor *executor, const char *run_dir, void *run);
	/* Look at a run directory that an earlier daemon left. */
	enum executor_found (*reattach)(struct executor *executor, const char *run_dir, void *run);
	/* Ask it to stop; a second time is fine. */
	int (*stop)(struct executor *executor, void *run, const struct run_stop *stop);
	/* Forget all runs, which go on. */
	void (*free)(struct executor *executor, void (*freed)(void *data), void *data);
};

struct executor {
	const struct executor_ops *ops;
	const struct executor_events *events;
};
