/* SPDX-License-Identifier: MIT */
/*
 * stray_user - could a user signal a process himself?
 *
 * As kill(2) has it: his uid is its real or its saved one. What root ends for him is only what he
 * could end as well (strays.h). Not whose /proc/PID is: a process can have that be root's.
 *
 * Threads: any. Errors: negative errno.
 */
#pragma once

#include <sys/types.h>

#include "common/process.h"

/* 1 or 0. processfd: its directory in /proc, which stays that of one process. */
int stray_user_owns(int processfd, uid_t uid);

/* The same of the one that was seen; 0 also when it has ended and its number is another's. proc_fd:
 * of process_open_list(). */
int stray_user_still_owns(int proc_fd, const struct process *process, uid_t uid);

/* All that live in a process group, now. */
int stray_user_owns_group(pid_t group, uid_t uid);
