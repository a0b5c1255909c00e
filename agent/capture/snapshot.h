/* SPDX-License-Identifier: MIT */
/*
 * snapshot - a source directory into the store, and back
 *
 * snapshot_take() walks the directory (source.h: with the rights of its user) once, in sorted order, leaves out what the ignore files say
 * (`.amlignore` files at every level when the root has one, else `.gitignore` files; never both;
 * `.git` never), stores what is new, and returns the id: the digest of the canonical manifest
 * (store/manifest.h), itself a blob.
 *
 * It has a memory: <index_dir>/<digest of the source's name>, a list in walk order of path,
 * device, inode, size, mtime, ctime, mode and digest. An unchanged file costs one stat. Files whose
 * times were in the same clock tick as the walk that read them are read again (git's "racy" rule).
 * The index is a cache: a missing, torn or foreign one only costs time. A file that changes while
 * it is read is read again, and named as an error if it will not hold still.
 *
 * Files are opened relative to directory descriptors without following links; nothing but regular
 * files is ever opened for reading. Sockets, pipes and devices are left out with a warning; a link
 * that leads out of the tree is kept with a warning. Reading and hashing of many files is spread
 * over a few threads that live as long as the call. The folder that holds index_dir (the daemon's
 * state) is left out with a warning when it lies in the source directory.
 *
 * Threads: any; calls block. Two calls for one directory at a time are fine.
 * Errors:  negative errno with err naming the file: -ENOENT / -ENOTDIR the directory, -EACCES an
 *          unreadable file, -EFBIG over a hard limit (the largest offenders are named), -EBUSY a
 *          file that will not hold still, -ENOSPC the store, -EINVAL an empty name, -ENOTEMPTY a
 *          directory to lay out into that holds something. Nothing is left half-made.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/digest.h"
#include "common/error.h"

struct source;
struct store;

/* A larger manifest is refused (-EFBIG): readers may take this as their bound. */
#define SNAPSHOT_MANIFEST_MAX ((size_t)256 << 20)

struct snapshot_limits {
	uint64_t max_bytes, max_files;   /* an error above */
	uint64_t warn_bytes, warn_files; /* a warning above */
};

struct snapshot {
	struct digest id;
	uint64_t files;
	uint64_t bytes;
	uint64_t files_read; /* how many were opened; 0 for an unchanged tree */
	char **warnings;     /* strv */
};

int snapshot_take(struct store *store, const char *index_dir, const struct source *source,
	const struct snapshot_limits *limits, struct snapshot *ret, struct error *err);
void snapshot_release(struct snapshot *snapshot);

/*
 * Lay a snapshot out into the empty directory dirfd: bytes, permission bits, links. A relative link
 * that led out of the tree becomes an absolute one, so that it still leads where it led from
 * source_dir (absolute); with source_dir NULL all links are as they were. Bytes are verified on the
 * way. On failure the directory is empty again.
 */
int snapshot_lay_out(struct store *store, const struct digest *id, const char *source_dir,
	int dirfd, struct error *err);

/*
 * A snapshot as a tar stream (ustar with GNU long names; owners 0, times 0), read in pieces. Bytes
 * are verified on the way: -EBADMSG ends the stream.
 */
struct snapshot_tar;
int snapshot_tar_open(struct store *store, const struct digest *id, struct snapshot_tar **ret);
/* Bytes read, 0 at the end, negative errno. */
ssize_t snapshot_tar_read(struct snapshot_tar *tar, char *to, size_t size);
void snapshot_tar_close(struct snapshot_tar *tar);
