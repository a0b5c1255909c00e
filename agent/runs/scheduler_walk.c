/* SPDX-License-Identifier: MIT */
/* scheduler_walk - along the line: who starts, who is back-filled, why the others wait; see scheduler.h */
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "runs/scheduler_internal.h"

struct walk {
	struct scheduler *scheduler;
	int64_t now_us;
	bool gpus_known;
	bool explains;            /* to the end, and each is told why it waits */
	struct slots_amount room; /* what is free and not given in this walk */
	struct slots_amount all;
	const struct scheduler_run *head; /* NULL: all had room so far */
	enum scheduler_reason head_lacks;
	bool has_shadow;           /* the next two are known */
	int64_t shadow_us;         /* when the head starts at the latest */
	struct slots_amount spare; /* free even then */
	size_t position;
	size_t lack[SCHEDULER_REASON_COUNT]; /* how many so far */
	size_t lack_anything;
};

/* ---- the order: a heap of lines, by the next run of each ---- */

static bool is_before(const struct scheduler_line *a, const struct scheduler_line *b)
{
	if (a->priority != b->priority)
		return a->priority > b->priority;
	if (a->user->used < b->user->used || a->user->used > b->user->used)
		return a->user->used < b->user->used;
	return a->next->turn < b->next->turn;
}

static void sift_down(struct scheduler_line **heap, size_t count, size_t at)
{
	struct scheduler_line *line = heap[at];

	for (size_t child; (child = 2 * at + 1) < count; at = child) {
		if (child + 1 < count && is_before(heap[child + 1], heap[child]))
			child++;
		if (!is_before(heap[child], line))
			break;
		heap[at] = heap[child];
	}
	heap[at] = line;
}

static struct scheduler_line **heap_make(struct scheduler *scheduler)
{
	struct scheduler_line **heap =
		mem_alloc((scheduler->line_count + 1) * sizeof(struct scheduler_line *));
	struct scheduler_line *line;
	size_t count = 0;

	TAILQ_FOREACH(line, &scheduler->lines, entry)
	{
		line->next = TAILQ_FIRST(&line->runs);
		heap[count++] = line;
	}
	for (size_t i = count / 2; i-- > 0;)
		sift_down(heap, count, i);
	return heap;
}

/* ---- when the head will start ---- */

struct ending {
	int64_t at_us;
	const struct slots_amount *amount;
};

static int compare_endings(const void *a, const void *b)
{
	const struct ending *left = a, *right = b;

	return (left->at_us > right->at_us) - (left->at_us < right->at_us);
}

/* All that run and all that were given slots in this walk, in the order of their starts. The caller
 * frees. */
static struct ending *list_endings(const struct walk *walk, size_t *ret_count)
{
	const struct scheduler *scheduler = walk->scheduler;
	size_t most = scheduler->running_count + scheduler->given_count, count = 0;
	struct ending *list = mem_alloc((most + 1) * sizeof(*list));
	const struct scheduler_run *run;

	TAILQ_FOREACH(run, &scheduler->running, entry)
	{
		int64_t end = run->end_us < walk->now_us ? walk->now_us : run->end_us;

		list[count++] = (struct ending){ end, &run->grant.amount };
	}
	for (size_t i = 0; i < scheduler->given_count; i++) {
		run = scheduler->given[i];
		list[count++] = (struct ending){ scheduler_end_of(run, walk->now_us), &run->wants };
	}
	*ret_count = count;
	return list;
}

/* Up to which of them must end before there is enough for the head? All that end at the same time are
 * counted. Returns how many; *room is what is free then. */
static size_t count_needed(const struct walk *walk, const struct ending *endings, size_t count,
	struct slots_amount *room)
{
	size_t i = 0;

	while (i < count && !slots_amount_fits(&walk->head->wants, room))
		slots_amount_add(room, endings[i++].amount);
	while (i && i < count && endings[i].at_us == endings[i - 1].at_us &&
		endings[i].at_us != SCHEDULER_NEVER)
		slots_amount_add(room, endings[i++].amount);
	return i;
}

/* By the times at which they end; if that leads to one of which no time is known, by the order of
 * their starts: the head waits for the oldest then, and counts on nobody who was started after it
 * had begun to wait. Either way who is back-filled is not counted on, so that the next walk comes to
 * the same. */
