/* SPDX-License-Identifier: MIT */
/*
 * output_file - a file below a folder, made whole or not at all, and never outside of it
 *
 * The name is the daemon's, so it is not trusted: no "..", no absolute path, and no symbolic link
 * on the way is followed. Parents are made. The bytes go into a temporary file beside it, which
 * takes the name when output_file_commit() is called and vanishes with output_file_release() else.
 *
 * Errors: a negative errno with err naming the file.
 */
#pragma once

#include <stdint.h>

#include "common/error.h"

struct output_file {
	int fd; /* write here; -EBADF when not open */
	int folder;
	char *name; /* the last part */
	char temp[32];
};

#define OUTPUT_FILE_INIT \
	{ \
		.fd = -EBADF, .folder = -EBADF \
	}

int output_file_open(struct output_file *file, int root, const char *relative, struct error *err);
/* modified_us 0: now. */
int output_file_commit(struct output_file *file, int64_t modified_us, struct error *err);
/* Does nothing after a commit, or when it was never opened. */
void output_file_release(struct output_file *file);
