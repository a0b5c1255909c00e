/* SPDX-License-Identifier: MIT */
/*
 * begin - from the name of a run directory to all that is needed to start its command
 *
 * Enters the directory (the working directory from then on), leaves the caller's session and
 * descriptors, takes the lock, refuses a second start, reads `launch`, opens what the command and
 * the loop need. The last of the supervisor's allocations are made here.
 */
#pragma once

#include "common/run_dir.h"
#include "supervisor/child.h"
#include "supervisor/sources.h"

struct beginning {
	const char *run_dir;
	int lock_fd; /* never closed: the lock is held for as long as we live */
	struct run_launch launch;
	struct child_files files;
	struct sources sources;
	char boot_id[37];
};

/* 0; -EALREADY when it is or was started by another; another negative errno with a note in
 * supervisor.log. */
int begin(const char *run_dir, struct beginning *ret);
