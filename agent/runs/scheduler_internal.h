/* SPDX-License-Identifier: MIT */
/* scheduler_internal - what scheduler.c and scheduler_walk.c share; see scheduler.h */
#pragma once

#include "runs/scheduler.h"

/* One user's runs of one priority, by their turn; never empty. */
struct scheduler_line {
	struct scheduler_user *user;
	int64_t priority;
	struct scheduler_runs runs;
	TAILQ_ENTRY(scheduler_line) entry;
	struct scheduler_run *next; /* in the walk that goes on */
};

/* When it will be over if it starts then; SCHEDULER_NEVER. */
static inline int64_t scheduler_end_of(const struct scheduler_run *run, int64_t start_us)
{
	if (!run->limit_us || run->limit_us > SCHEDULER_NEVER / 2)
		return SCHEDULER_NEVER;
	return start_us + run->limit_us;
}

/* Waiting -> running; there is room for it. */
void scheduler_start(struct scheduler *scheduler, struct scheduler_run *run, int64_t now_us);
