/* SPDX-License-Identifier: MIT */
/*
 * supervisor_spawn - start a supervisor that owns its run's lock from its first moment
 *
 * The lock is taken here and handed over as RUN_DIR_LOCK_FD: between the two there is no moment in
 * which it is free, so that nothing is started twice whoever crashes. The supervisor leads a
 * session of its own, has /dev/null for input and output, its log for errors, and no environment.
 *
 * With a cgroup (an open directory) it is in that from its first instant: a service manager that
 * stops the daemon's service kills all that is in the daemon's cgroup. Where that cannot be it is
 * started without.
 *
 * Errors: -EALREADY when somebody holds the lock; other negative errnos. Threads: any.
 */
#pragma once

#include <sys/types.h>

/* cgroup_fd negative: none. */
int supervisor_spawn(
	const char *program, const char *run_dir, int dirfd, int cgroup_fd, pid_t *ret);
