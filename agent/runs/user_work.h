/* SPDX-License-Identifier: MIT */
/*
 * user_work - work.h for what touches a user's files: two at a time of each user, his others in order
 *
 * A user's files may be on a file system that hangs (his own FUSE, a server that is gone). Then his
 * two calls hold two threads, until the time limit of the helper that carries them out, and all that
 * is his waits behind them; the threads that are left serve the others.
 *
 * Work that is not limited is work_queue()'s.
 *
 * Threads: user_work_queue() from the loop's.
 */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "runs/work.h"

#define USER_WORK_MAX 2

TAILQ_HEAD(user_lanes, user_lane);

struct user_works {
	uv_loop_t *loop;
	struct user_lanes lanes; /* of users who have any; empty when nothing is left */
};

/* Embed it; as struct work. */
struct user_work {
	struct work work;
	struct user_works *works;
	struct user_lane *lane; /* NULL: not limited */
	void (*run)(struct user_work *work);
	void (*done)(struct user_work *work);
	TAILQ_ENTRY(user_work) entry;
};

void user_works_init(struct user_works *works, uv_loop_t *loop);

/* limited: at most USER_WORK_MAX of this user's are under way. */
void user_work_queue(struct user_works *works, uid_t uid, bool limited, struct user_work *work,
	void (*run)(struct user_work *work), void (*done)(struct user_work *work));
