/* SPDX-License-Identifier: MIT */
/* scheduler - whose turn it is: the queue and who holds what; see scheduler.h, scheduler_walk.c */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "runs/scheduler_internal.h"

static void changed(struct scheduler *scheduler, bool may_start)
{
	scheduler->explained = false;
	if (may_start)
		scheduler->settled = false;
}

/* ---- users ---- */

static size_t find_user(const struct scheduler *scheduler, uid_t uid)
{
	size_t low = 0, high = scheduler->user_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (scheduler->users[middle]->uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct scheduler_user *scheduler_user_of(const struct scheduler *scheduler, uid_t uid)
{
	size_t at = find_user(scheduler, uid);

	if (at == scheduler->user_count || scheduler->users[at]->uid != uid)
		return NULL;
	return scheduler->users[at];
}

static struct scheduler_user *get_user(struct scheduler *scheduler, uid_t uid)
{
	size_t at = find_user(scheduler, uid);

	if (at < scheduler->user_count && scheduler->users[at]->uid == uid)
		return scheduler->users[at];
	GROW(scheduler->users, scheduler->user_count, scheduler->user_room);
	memmove(&scheduler->users[at + 1], &scheduler->users[at],
		(scheduler->user_count++ - at) * sizeof(*scheduler->users));
	scheduler->users[at] = NEW(struct scheduler_user);
	scheduler->users[at]->uid = uid;
	return scheduler->users[at];
}

static void drop_idle_user(struct scheduler *scheduler, uid_t uid)
{
	size_t at = find_user(scheduler, uid);
	struct scheduler_user *user = scheduler->users[at];

	if (user->queued || user->held.places)
		return;
	scheduler->user_count--;
	memmove(&scheduler->users[at], &scheduler->users[at + 1],
		(scheduler->user_count - at) * sizeof(*scheduler->users));
	free(user);
}

/* ---- lines: one user's runs of one priority, by their turn ---- */

static struct scheduler_line *get_line(struct scheduler *scheduler, const struct scheduler_run *run)
{
	struct scheduler_user *user = get_user(scheduler, run->uid);
	struct scheduler_line *line;

	TAILQ_FOREACH(line, &scheduler->lines, entry)
	if (line->user == user && line->priority == run->priority)
		return line;
	line = NEW(struct scheduler_line);
	line->user = user;
	line->priority = run->priority;
	TAILQ_INIT(&line->runs);
	TAILQ_INSERT_TAIL(&scheduler->lines, line, entry);
	scheduler->line_count++;
	return line;
}

/* One more that waits may let others start, if it is the head now: what they were to leave to the old
 * one they may take then. */
static bool is_behind_head(const struct scheduler *scheduler, const struct scheduler_run *run)
{
	const struct scheduler_run *head = scheduler->head;

	if (!head || run->priority < head->priority)
		return true;
	return run->priority == head->priority && run->uid == head->uid && run->turn > head->turn;
}

static void enter_line(struct scheduler *scheduler, struct scheduler_run *run)
{
	struct scheduler_line *line = get_line(scheduler, run);
	struct slots_amount free_now = slots_free(&scheduler->slots);
	struct scheduler_run *last = TAILQ_LAST(&line->runs, scheduler_runs);

	while (last && last->turn > run->turn)
		last = TAILQ_PREV(last, scheduler_runs, entry);
	if (last)
		TAILQ_INSERT_AFTER(&line->runs, last, run, entry);
	else
		TAILQ_INSERT_HEAD(&line->runs, run, entry);
	run->line = line;
	scheduler->gpu_waiters += run->wants.gpus > 0;
	changed(scheduler,
		slots_amount_fits(&run->wants, &free_now) || !is_behind_head(scheduler, run));
}

static void leave_line(struct scheduler *scheduler, struct scheduler_run *run)
{
	struct scheduler_line *line = TAKE(run->line);

	TAILQ_REMOVE(&line->runs, run, entry);
	scheduler->gpu_waiters -= run->wants.gpus > 0;
	if (TAILQ_EMPTY(&line->runs)) {
		TAILQ_REMOVE(&scheduler->lines, line, entry);
		scheduler->line_count--;
		free(line);
	}
	if (scheduler->head == run)
		scheduler->head = NULL;
	changed(scheduler, true); /* it may have been in somebody's way */
}

/* ---- waiting ---- */

void scheduler_queue(struct scheduler *scheduler, struct scheduler_run *run, bool keep_turn)
{
	if (!run->turn || !keep_turn)
		run->turn = ++scheduler->last_turn;
	run->where = SCHEDULER_WAITS;
	run->parked = false;
	run->wait = (struct scheduler_wait){ 0 };
	scheduler->queued++;
	get_user(scheduler, run->uid)->queued++;
	enter_line(scheduler, run);
}

void scheduler_park(struct scheduler *scheduler, struct scheduler_run *run, bool parked)
{
	if (run->where != SCHEDULER_WAITS || run->parked == parked)
		return;
	run->parked = parked;
	if (!parked) {
		enter_line(scheduler, run);
		return;
	}
	leave_line(scheduler, run);
	run->wait = (struct scheduler_wait){ .reason = SCHEDULER_PARKED };
}

static void stop_waiting(struct scheduler *scheduler, struct scheduler_run *run)
{
	if (!run->parked)
		leave_line(scheduler, run);
	run->parked = false;
	run->where = SCHEDULER_OUT;
	scheduler->queued--;
	get_user(scheduler, run->uid)->queued--;
}

/* ---- running ---- */

static double rate_of(const struct scheduler_run *run)
{
	return fair_share_rate(run->grant.amount.cpus, run->grant.amount.gpus);
}

static void set_running(struct scheduler *scheduler, struct scheduler_run *run, int64_t now_us)
{
	run->where = SCHEDULER_RUNS;
	run->wait = (struct scheduler_wait){ 0 };
	scheduler_begun(run, now_us);
	TAILQ_INSERT_TAIL(&scheduler->running, run, entry);
	scheduler->running_count++;
	slots_amount_add(&get_user(scheduler, run->uid)->held, &run->grant.amount);
	fair_share_begin(&scheduler->share, run->uid, rate_of(run), now_us);
	changed(scheduler, false);
}

void scheduler_start(struct scheduler *scheduler, struct scheduler_run *run, int64_t now_us)
{
	struct slots_grant grant;

	/* The walk has counted: it is a fault of ours to give what is not there. */
	if (slots_take(&scheduler->slots, &run->wants, run, &grant) < 0)
		abort();
	stop_waiting(scheduler, run);
	run->grant = grant;
	set_running(scheduler, run, now_us);
}

void scheduler_claim(struct scheduler *scheduler, struct scheduler_run *run, const size_t *gpus,
	size_t gpu_count, int64_t from_us, int64_t now_us)
{
	slots_claim(&scheduler->slots, &run->wants, gpus, gpu_count, run, &run->grant);
	fair_share_charge(&scheduler->share, run->uid, rate_of(run), from_us, now_us, now_us);
	set_running(scheduler, run, now_us);
	scheduler_begun(run, from_us);
}

void scheduler_begun(struct scheduler_run *run, int64_t now_us)
{
	run->end_us = scheduler_end_of(run, now_us);
}

static void stop_running(struct scheduler *scheduler, struct scheduler_run *run, int64_t now_us)
{
	fair_share_end(&scheduler->share, run->uid, rate_of(run), now_us);
	slots_amount_subtract(&get_user(scheduler, run->uid)->held, &run->grant.amount);
	slots_give(&scheduler->slots, &run->grant);
	TAILQ_REMOVE(&scheduler->running, run, entry);
	scheduler->running_count--;
	run->where = SCHEDULER_OUT;
	changed(scheduler, true);
}

void scheduler_remove(struct scheduler *scheduler, struct scheduler_run *run, int64_t now_us)
{
	if (run->where == SCHEDULER_OUT)
		return;
	if (run->where == SCHEDULER_WAITS)
		stop_waiting(scheduler, run);
	else
		stop_running(scheduler, run, now_us);
	drop_idle_user(scheduler, run->uid);
}

/* ---- what is given out ---- */

void scheduler_set_limits(struct scheduler *scheduler, const struct slots_amount *total,
	const struct scheduler_limits *limits)
{
	slots_set_total(&scheduler->slots, total);
	scheduler->limits = *limits;
	changed(scheduler, true);
}

void scheduler_set_half_life(struct scheduler *scheduler, int64_t half_life_us, int64_t now_us)
{
	fair_share_set_half_life(&scheduler->share, half_life_us, now_us);
	changed(scheduler, true);
}

void scheduler_set_aside(struct scheduler *scheduler, size_t gpu, bool aside)
{
	if (scheduler->slots.gpus[gpu].aside == aside)
		return;
	slots_set_aside(&scheduler->slots, gpu, aside);
	changed(scheduler, true);
}

void scheduler_init(struct scheduler *scheduler, size_t gpu_count, int64_t half_life_us)
{
	*scheduler = (struct scheduler){ 0 };
	slots_init(&scheduler->slots, gpu_count);
	fair_share_init(&scheduler->share, half_life_us);
	TAILQ_INIT(&scheduler->lines);
	TAILQ_INIT(&scheduler->running);
}

void scheduler_release(struct scheduler *scheduler)
{
	slots_release(&scheduler->slots);
	fair_share_release(&scheduler->share);
	free(scheduler->users);
	free(scheduler->given);
}
