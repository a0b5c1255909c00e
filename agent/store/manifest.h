/* SPDX-License-Identifier: MIT */
/*
 * manifest - a directory tree as bytes: the canonical form whose digest is the snapshot id
 *
 * First line "amlagent-manifest 1\n", then one record per entry, each ended by NUL bytes:
 *
 *	D <mode>\0<path>\0                     directory (also empty ones; the root is not listed)
 *	F <mode> <64 hex> <size>\0<path>\0     regular file
 *	L\0<path>\0<target>\0                  symbolic link
 *
 * mode: three octal digits, permission bits alone (no setuid, no sticky). Paths are relative bytes,
 * '/' between parts, no "." or ".." part. Records are in the order of a walk that sorts the names
 * of each directory as bytes (a directory stands right before what it holds, and every directory
 * has its record). Same content, same bytes, same id; no times, no owners.
 *
 * The parser takes any bytes (fuzzed) and refuses what the builder would not write: -EBADMSG. It
 * does not copy: entries point into the bytes, which the caller keeps.
 *
 * Threads: any. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/digest.h"
#include "common/strbuf.h"

enum manifest_type { MANIFEST_DIRECTORY = 'D', MANIFEST_FILE = 'F', MANIFEST_LINK = 'L' };

struct manifest_entry {
	enum manifest_type type;
	unsigned mode;        /* 0 for links */
	struct digest digest; /* files */
	uint64_t size;        /* files */
	const char *path;
	const char *target; /* links */
};

void manifest_begin(struct strbuf *out);
void manifest_add(struct strbuf *out, const struct manifest_entry *entry);

struct manifest_reader {
	const char *data;
	size_t size;
	size_t at;
	const char *previous;             /* path of the last entry: the order is checked */
	enum manifest_type previous_type; /* nothing but a directory may hold entries */
};

/* Check the first line. */
int manifest_open(struct manifest_reader *reader, const char *data, size_t size);
/* 1 and an entry, 0 at the end, -EBADMSG. */
int manifest_next(struct manifest_reader *reader, struct manifest_entry *ret);
