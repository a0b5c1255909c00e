/* SPDX-License-Identifier: MIT */
/*
 * pid_watch - tell when a process has ended, any process, by a pidfd on the loop
 *
 * Threads: the loop's. Errors: negative errno; -ESRCH when there is no such process.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
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

/* Has it been stopped by a signal, and lives? */
bool pid_watch_is_stopped(const struct pid_watch *watch);
/* To that process and no other; -ESRCH when it has ended. */
int pid_watch_signal(const struct pid_watch *watch, int number);

/* NULL is fine. The callback is not called any more; the memory goes in the loop's next turn. */
void pid_watch_free(struct pid_watch *watch);
