/* SPDX-License-Identifier: MIT */
/*
 * record - the files of the run directory, without heap
 *
 * The supervisor's working directory is the run directory, so names are relative. Everything here
 * works with static memory: it is called while the command runs.
 *
 * Errors: 0 (or a size) or a negative errno.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Longer than any record but launch. */
#define RECORD_MAX 4096

/* The size read, at most RECORD_MAX; -EFBIG when there is more. */
ssize_t record_read(const char *name, char to[static RECORD_MAX]);

/* Replace name by these bytes: seen whole or not at all. */
int record_replace(const char *name, const void *data, size_t size);

/* Room for what record_commit() will write, taken from the disk now (as file_set_aside() does it). Of
 * a name that is not reserved it is taken then, as on a file system that never writes in place. */
int record_reserve(const char *name);

/* The same, and it survives a loss of power: fsync, rename, fsync of the directory. A failure may
 * come after the rename: do it again. */
int record_commit(const char *name, const void *data, size_t size);

/* A line in supervisor.log; where that cannot be, nothing. */
void record_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
