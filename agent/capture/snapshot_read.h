/* SPDX-License-Identifier: MIT */
/*
 * snapshot_read - the files of a list that are not known yet, into the store
 *
 * Spread over a few threads. Each file is opened without following links, and read again (a few
 * times, with pauses) while it changes under the reading. One that has vanished is ITEM_GONE.
 *
 * Errors: -EACCES, -EBUSY a file that will not hold still, those of the store; err names the file.
 */
#pragma once

#include <stdint.h>

#include "capture/snapshot_list.h"
#include "common/error.h"

struct source;
struct store_batch;

/* The items' digests and stamps become those of what was read. */
int snapshot_read(struct store_batch *batch, const struct source *source, const struct walk *walk,
	struct snapshot_list *list, uint64_t *ret_read, struct error *err);
