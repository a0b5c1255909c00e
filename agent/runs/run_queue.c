/* SPDX-License-Identifier: MIT */
/* run_queue - the manager's runs in line, and the slots that they hold; see scheduler.h */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/gpu_pool.h"
#include "runs/run_live.h"

/* After so many half-lives a thousandth is left. */
#define USAGE_HALF_LIVES 10
#define HALF_LIFE_DEFAULT_US (86400 * USEC_PER_SEC)

/* ---- what is given out ---- */

static int64_t machine_cpus(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus > 0 ? cpus : 1;
}

static int64_t machine_memory(void)
{
	int64_t pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? pages * size : INT64_MAX;
}

void queue_options_of_config(const struct config *config, struct queue_options *ret)
{
	*ret = (struct queue_options){
		.max_running = config->max_running_runs,
		.cpus = config->cpus,
		.memory_bytes = config->memory_bytes,
		.max_running_per_user = config->max_running_runs_per_user,
		.max_queued_per_user = config->max_queued_runs_per_user,
		.max_cpus_per_user = config->max_cpus_per_user,
		.max_gpus_per_user = config->max_gpus_per_user,
		.max_user_priority = config->max_user_priority,
		.fair_share_us = config->fair_share_seconds * USEC_PER_SEC,
		.max_processes_per_run = config->max_processes_per_run,
	};
}

/* Nobody who has set the number of runs alone is to find fewer of them at once, for the CPUs that
 * each asks for without a word. */
static int64_t cpus_given_out(const struct queue_options *options)
{
	int64_t cpus = options->cpus ? options->cpus : machine_cpus();

	return !options->cpus && options->max_running > cpus ? options->max_running : cpus;
}

static void apply_options(struct run_manager *manager)
{
	const struct queue_options *options = &manager->options.queue;
	const struct scheduler_limits limits = { options->max_running_per_user,
		options->max_cpus_per_user, options->max_gpus_per_user };
	const struct slots_amount total = {
		.places = options->max_running,
		.cpus = cpus_given_out(options),
		.memory_bytes = options->memory_bytes ? options->memory_bytes : machine_memory(),
	};

	scheduler_set_limits(&manager->scheduler, &total, &limits);
	manager->largest = manager->scheduler.slots.total;
	if (!options->cpus)
		manager->largest.cpus = machine_cpus();
}

static int64_t half_life(const struct queue_options *options)
{
	return options->fair_share_us ? options->fair_share_us : HALF_LIFE_DEFAULT_US;
}

void run_manager_set_options(struct run_manager *manager, const struct queue_options *options)
{
	manager->options.queue = *options;
	apply_options(manager);
	scheduler_set_half_life(&manager->scheduler, half_life(options), clock_utc());
	run_live_schedule(manager);
}

/* ---- GPUs ---- */

/* Who holds one that we have given to a run is that run's business, until it is back. */
static void on_gpus_looked(void *data)
{
	struct run_manager *manager = data;
	struct scheduler *scheduler = &manager->scheduler;

	manager->gpus_stale = false;
	for (int64_t i = 0; i < scheduler->slots.total.gpus; i++) {
		const struct gpu_holder *holder = gpu_pool_holder(manager->gpu_pool, (size_t)i);

		scheduler_set_aside(
			scheduler, (size_t)i, holder && !scheduler->slots.gpus[i].holder);
	}
	scheduler->settled = false; /* runs may have waited for the look alone */
	run_live_schedule(manager);
}

static bool gpus_are_known(const struct run_manager *manager)
{
	return !manager->gpu_pool || (!manager->gpus_stale && gpu_pool_is_fresh(manager->gpu_pool));
}

static bool some_are_aside(const struct slots *slots)
{
	for (int64_t i = 0; i < slots->total.gpus; i++)
		if (slots->gpus[i].aside)
			return true;
	return false;
}

/* Strangers come and go without telling us: while somebody waits for what they hold, look. */
static void watch_gpus(struct run_manager *manager, bool look)
{
	bool watch = manager->scheduler.gpu_waiters && !manager->drain.since_us &&
		     some_are_aside(&manager->scheduler.slots);

	if (!manager->gpu_pool)
		return;
	if (look || (watch && !manager->gpus_watched))
		gpu_pool_look(manager->gpu_pool);
	if (watch != manager->gpus_watched)
		gpu_pool_watch(manager->gpu_pool, watch);
	manager->gpus_watched = watch;
}

static size_t find_gpus(const struct run_manager *manager, char *const *ids, size_t *ret)
{
	const struct gpus *gpus = manager->options.gpus;
	size_t count = 0;

	for (size_t i = 0; gpus && i < gpus->count; i++)
		if (strv_contains(ids, gpus->items[i].id))
			ret[count++] = i;
	return count;
}

/* ---- a run and the scheduler ---- */

static int64_t limit_of(const struct run_record *record)
{
	_cleanup_(json_freep) struct json *definition = NULL;

	if (json_parse(record->definition, strlen(record->definition), &definition, NULL) < 0)
		return 0;
	return json_int(json_get(definition, "max_run_duration_seconds")) * USEC_PER_SEC;
}

