/* SPDX-License-Identifier: MIT */
/* run_holdings - the queue as users see it: who holds what, and why a run waits; see run_manager.h */
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "runs/gpu_pool.h"
#include "runs/queue_words.h"
#include "runs/run_live.h"

/* Time alone changes the order; who asks often sees that with so much delay. */
#define EXPLAINED_FOR_US USEC_PER_SEC

void run_manager_count(const struct run_manager *manager, struct run_counts *ret)
{
	const struct scheduler *scheduler = &manager->scheduler;
	const struct run_live *run;

	*ret = (struct run_counts){ .running = scheduler->slots.used.places,
		.queued = scheduler->queued,
		.max_running = manager->options.queue.max_running,
		.started = manager->started,
		.waited_us = manager->waited_us };
	memcpy(ret->ended, manager->ended, sizeof(ret->ended));
	TAILQ_FOREACH(run, &manager->all, all)
	ret->finalizing += run->record.state == RUN_FINALIZING;
}

/* ---- who holds what ---- */

static char *known_name(const struct run_manager *manager, uid_t uid)
{
	const char *name = user_names_get(&manager->names, uid);

	return name ? mem_strdup(name) : mem_printf("%u", (unsigned)uid);
}

static void list_users(const struct run_manager *manager, struct run_holdings *ret)
{
	const struct scheduler *scheduler = &manager->scheduler;

	ret->users = mem_alloc((scheduler->user_count + 1) * sizeof(*ret->users));
	for (size_t i = 0; i < scheduler->user_count; i++) {
		const struct scheduler_user *user = scheduler->users[i];

		ret->users[ret->user_count++] = (struct user_holding){
			.uid = user->uid,
			.user = known_name(manager, user->uid),
			.running = user->held.places,
			.queued = user->queued,
			.cpus = user->held.cpus,
			.memory_bytes = user->held.memory_bytes,
			.gpus = user->held.gpus,
		};
	}
}

static char *aside_text(const struct run_manager *manager, size_t gpu)
{
	const struct gpu_holder *holder = gpu_pool_holder(manager->gpu_pool, gpu);
	char text[GPU_HOLDER_TEXT_SIZE];

	if (!holder)
		return mem_strdup("it is being looked at");
	gpu_holder_describe(holder, text);
	return mem_strdup(text);
}

static void describe_gpu(const struct run_manager *manager, size_t i, struct gpu_holding *ret)
{
	const struct slots_gpu *slot = &manager->scheduler.slots.gpus[i];

	*ret = (struct gpu_holding){ .gpu = &manager->options.gpus->items[i] };
	if (slot->holder) {
		const struct scheduler_run *turn = slot->holder;
		const struct run_live *run = container_of(turn, const struct run_live, turn);

		ret->use = GPU_HELD;
		ret->user = mem_strdup(run->record.submitted_by);
		ret->run_id = mem_strdup(run->record.run_id);
	} else if (slot->aside) {
		ret->use = GPU_ASIDE;
		ret->reason = aside_text(manager, i);
	}
}

void run_manager_holdings(struct run_manager *manager, struct run_holdings *ret)
{
	const struct slots *slots = &manager->scheduler.slots;

	*ret = (struct run_holdings){
		.cpus = slots->total.cpus,
		.cpus_used = slots->used.cpus,
		.memory_bytes = slots->total.memory_bytes,
		.memory_used = slots->used.memory_bytes,
		.gpu_count = (size_t)slots->total.gpus,
		.draining_since_us = manager->drain.since_us,
		.draining_by = mem_strdup(manager->drain.by),
		.draining_reason = mem_strdup(manager->drain.reason),
	};
	list_users(manager, ret);
	ret->gpus = mem_alloc((ret->gpu_count + 1) * sizeof(*ret->gpus));
	for (size_t i = 0; i < ret->gpu_count; i++)
		describe_gpu(manager, i, &ret->gpus[i]);
	/* Who asks again sees what strangers do now. */
	if (manager->gpu_pool && !gpu_pool_is_fresh(manager->gpu_pool))
		gpu_pool_look(manager->gpu_pool);
}

