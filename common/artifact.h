/* SPDX-License-Identifier: MIT */
/*
 * artifact - a file that a run left, and lists of them
 *
 * Paths are bytes, relative, '/' between parts. Out of memory ends the program (mem.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/digest.h"

struct artifact {
	char *path;
	uint64_t size;
	struct digest digest; /* zeroes: not known yet, the run still goes on */
	int64_t modified_us;  /* UTC */
};

struct artifacts {
	struct artifact *items;
	size_t count;
	size_t room;
};

/* Copies path. digest NULL: zeroes. */
void artifacts_add(struct artifacts *list, const char *path, uint64_t size,
	const struct digest *digest, int64_t modified_us);
/* By path, as bytes. */
void artifacts_sort(struct artifacts *list);
/* NULL when there is none. */
const struct artifact *artifacts_find(const struct artifacts *list, const char *path);
void artifacts_release(struct artifacts *list);
