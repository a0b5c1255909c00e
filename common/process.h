/* SPDX-License-Identifier: MIT */
/*
 * process - what /proc/PID/stat says, and the list of processes
 *
 * No heap: part of the supervisor. Threads: any. Errors: a negative errno; -ESRCH when there is no
 * such process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
	pid_t pid;
	pid_t parent;
	pid_t group;
	pid_t session;
	bool alive;     /* some thread of it: a zombie whose other threads go on is alive */
	bool stopped;   /* by a signal; not by a debugger */
	bool ours;      /* of those the caller looks for; set by the caller alone */
	uint64_t start; /* ticks since boot; with the pid it names the process */
};

/* /proc, for the others; the caller closes it. */
int process_open_list(void);

int process_read(int proc_fd, pid_t pid, struct process *ret);

/* Call for every process there is, by rising pid, while it returns true. */
int process_each(int proc_fd, bool (*found)(void *data, pid_t pid), void *data);

/* The pid that was given last. */
int process_newest(int proc_fd, pid_t *ret);

/* The fields of a stat line; pure. -EBADMSG. */
int process_parse(const char *line, struct process *ret);
