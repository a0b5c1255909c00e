/* SPDX-License-Identifier: MIT */
/*
 * source - a folder to be looked at with somebody's rights
 *
 * The one place where a snapshot's folder is opened. With `as` NULL by us, in this process; else by a
 * process of that user (user_files.h), and no path in it is touched by us.
 *
 * Threads: source_open_file() from several at a time, one cursor a thread. Errors: negative errno with
 * err naming the file. Who frees: source_close(), also of a zeroed one (SOURCE_INIT).
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "capture/file_stamp.h"
#include "capture/folder.h"
#include "capture/walk.h"
#include "common/error.h"
#include "common/identity.h"

struct user_files;

struct source {
	int root_fd;             /* -EBADF: the user's process has it */
	struct user_files *user; /* NULL: we look ourselves */
	uint64_t device, inode;  /* of the folder */
	char *name; /* tells it from all others, and one user's look at it from another's */
};

#define SOURCE_INIT \
	{ \
		.root_fd = -EBADF \
	}

int source_open(const struct identity *as, const char *path, struct source *ret, struct error *err);
void source_close(struct source *source);

int source_walk(const struct source *source, const struct walk_options *options, struct walk *ret,
	struct error *err);

/* st_mode of path below it, links followed. */
int source_look(const struct source *source, const char *path, mode_t *ret);

/* A descriptor of what is to be a regular file (ours may be of anything: its stamp says of what); no
 * link is followed. cursor: FOLDER_CURSOR_INIT(source->root_fd). */
int source_open_file(const struct source *source, struct folder_cursor *cursor, const char *path,
	struct file_stamp *ret);
/* Its stamp now; path: what it was opened by. */
int source_stamp(const struct source *source, int fd, const char *path, struct file_stamp *ret);
