/* SPDX-License-Identifier: MIT */
/*
 * pid_watch - tell when a process has ended, any process, by a pidfd on the loop
 *
 * Threads: the loop's. Errors: negative errno; -ESRCH when there is no such process.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

struct pid_watch;

typedef void (*pid_watch_callback)(void *data);

int pid_watch_new(
	uv_loop_t *loop, pid_t pid, pid_watch_callback ended, void *data, struct pid_watch **ret);

/* No exit status is so large. */
#define PID_WATCH_SIGNALED 256

/* The exit status of a child of ours that has ended, waited for with this; -1 when it is none, and
 * PID_WATCH_SIGNALED+N for signal N. */
int pid_watch_reap(struct pid_watch *watch);

/* NULL is fine. The callback is not called any more; the memory goes in the loop's next turn. */
void pid_watch_free(struct pid_watch *watch);
