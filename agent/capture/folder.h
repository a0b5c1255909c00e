/* SPDX-License-Identifier: MIT */
/*
 * folder - descriptors of folders below a root, found without following links
 *
 * A path that is opened in one go may be led elsewhere by somebody who puts a link in place of one
 * of its folders meanwhile. Here every part must be a folder.
 *
 * struct folder_cursor keeps the folder that was used last, since files come in the order of a
 * walk:
 *
 *	struct folder_cursor at = FOLDER_CURSOR_INIT(root_fd);
 *	int dirfd = folder_cursor_parent(&at, path, &name);	(dirfd is the cursor's)
 *	... openat(dirfd, name, O_NOFOLLOW | ...)
 *	folder_cursor_release(&at);
 *
 * Threads: one cursor a thread. Paths are relative, of any length, without "." and "..".
 * Errors:  those of open(): -ELOOP or -ENOTDIR where a part is no folder.
 */
#pragma once

#include <stddef.h>

#include "common/strbuf.h"

/* path: "" for the root itself; may end in '/'. Returns a descriptor. */
int folder_open(int root_fd, const char *path, size_t size);

struct folder_cursor {
	int root_fd; /* the caller's */
	int fd;
	struct strbuf path; /* of fd */
};

#define FOLDER_CURSOR_INIT(root) \
	{ \
		.root_fd = (root), .fd = -EBADF, .path = STRBUF_INIT \
	}

/* The folder that path lies in; ret_name points into path. */
int folder_cursor_parent(struct folder_cursor *cursor, const char *path, const char **ret_name);
void folder_cursor_release(struct folder_cursor *cursor);
