/* SPDX-License-Identifier: MIT */
/*
 * snapshot_list - what a snapshot will hold, in the order of its manifest
 *
 * Made of a walk, which must outlive it. Files are only counted, so that the limits can be checked
 * before anything is stored. Pure.
 *
 * Errors: negative errno with err naming the file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "capture/walk.h"
#include "common/digest.h"
#include "common/error.h"

struct snapshot_limits;

enum snapshot_item_state {
	ITEM_KNOWN,  /* a file whose digest is known; every directory and link */
	ITEM_UNREAD, /* a file that must be read */
	ITEM_GONE,   /* it vanished before it could be read */
};

struct snapshot_item {
	const struct walk_dir *dir; /* the one it lies in */
	struct walk_entry *entry;
	struct digest digest; /* files that are known */
	enum snapshot_item_state state;
};

struct snapshot_list {
	struct snapshot_item *items;
	size_t count, room;
	uint64_t files; /* links too */
	uint64_t folders;
	uint64_t bytes;
};

/* Adds to warnings: links that lead out, what is left out. */
void snapshot_list_make(const struct walk *walk, struct snapshot_list *ret, char ***warnings);
/* A zeroed one is fine. */
void snapshot_list_release(struct snapshot_list *list);

/* The path of an item, in a buffer that is used again and again. */
const char *snapshot_item_path(const struct snapshot_item *item, struct strbuf *buffer);

/* -EFBIG above a hard limit, a warning above a soft one; both name the largest. */
int snapshot_list_check(const struct snapshot_list *list, const struct walk *walk,
	const struct snapshot_limits *limits, char ***warnings, struct error *err);