static void find_shadow(struct walk *walk)
{
	size_t count, needed;
	_cleanup_(freep) struct ending *by_start = list_endings(walk, &count);
	_cleanup_(freep) struct ending *by_end = mem_dup(by_start, (count + 1) * sizeof(*by_end));
	struct slots_amount room = walk->room;

	qsort(by_end, count, sizeof(*by_end), compare_endings);
	needed = count_needed(walk, by_end, count, &room);
	walk->has_shadow = true;
	walk->shadow_us = needed ? by_end[needed - 1].at_us : walk->now_us;
	if (walk->shadow_us == SCHEDULER_NEVER) {
		room = walk->room;
		for (size_t i = 0; i < count && !slots_amount_fits(&walk->head->wants, &room); i++)
			slots_amount_add(&room, by_start[i].amount);
	}
	slots_amount_subtract(&room, &walk->head->wants);
	walk->spare = room;
}

/* ---- one run ---- */

static bool exceeds(int64_t limit, int64_t more, int64_t has)
{
	return limit && more && has + more > limit;
}

static enum scheduler_reason limit_reached(const struct scheduler_limits *limits,
	const struct slots_amount *has, const struct slots_amount *wants)
{
	if (exceeds(limits->runs, wants->places, has->places))
		return SCHEDULER_USER_RUNS;
	if (exceeds(limits->gpus, wants->gpus, has->gpus))
		return SCHEDULER_USER_GPUS;
	return exceeds(limits->cpus, wants->cpus, has->cpus) ? SCHEDULER_USER_CPUS : SCHEDULER_GOES;
}

/* What is held may be more than there is, after a reload: who asks for none of it does not mind. */
static bool is_short(int64_t wanted, int64_t room)
{
	return wanted && wanted > room;
}

static enum scheduler_reason lacks(
	const struct slots_amount *wants, const struct slots_amount *room)
{
	if (is_short(wants->gpus, room->gpus))
		return SCHEDULER_NO_GPUS;
	if (is_short(wants->memory_bytes, room->memory_bytes))
		return SCHEDULER_NO_MEMORY;
	if (is_short(wants->cpus, room->cpus))
		return SCHEDULER_NO_CPUS;
	return is_short(wants->places, room->places) ? SCHEDULER_NO_PLACE : SCHEDULER_GOES;
}

/* Would it take what the limits of the head's user leave for the head? Then the head would be passed
 * over, and lose its reservation. */
static bool takes_heads_share(const struct walk *walk, const struct scheduler_run *run)
{
	const struct scheduler_user *user = run->line->user;
	struct slots_amount has = user->held;

	if (run->uid != walk->head->uid)
		return false;
	slots_amount_add(&has, &user->given);
	slots_amount_add(&has, &walk->head->wants);
	return limit_reached(&walk->scheduler->limits, &has, &run->wants) != SCHEDULER_GOES;
}

/* May it start before the head does? What it holds beyond that time is spare then. */
static bool may_pass_head(struct walk *walk, const struct scheduler_run *run)
{
	if (takes_heads_share(walk, run))
		return false;
	if (!walk->has_shadow)
		find_shadow(walk);
	if (walk->shadow_us != SCHEDULER_NEVER &&
		scheduler_end_of(run, walk->now_us) <= walk->shadow_us)
		return true;
	if (!slots_amount_fits(&run->wants, &walk->spare))
		return false;
	slots_amount_subtract(&walk->spare, &run->wants);
	return true;
}

static void give(struct walk *walk, struct scheduler_run *run)
{
	struct scheduler *scheduler = walk->scheduler;

	GROW(scheduler->given, scheduler->given_count, scheduler->given_room);
	scheduler->given[scheduler->given_count++] = run;
	slots_amount_subtract(&walk->room, &run->wants);
	slots_amount_add(&run->line->user->given, &run->wants);
}

static enum scheduler_reason consider(struct walk *walk, struct scheduler_run *run)
{
	const struct scheduler *scheduler = walk->scheduler;
	struct slots_amount has = run->line->user->held;
	enum scheduler_reason reason;

