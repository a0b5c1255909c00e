/* SPDX-License-Identifier: MIT */
/*
 * snapshot_index - the memory of a snapshot: which stamp each file had, and which digest
 *
 * One file per source directory, named by the digest of its path; entries in the order of a walk,
 * so that a walk finds its own by going along. It is a cache, written by rename without fsync and
 * in the machine's own byte order; a digest over all of it tells a torn or foreign one.
 *
 *	snapshot_index_load(index_dir, name, &index)
 *	for each path of a walk, in order:
 *		entry = snapshot_index_find(&index, path);	(NULL: not there)
 *
 * Entries point into the index. The parser takes any bytes (fuzzed).
 *
 * Threads: one index a thread. Errors: -ENOENT no index, -EBADMSG none of ours; negative errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/file_stamp.h"
#include "common/digest.h"
#include "common/strbuf.h"

/* What it is about. */
struct snapshot_index_head {
	int64_t start; /* of the walk, CLOCK_REALTIME in ns: later stamps are not believed */
	uint64_t root_device, root_inode;
	uint64_t count; /* entries */
	struct digest snapshot_id;
};

struct snapshot_index_entry {
	struct file_stamp stamp;
	struct digest digest; /* regular files; else zeroes */
	const char *path;
	const char *target; /* symbolic links; else "" */
};

struct snapshot_index {
	struct strbuf bytes;
	struct snapshot_index_head head;
	size_t at; /* of the next record */
	bool has_next;
	struct snapshot_index_entry next;
};

int snapshot_index_load(const char *index_dir, const char *name, struct snapshot_index *ret);
/* Takes over the bytes, when it succeeds. */
int snapshot_index_parse(struct strbuf *bytes, struct snapshot_index *ret);
/* A zeroed one is fine, and empty. */
void snapshot_index_release(struct snapshot_index *index);

/* Paths must come in the order of a walk ('/' before all other bytes). Valid until the next one. */
const struct snapshot_index_entry *snapshot_index_find(
	struct snapshot_index *index, const char *path);

/* Writing: begin, add in order, finish with the head (count and all), then save. */
void snapshot_index_begin(struct strbuf *out);
void snapshot_index_add(struct strbuf *out, const struct snapshot_index_entry *entry);
void snapshot_index_finish(struct strbuf *out, const struct snapshot_index_head *head);
int snapshot_index_save(const char *index_dir, const char *name, const struct strbuf *bytes);
