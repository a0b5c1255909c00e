/* SPDX-License-Identifier: MIT */
/*
 * walk - what is in a directory tree, without what the ignore files leave out
 *
 * One pass over the directories, from the root downwards, each level on several threads when it is
 * large: names sorted as bytes, one lstat each, and a readlink for links. Nothing is read but the
 * ignore files: `.amlignore`
 * at every level when the root has one, else `.gitignore`; never both. `.git` is never taken, and
 * what is left out is not entered.
 *
 * The tree may change meanwhile: an entry that has vanished between two looks was never there.
 *
 * Owns:    walk_release() frees all of it.
 * Errors:  -EACCES, -EBUSY (a folder became something else), -EFBIG (too deep; rules too large) and
 *          those of the file system, with err naming the file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/file_stamp.h"
#include "capture/ignore.h"
#include "common/error.h"
#include "common/strbuf.h"

#define WALK_DEPTH_MAX 256
#define WALK_RULES_SIZE_MAX ((size_t)1 << 20)

struct walk_dir;

struct walk_entry {
	const char *name;
	struct walk_dir *dir; /* what is in it; NULL when it is no directory, or is not taken */
	char *target;         /* of a symbolic link, never empty; else NULL */
	struct file_stamp stamp;
};

struct walk_dir {
	const struct walk_dir *parent; /* NULL: the root */
	char *path;                    /* "" for the root, else with a '/' at its end */
	size_t path_size;
	unsigned depth;             /* 0 for the root */
	struct walk_entry *entries; /* by name */
	size_t count;
	bool vanished;       /* before it could be opened */
	bool rules_are_link; /* its rule file is a symbolic link: not read, as in git */

	/* The walk's own. */
	char *names;
	struct ignore_rules *rules;
	struct ignore_level level;
	const struct ignore_level
		*in_force; /* own or the nearest above that has rules; NULL: none */
};

struct walk_options {
	uint64_t entries_max;             /* stop soon after so many */
	uint64_t skip_device, skip_inode; /* a directory that is not taken; 0: none */
};

struct walk {
	struct walk_dir **dirs; /* level by level; the first is the root */
	size_t count, room;
	const char *rule_file; /* ".amlignore" or ".gitignore" */
	const char *advice; /* where to list what is to be left out, for people: "list it in %s" */
	bool cut;           /* there is more than entries_max */
	char *skipped;      /* path of the directory that was not taken; NULL: none */
};

int walk_run(int root_fd, const struct walk_options *options, struct walk *ret, struct error *err);
/* A zeroed one is fine. */
void walk_release(struct walk *walk);

/* Made elsewhere (walk_text.h): which files are at the root decides what both are called. */
void walk_name_rules(struct walk *walk, bool has_amlignore, bool has_gitignore);
/* Add a directory below parent; NULL: the root. The walk's. */
struct walk_dir *walk_add_dir(struct walk *walk, const struct walk_dir *parent, const char *name);

/* A path as one line for people: control characters become "?". Adds to out. */
void walk_show_path(struct strbuf *out, const char *dir, const char *name);