	if (!slots_amount_fits(&run->wants, &walk->all))
		return slots_amount_fits(&run->wants, &scheduler->slots.total)
			       ? SCHEDULER_NO_GPUS
			       : SCHEDULER_TOO_LARGE;
	slots_amount_add(&has, &run->line->user->given);
	reason = limit_reached(&scheduler->limits, &has, &run->wants);
	if (reason != SCHEDULER_GOES)
		return reason;
	reason = lacks(&run->wants, &walk->room);
	if (reason != SCHEDULER_GOES && !walk->head) {
		walk->head = run;
		walk->head_lacks = reason;
	}
	if (reason != SCHEDULER_GOES)
		return reason;
	if (walk->head && !may_pass_head(walk, run))
		return SCHEDULER_BEHIND;
	give(walk, run);
	return run->wants.gpus && !walk->gpus_known ? SCHEDULER_LOOKING : SCHEDULER_GOES;
}

static void explain(struct walk *walk, struct scheduler_run *run, enum scheduler_reason reason)
{
	static const bool is_lack[SCHEDULER_REASON_COUNT] = { [SCHEDULER_NO_GPUS] = true,
		[SCHEDULER_NO_MEMORY] = true,
		[SCHEDULER_NO_CPUS] = true,
		[SCHEDULER_NO_PLACE] = true };

	run->wait = (struct scheduler_wait){
		.reason = reason,
		.position = ++walk->position,
		.before = reason == SCHEDULER_BEHIND ? walk->lack_anything : walk->lack[reason],
		.head = walk->head_lacks,
	};
	walk->lack[reason]++;
	walk->lack_anything += is_lack[reason];
}

/* ---- all of them ---- */

/* Every run needs a place and a CPU. */
static bool is_full(const struct walk *walk)
{
	return walk->room.places <= 0 || walk->room.cpus <= 0;
}

static void walk_along(struct walk *walk)
{
	struct scheduler *scheduler = walk->scheduler;
	_cleanup_(freep) struct scheduler_line **heap = heap_make(scheduler);
	size_t count = scheduler->line_count;

	while (count && (walk->explains || !is_full(walk))) {
		struct scheduler_line *line = heap[0];
		struct scheduler_run *run = line->next;
		enum scheduler_reason reason = consider(walk, run);

		run->wait.reason = reason;
		if (walk->explains)
			explain(walk, run, reason);
		line->next = TAILQ_NEXT(run, entry);
		/* At the limit of his runs he is with all that come after it, too. */
		if (!line->next || (!walk->explains && reason == SCHEDULER_USER_RUNS))
			heap[0] = heap[--count];
		if (count)
			sift_down(heap, count, 0);
	}
}

static void walk_begin(
	struct scheduler *scheduler, int64_t now_us, bool gpus_known, struct walk *walk)
{
	*walk = (struct walk){
		.scheduler = scheduler,
		.now_us = now_us,
		.gpus_known = gpus_known,
		.room = slots_free(&scheduler->slots),
		.all = slots_all(&scheduler->slots),
	};
	scheduler->given_count = 0;
	for (size_t i = 0; i < scheduler->user_count; i++) {
		struct scheduler_user *user = scheduler->users[i];

		user->given = (struct slots_amount){ 0 };
		user->used = fair_share_read(&scheduler->share, user->uid, now_us);
	}
}

static bool is_settled(const struct scheduler *scheduler, int64_t now_us)
{
	int64_t age = now_us - scheduler->passed_us;

	return scheduler->settled && age >= 0 && age < SCHEDULER_SETTLED_US;
}

size_t scheduler_pass(struct scheduler *scheduler, int64_t now_us, bool gpus_known, bool *ret_look)
{
	struct walk walk;
	size_t started = 0;
	bool look = false;

	*ret_look = false;
	if (is_settled(scheduler, now_us))
		return scheduler->given_count = 0;
	walk_begin(scheduler, now_us, gpus_known, &walk);
	walk_along(&walk);
	for (size_t i = 0; i < scheduler->given_count; i++) {
		struct scheduler_run *run = scheduler->given[i];

		if (run->wait.reason == SCHEDULER_GOES)
			scheduler->given[started++] = run;
		else
			look = true;
	}
	scheduler->given_count = started;
	for (size_t i = 0; i < started; i++)
		scheduler_start(scheduler, scheduler->given[i], now_us);
	scheduler->head = walk.head;
	scheduler->settled = !look;
	scheduler->passed_us = now_us;
	*ret_look = look;
	return started;
}

void scheduler_explain(struct scheduler *scheduler, int64_t now_us, bool gpus_known)
{
	struct walk walk;

	walk_begin(scheduler, now_us, gpus_known, &walk);
	walk.explains = true;
	walk_along(&walk);
	scheduler->given_count = 0;
	scheduler->explained = true;
	scheduler->explained_us = now_us;
}
