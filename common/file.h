/* SPDX-License-Identifier: MIT */
/*
 * file - whole files, atomic replacement, directories
 *
 * All paths are relative to a directory descriptor (AT_FDCWD for the current directory), all
 * descriptors are close-on-exec. Calls block.
 *
 * Errors: 0 (or a descriptor, or a count) or a negative errno. Who frees: the caller, every ret_.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/strbuf.h"

/* Read all of it; -EFBIG when it is larger than max. */
int file_read(int dirfd, const char *path, size_t max, struct strbuf *ret);
int file_read_fd(int fd, size_t max, struct strbuf *ret);

/* Write all of it, going on after EINTR and short writes. */
int file_write_all(int fd, const void *data, size_t size);

/* The same, of a new file from its start on: what is all zeros becomes a hole, which takes no room.
 * file_end_sparse() after the last. */
int file_write_sparse(int fd, const void *data, size_t size);
int file_end_sparse(int fd);

/* fsync, of a file or a directory, going on after EINTR. */
int file_fsync(int fd);

enum file_sync {
	FILE_NO_SYNC, /* survives a crash of the process */
	FILE_SYNC,    /* survives a loss of power: fsync the file, rename, fsync the directory */
};

/* Replace path by these bytes through a temporary file beside it: seen whole or not at all. */
int file_replace(int dirfd, const char *path, const void *data, size_t size, mode_t mode,
	enum file_sync sync);

/*
 * Set room aside for one file_replace() of path that comes when the disk is full: a file beside it
 * (path and FILE_SPARE_SUFFIX), which is then written over where it lies and takes the name. At most
 * FILE_SPARE_SIZE bytes fit. A file system that never writes in place may want room all the same.
 */
#define FILE_SPARE_SIZE 4096
#define FILE_SPARE_SUFFIX ".spare"
int file_set_aside(int dirfd, const char *path, mode_t mode);

/* Make a directory and its parents, each name flushed to the disk; one that exists is fine. Only new
 * ones get the mode. */
int dir_make(const char *path, mode_t mode);

/*
 * Remove path and all below it, whatever it is; a directory without write permission is given one
 * first. Symbolic links are removed, never followed. Absent: 0. Other errors: the first is
 * returned, the rest of the tree is removed all the same.
 */
int tree_remove(int dirfd, const char *path);

/* A directory of which something is to be removed: one without permissions is given some. -ENOTDIR
 * (a link too), -ENOENT. */
int dir_open_to_empty(int dirfd, const char *path);

/* Is relative inside: no "..", not absolute, no empty part, not ""? Lexical, opens nothing. */
bool path_is_inside(const char *relative);

/* "a/b" + "c" -> "a/b/c"; an absolute second one stands alone. */
char *path_join(const char *dir, const char *name);

/* The absolute form of path without ".", ".." and double slashes, lexically. Needs a cwd only when
 * path is relative. NULL when the cwd is gone. */
char *path_absolute(const char *path);
