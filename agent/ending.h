/* SPDX-License-Identifier: MIT */
/*
 * ending - when the daemon ends: SIGTERM, SIGINT, or nothing to do for a while
 *
 * And how long it may take. Work that is under way is waited for, but a user's files may hang for
 * ever (a file server that is gone): ending_limit() ends the process all the same. That is no more
 * than a crash, which loses nothing.
 *
 * Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* So long the daemon may take: whoever waits for its end waits longer (state_lock.h, and amlctl). */
#define ENDING_SECONDS 10

struct ending;

struct ending_options {
	uv_loop_t *loop;
	int64_t idle_seconds; /* end after that long without anything to do; 0: never */
	bool (*is_busy)(void *data);
	void (*end)(void *data); /* once or more */
	void *data;
};

int ending_new(const struct ending_options *options, struct ending **ret);
/* Freed by the loop. NULL is fine. */
void ending_free(struct ending *ending);

/* From now on there are so many seconds; then the process ends with status 0, whatever it does.
 * lock_fd: flock()ed, and given back first: a thread that the kernel cannot end would keep it. */
int ending_limit(unsigned seconds, int lock_fd);
