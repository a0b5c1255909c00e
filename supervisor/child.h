/* SPDX-License-Identifier: MIT */
/*
 * child - start the command
 *
 * In a session of its own, with default signals, nothing blocked, and no descriptor but 0, 1 and 2.
 * child_open() does all that can fail for want of a file; child_start() then only spawns
 * (posix_spawn does not copy the parent and returns once the command has been executed, or with the
 * reason why not).
 */
#pragma once

#include <sys/types.h>

#include "common/run_dir.h"

struct child_files {
	int null_fd; /* stdin */
	int log_fd;  /* stdout and stderr */
	int work_fd; /* the working directory */
};

#define CHILD_FILES_INIT \
	{ \
		-EBADF, -EBADF, -EBADF \
	}

/* 0 or a negative errno. */
int child_open(const struct run_launch *launch, struct child_files *ret);
void child_close(struct child_files *files);

/* 0, or the negative errno of the spawn or of the exec. */
int child_start(const struct run_launch *launch, const struct child_files *files, pid_t *ret);
