/* SPDX-License-Identifier: MIT */
/*
 * child - start the command
 *
 * In a session of its own, in the run's cgroup from its first instant (a process that is moved there
 * later costs milliseconds, and its children may be missed), with default signals, nothing blocked,
 * and no descriptor but 0, 1 and 2. With the limits and as the user that `launch` names: from then
 * on it is his process, which he may signal and trace; the supervisor stays what it is, out of his
 * reach. child_open() does all that can fail for want of a file;
 * child_start() then only makes the process. No heap.
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

struct child_start {
	const struct run_launch *launch;
	const struct child_files *files;
	int cgroup_fd;    /* negative: none */
	int cgroup_error; /* set: a negative errno when the child could not be started in it and was
			     started without; else 0 */
};

/* 0 once the command has been executed; else the negative errno of the fork or of the exec; -EUSERS:
 * the limits of the user whom `launch` names leave it no room. */
int child_start(struct child_start *start, pid_t *ret);
