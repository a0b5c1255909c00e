/* SPDX-License-Identifier: MIT */
/*
 * sources - what wakes the supervisor: children, SIGTERM, the one deadline, the control pipe, and, at
 * the end, the run's cgroup
 *
 * Signals come through a signalfd, the deadline through a timerfd on CLOCK_BOOTTIME (suspend
 * counts, a changed clock does not). No heap.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SOURCES_NO_DEADLINE INT64_MAX

struct sources {
	int signal_fd, timer_fd;
	int control_fd; /* negative: nobody can ask us through the pipe */
	int cgroup_fd;  /* of cgroup_watch(), the caller's; negative: not watched */
};

/* Bits of sources_wait(); a child's end, the cgroup or the deadline alone give none: look at them
 * always. */
enum source {
	SOURCE_TERMINATE = 1, /* SIGTERM */
	SOURCE_CONTROL = 2,   /* a byte in `control` */
};

/* Ignores what must not end us, blocks what the signalfd takes. 0 or a negative errno. */
int sources_open(struct sources *ret);

/* An absolute time of clock_boot(); one that has passed wakes at once. */
void sources_set_deadline(const struct sources *sources, int64_t at_us);

/* Wait for one or several of them, or only look. */
unsigned sources_wait(const struct sources *sources, bool wait);