/* What it asks for; a record of an earlier version says nothing, which was one CPU. */
static void fill_turn(struct run_live *run)
{
	const struct run_record *record = &run->record;
	int64_t limit = limit_of(record);

	if (run->turn.where != SCHEDULER_OUT)
		return;
	run->turn.uid = record->owner;
	run->turn.priority = record->priority;
	run->turn.wants = (struct slots_amount){ .places = 1,
		.cpus = record->cpus > 0 ? record->cpus : 1,
		.memory_bytes = record->memory_bytes,
		.gpus = record->gpus };
	/* It is stopped then, which takes up to the grace. */
	run->turn.limit_us = limit ? limit + run->manager->options.grace_us : 0;
}

bool run_live_is_queued(const struct run_live *run)
{
	return run->turn.where == SCHEDULER_WAITS;
}

bool run_live_has_slots(const struct run_live *run)
{
	return run->turn.where == SCHEDULER_RUNS;
}

void run_live_leave(struct run_live *run)
{
	struct run_manager *manager = run->manager;

	/* The last look saw the run itself. */
	if (run->turn.grant.amount.gpus) {
		manager->gpus_stale = true;
		if (manager->scheduler.gpu_waiters && !manager->stopping)
			gpu_pool_look(manager->gpu_pool);
	}
	scheduler_remove(&manager->scheduler, &run->turn, clock_utc());
}

void run_live_park(struct run_live *run)
{
	bool parked =
		run->record.held_by || !TAILQ_EMPTY(&run->leaders) || (run->owed & OWED_FOLLOW);

	scheduler_park(&run->manager->scheduler, &run->turn, parked);
}

void run_live_queue(struct run_live *run, int64_t at_us, bool keep_turn)
{
	struct run_event event = { .type = RUN_EVENT_QUEUE, .at_us = at_us };

	run_live_leave(run);
	if (run->record.state != RUN_QUEUED && run_live_apply(run, &event) < 0)
		return;
	fill_turn(run);
	strv_free(run->record.gpu_ids);
	run->record.gpu_ids = NULL;
	run->queued_boot_us = clock_boot();
	scheduler_queue(&run->manager->scheduler, &run->turn, keep_turn);
	run_live_park(run);
}

/* Of one that is Finalizing an earlier daemon had seen that nothing is left: its GPUs may be
 * another's by now. */
void run_live_claim_slots(struct run_live *run)
{
	struct run_manager *manager = run->manager;
	struct scheduler *scheduler = &manager->scheduler;
	size_t most = (size_t)scheduler->slots.total.gpus, count = 0;
	_cleanup_(freep) size_t *gpus = mem_alloc((most + 1) * sizeof(*gpus));
	int64_t now = clock_utc();

	if (run->turn.where != SCHEDULER_OUT)
		return;
	fill_turn(run);
	if (run->record.state != RUN_FINALIZING)
		count = find_gpus(manager, run->record.gpu_ids, gpus);
	scheduler_claim(scheduler, &run->turn, gpus, count,
		run->record.start_us ? run->record.start_us : now, now);
	if (run->turn.grant.amount.gpus != (int64_t)count)
		log_error("%s: of its %zu GPUs another run holds some", run->record.run_id, count);
}

/* ---- whose turn it is ---- */

static void note_start(struct run_live *run)
{
	struct run_manager *manager = run->manager;
	const struct slots_grant *grant = &run->turn.grant;

	manager->started++;
	manager->waited_us += clock_boot() - run->queued_boot_us;
	for (int64_t i = 0; i < grant->amount.gpus; i++)
		strv_add(&run->record.gpu_ids, manager->options.gpus->items[grant->gpus[i]].id);
}

/* Starting one may ask the scheduler for something: its list is read first. */
static void start_given(struct run_manager *manager, size_t count)
{
	struct scheduler_run **given =
		mem_dup(manager->scheduler.given, count * sizeof(*manager->scheduler.given));

	for (size_t i = 0; i < count; i++)
		note_start(container_of(given[i], struct run_live, turn));
	for (size_t i = 0; i < count; i++)
		run_live_start(container_of(given[i], struct run_live, turn));
	free(given);
}

void run_live_schedule(struct run_manager *manager)
{
	bool look = false;
	size_t count;

	if (manager->scheduling || manager->stopping)
		return;
	manager->scheduling = true; /* a run that ends at once comes here again */
	while (!manager->short_of_room && !manager->drain.since_us &&
		(count = scheduler_pass(
			 &manager->scheduler, clock_utc(), gpus_are_known(manager), &look)))
		start_given(manager, count);
	watch_gpus(manager, look);
	manager->scheduling = false;
}

/* ---- begin and end ---- */

void run_queue_init(struct run_manager *manager)
{
	const struct gpus *gpus = manager->options.gpus;

	scheduler_init(
		&manager->scheduler, gpus ? gpus->count : 0, half_life(&manager->options.queue));
	apply_options(manager);
	if (gpus && gpus->count)
		manager->gpu_pool =
			gpu_pool_new(manager->options.loop, gpus, on_gpus_looked, manager);
}

void run_queue_release(struct run_manager *manager, void (*freed)(void *data), void *data)
{
	gpu_pool_free(TAKE(manager->gpu_pool), freed, data);
}

static void charge(void *data, const struct history_usage *usage)
{
	struct run_manager *manager = data;

	fair_share_charge(&manager->scheduler.share, usage->owner,
		fair_share_rate(usage->cpus, usage->gpus), usage->start_us, usage->end_us,
		clock_utc());
}

int run_queue_charge_history(struct run_manager *manager)
{
	int64_t since = clock_utc() - USAGE_HALF_LIVES * half_life(&manager->options.queue);

	return history_each_usage(manager->options.history, since, charge, manager);
}
