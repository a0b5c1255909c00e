/* SPDX-License-Identifier: MIT */
/* user_work - what touches a user's files, two at a time; see user_work.h */
#include "runs/user_work.h"

#include <stdlib.h>

#include "common/cleanup.h"
#include "common/mem.h"

struct user_lane {
	uid_t uid;
	unsigned busy;
	TAILQ_HEAD(, user_work) waiting;
	TAILQ_ENTRY(user_lane) entry;
};

void user_works_init(struct user_works *works, uv_loop_t *loop)
{
	works->loop = loop;
	TAILQ_INIT(&works->lanes);
}

static struct user_lane *get_lane(struct user_works *works, uid_t uid)
{
	struct user_lane *lane;

	TAILQ_FOREACH(lane, &works->lanes, entry)
	if (lane->uid == uid)
		return lane;
	lane = NEW(struct user_lane);
	lane->uid = uid;
	TAILQ_INIT(&lane->waiting);
	TAILQ_INSERT_TAIL(&works->lanes, lane, entry);
	return lane;
}

static void on_thread(struct work *work)
{
	struct user_work *user_work = container_of(work, struct user_work, work);

	user_work->run(user_work);
}

static void on_loop(struct work *work);

static void start(struct user_works *works, struct user_work *work)
{
	if (work->lane)
		work->lane->busy++;
	work_queue(works->loop, &work->work, on_thread, on_loop);
}

static void go_on(struct user_works *works, struct user_lane *lane)
{
	struct user_work *next = TAILQ_FIRST(&lane->waiting);

	lane->busy--;
	if (next) {
		TAILQ_REMOVE(&lane->waiting, next, entry);
		start(works, next);
	} else if (!lane->busy) {
		TAILQ_REMOVE(&works->lanes, lane, entry);
		free(lane);
	}
}

/* `done` comes last: it may free the work, and what holds the lanes. */
static void on_loop(struct work *work)
{
	struct user_work *user_work = container_of(work, struct user_work, work);

	if (user_work->lane)
		go_on(user_work->works, user_work->lane);
	user_work->done(user_work);
}

void user_work_queue(struct user_works *works, uid_t uid, bool limited, struct user_work *work,
	void (*run)(struct user_work *work), void (*done)(struct user_work *work))
{
	work->works = works;
	work->lane = limited ? get_lane(works, uid) : NULL;
	work->run = run;
	work->done = done;
	if (work->lane && work->lane->busy >= USER_WORK_MAX)
		TAILQ_INSERT_TAIL(&work->lane->waiting, work, entry);
	else
		start(works, work);
}
