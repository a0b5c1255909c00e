/* SPDX-License-Identifier: MIT */
/*
 * process - the processes of a chaos run, looked for in /proc
 *
 * All that have an environment have the folder in it: jobs and the daemon by our own mark
 * (CHAOS_VARIABLE), jobs by the supervisor's too. Supervisors have none. And all are our
 * descendants and stay it, since we are a subreaper: at the end the kernel itself says that there
 * is none.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

struct chaos_process {
	pid_t pid;
	int64_t number; /* of its job; -1: daemon or supervisor */
	char what[96];  /* its command line */
};

struct chaos_processes {
	struct chaos_process *items;
	size_t count;
	size_t room;
};

/* All that live (no zombies) and belong to the folder, but for ourselves. */
int chaos_processes_look(const char *folder, struct chaos_processes *ret, struct error *err);
void chaos_processes_release(struct chaos_processes *processes);
/* Is it there, and does its command line name the path? Opens it: a pidfd, or a negative errno. */
int chaos_process_open(pid_t pid, const char *path);
/* Stop it with SIGSTOP and wait until it stands. False: it has ended. */
bool chaos_process_freeze(pid_t pid, int pidfd);
/* SIGKILL to all of the folder and to all children, until there is none. Returns how many were seen
 * to live; a negative errno when some do not end. alone: there are no children but ours. */
int chaos_processes_end(const char *folder, bool alone, struct error *err);