void run_holdings_release(struct run_holdings *holdings)
{
	for (size_t i = 0; i < holdings->user_count; i++)
		free(holdings->users[i].user);
	for (size_t i = 0; i < holdings->gpu_count; i++) {
		free(holdings->gpus[i].user);
		free(holdings->gpus[i].run_id);
		free(holdings->gpus[i].reason);
	}
	free(holdings->users);
	free(holdings->gpus);
	free(holdings->draining_by);
	free(holdings->draining_reason);
	*holdings = (struct run_holdings){ 0 };
}

/* ---- why a run waits ---- */

static const char *user_for_words(void *data, uid_t uid)
{
	const struct run_manager *manager = data;

	return user_names_get(&manager->names, uid);
}

static char *aside_for_words(void *data, size_t gpu)
{
	return aside_text(data, gpu);
}

static void explain(struct run_manager *manager)
{
	struct scheduler *scheduler = &manager->scheduler;
	int64_t now = clock_utc(), age = now - scheduler->explained_us;
	bool known = !manager->gpu_pool ||
		     (!manager->gpus_stale && gpu_pool_is_fresh(manager->gpu_pool));

	if (!scheduler->explained || age < 0 || age > EXPLAINED_FOR_US)
		scheduler_explain(scheduler, now, known);
}

/* "10:02 UTC", with the day when it is not today. */
static char *clock_text(int64_t utc_us)
{
	time_t then = (time_t)(utc_us / USEC_PER_SEC), now = (time_t)(clock_utc() / USEC_PER_SEC);
	struct tm parts;
	char text[64];

	gmtime_r(&then, &parts);
	strftime(text, sizeof(text),
		then / 86400 == now / 86400 ? "%H:%M UTC" : "%Y-%m-%d %H:%M UTC", &parts);
	return mem_strdup(text);
}

static char *drain_words(const struct drain *drain)
{
	_cleanup_(freep) char *since = clock_text(drain->since_us);

	return mem_printf("the machine is drained since %s by %s%s%s", since, drain->by,
		drain->reason[0] ? ": " : "", drain->reason);
}

/* For its owner; a daemon of one user has no other admin than him and root. */
static char *held_words(const struct run_manager *manager, const struct run_record *record)
{
	const char *by = record->held_by;

	if (manager->options.system_service && run_record_is_held_by_other(record))
		return mem_printf(
			"held by %s: only an admin may release it; ask %s or another", by, by);
	return mem_printf("held by %s: amlctl release %s", by, record->run_id);
}

static char *waiting_words(struct run_manager *manager, const struct run_live *run)
{
	const struct queue_names names = { user_for_words, aside_for_words, manager };

	if (run->record.held_by)
		return held_words(manager, &run->record);
	if (!TAILQ_EMPTY(&run->leaders))
		return run_live_follow_words(run);
	if (run->owed & OWED_FOLLOW)
		return mem_strdup("waits until history can be read: what became of the run that it "
				  "follows is in there");
	if (manager->drain.since_us)
		return drain_words(&manager->drain);
	if (manager->short_of_room)
		return mem_strdup(
			"the machine had no room for a start a moment ago (disk, processes "
			"or memory); it is tried again every second");
	return queue_words(&manager->scheduler, &run->turn, &names);
}

int run_manager_queue_info(struct run_manager *manager, const char *run_id, struct queue_info *ret)
{
	const struct run_live *run = run_live_find(manager, run_id);

	if (!run)
		return -ENOENT;
	*ret = (struct queue_info){ .granted = run_live_has_slots(run) };
	if (!run_live_is_queued(run))
		return 0;
	explain(manager);
	ret->position = (int64_t)run->turn.wait.position;
	ret->waiting_for = waiting_words(manager, run);
	return 0;
}

void queue_info_release(struct queue_info *info)
{
	free(info->waiting_for);
	*info = (struct queue_info){ 0 };
}
