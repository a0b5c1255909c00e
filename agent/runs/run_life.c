/* SPDX-License-Identifier: MIT */
/* run_life - what is due for a live run in each of its states; see run_manager.h */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"

/* So long the outputs of a run wait for room before it is called an error. */
#define ROOM_PATIENCE_US (600 * USEC_PER_SEC)
/* Trying may mean copying gigabytes up to the point where the disk is full. */
#define COLLECT_WAIT_MAX_US (30 * USEC_PER_SEC)

int run_live_apply(struct run_live *run, const struct run_event *event)
{
	int r = run_apply(&run->record, event);

	if (r < 0) {
		log_error("%s: event %d does not fit state %s", run->record.run_id,
			(int)event->type, run_state_name(run->record.state));
		return r;
	}
	run_live_changed(run, false);
	return 0;
}

/* For states that the run directory tells better after a loss of power: no flush is waited for. */
static void write_soon(struct run_live *run)
{
	history_update(run->manager->options.history, &run->record, HISTORY_SOON, NULL, NULL);
}

void run_live_take_slot(struct run_live *run)
{
	if (!run->has_slot)
		run->manager->slots_used++;
	run->has_slot = true;
}

void run_live_give_slot(struct run_live *run)
{
	if (run->has_slot)
		run->manager->slots_used--;
	run->has_slot = false;
}

/* ---- the end ---- */

static void clean_up(struct work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	run->clean_result = finish_clean_up(run->dir, run->record.state != RUN_COMPLETED);
}

/* The submitter's environment is in there: it is not left until the next daemon sweeps. */
static void clean_up_done(struct work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);
	struct run_manager *manager = run->manager;

	if (run->clean_result >= 0 || run->clean_result == -ENOENT || manager->stopping) {
		run_live_unpend(run);
		return;
	}
	TAILQ_INSERT_TAIL(&manager->unclean, run, all);
	run_live_owe(run, OWED_CLEAN_UP, "its folder cannot be cleaned up", run->clean_result);
}

void run_live_clean_up(struct run_live *run)
{
	work_queue(run->manager->options.loop, &run->work, clean_up, clean_up_done);
}

static void start_clean_up(struct run_live *run)
{
	run->pending++; /* until it is clean */
	run_live_clean_up(run);
}

static void final_committed(void *data, int result);

void run_live_commit_final(struct run_live *run)
{
	run->pending++;
	history_finish(run->manager->options.history, &run->final, &run->finish.artifacts,
		final_committed, run);
}

static void final_committed(void *data, int result)
{
	struct run_live *run = data;

	if (result < 0) {
		run_live_owe(
			run, OWED_FINAL_COMMIT, "its end cannot be written to history", result);
		run_live_unpend(run);
		return;
	}
	run_record_release(&run->record);
	run->record = run->final;
	run->final = (struct run_record){ 0 };
	log_info("%s: %s%s%s", run->record.run_id, run_state_name(run->record.state),
		run->record.cause ? " " : "",
		run->record.cause ? run_cause_name(run->record.cause) : "");
	run_live_over(run);
	if (!run->prepare_busy) /* else when that has come back */
		start_clean_up(run);
	run_live_unpend(run);
}

/* Into `final` alone: the record shows nothing of it before it is durable. */
static void end_with(struct run_live *run, const struct verdict *verdict, char *const *warnings)
{
	struct run_event event = { .type = RUN_EVENT_END,
		.at_us = clock_utc(),
		.cause = verdict->cause,
		.message = verdict->message };

	run->ending = true;
	run_record_copy(&run->record, &run->final);
	if (run_apply(&run->final, &event) < 0) {
		log_error("%s: cannot end in state %s", run->record.run_id,
			run_state_name(run->record.state));
		return;
	}
	run->final.exit_code = verdict->exit_code;
	run->final.signal = verdict->signal;
	for (size_t i = 0; warnings && warnings[i]; i++)
		strv_add(&run->final.warnings, warnings[i]);
	run_live_commit_final(run);
}

void run_live_end(struct run_live *run, enum run_cause cause, const char *message)
{
	struct run_manager *manager = run->manager;
	_cleanup_(freep) char *copy = mem_strdup(message);
	struct verdict verdict = { .cause = cause, .exit_code = -1, .message = copy };

	if (run->in_queue)
		TAILQ_REMOVE(&manager->queue, run, queue);
	run->in_queue = false;
	run_live_give_slot(run);
	end_with(run, &verdict, NULL);
	run_live_schedule(manager);
}

void run_live_end_unstarted(struct run_live *run)
{
	_cleanup_(freep) char *message = mem_printf("canceled by %s before it was started",
		run->record.canceled_by ? run->record.canceled_by : "user");

	run_live_end(run, RUN_CAUSE_CANCELED_BY_USER, message);
}

/* ---- preparing ---- */

static void prepared(struct run_live *run)
{
	struct run_event event = { .type = RUN_EVENT_START, .at_us = clock_utc() };
	struct executor *executor = run->manager->executor;
	int r;

	if (run->ending || run->prepare_busy || !run->prepare_committed || run->manager->stopping)
		return;
	if (run->prepare_result < 0 && !run_is_shortage(run->prepare_result)) {
		run_live_end(run, RUN_CAUSE_SETUP_ERROR, run->prepare_error.message);
		return;
	}
	if (run->prepare_result < 0) {
		run_live_not_started(run, run->prepare_result, run->prepare_error.message);
		return;
	}
	event.interpreter_path = run->prepare.interpreter.path;
	event.interpreter_version = run->prepare.interpreter.version;
	if (run_live_apply(run, &event) < 0)
		return;
	write_soon(run);
	run->in_executor = true;
	r = executor->ops->start(executor, run->dir, run);
	if (r < 0) {
		_cleanup_(freep) char *message =
			mem_printf("cannot start the run's supervisor: %s", strerror(-r));

		run->in_executor = false;
		run_live_not_started(run, r, message);
	}
}

static void prepare_on_thread(struct work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	run->prepare_result = prepare_carry_out(&run->prepare, &run->prepare_error);
	error_default(&run->prepare_error, run->prepare_result, "cannot prepare the run");
}

static void prepare_done(struct work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	run->prepare_busy = false;
	if (run->over)
		start_clean_up(run); /* cancelled meanwhile */
	else
		prepared(run);
	run_live_unpend(run);
}

static void prepare_committed(void *data, int result)
{
	struct run_live *run = data;

	run->prepare_committed = result >= 0;
	if (result < 0) {
		run_live_owe(
			run, OWED_PREPARE_COMMIT, "its start cannot be written to history", result);
	}
	prepared(run);
	run_live_unpend(run);
}

void run_live_commit_prepare(struct run_live *run)
{
	if (run->ending)
		return;
	run->pending++;
	history_update(run->manager->options.history, &run->record, HISTORY_DURABLE,
		prepare_committed, run);
}

static int read_definition(struct run_live *run, struct error *err)
{
	_cleanup_(json_freep) struct json *body = NULL;
	int r = json_parse(run->record.definition, strlen(run->record.definition), &body, err);

	if (r >= 0)
		r = run_request_parse(body, &run->request, err);
	if (r >= 0)
		r = digest_parse(run->record.snapshot_id, &run->snapshot_id);
	return error_default(err, r, "the run's record is damaged");
}

static void prepare_start(struct run_live *run)
{
	struct run_manager *manager = run->manager;
	struct run_event event = {
		.type = RUN_EVENT_PREPARE, .at_us = clock_utc(), .boot_id = manager->boot_id
	};
	struct error err = ERROR_INIT;

	if (run_live_apply(run, &event) < 0)
		return;
	run_live_take_slot(run);
	if (read_definition(run, &err) < 0) {
		run_live_end(run, RUN_CAUSE_SETUP_ERROR, err.message);
		return;
	}
	run->prepare = (struct prepare){
		.store = manager->options.store,
		.run_dir = run->dir,
		.run_id = strrchr(run->dir, '/') + 1, /* the record may be replaced meanwhile */
		.request = &run->request,
		.snapshot_id = run->snapshot_id,
		.grace_us = manager->options.grace_us,
		.cgroup_parent = manager->options.cgroup_parent,
	};
	run->prepare_busy = true;
	run->pending++;
	work_queue(manager->options.loop, &run->work, prepare_on_thread, prepare_done);
	/* Committed beside it: after a loss of power a run that may have run is not started twice.
	 */
	run->prepare_committed = false;
	run_live_commit_prepare(run);
}

void run_live_schedule(struct run_manager *manager)
{
	struct run_live *run;

	if (manager->scheduling || manager->stopping || manager->short_of_room)
		return;
	manager->scheduling = true; /* a run that ends at once comes here again */
	while (!manager->short_of_room && manager->slots_used < manager->options.max_running &&
		(run = TAILQ_FIRST(&manager->queue))) {
		TAILQ_REMOVE(&manager->queue, run, queue);
		run->in_queue = false;
		prepare_start(run);
	}
	manager->scheduling = false;
}

void run_live_queue(struct run_live *run, int64_t at_us)
{
	struct run_event event = { .type = RUN_EVENT_QUEUE, .at_us = at_us };

	if (run->record.state != RUN_QUEUED && run_live_apply(run, &event) < 0)
		return;
	TAILQ_INSERT_TAIL(&run->manager->queue, run, queue);
	run->in_queue = true;
}

/* ---- running, as the executor tells it ---- */

static void on_started(void *data, int64_t start_us)
{
	struct run_live *run = data;
	struct run_event event = { .type = RUN_EVENT_RUNNING, .at_us = start_us };

	if (run->record.state != RUN_STARTING) {
		run->record.start_us = start_us; /* a cancel was faster than the news */
		return;
	}
	if (run_live_apply(run, &event) == 0)
		write_soon(run);
}

static void keep_exit(struct run_live *run, const struct run_exit *exit, int64_t seen_us)
{
	struct run_record *record = &run->record;

	run->exit_known = exit != NULL;
	run->seen_us = seen_us;
	if (!exit)
		return;
	run->exit = *exit;
	if (!record->start_us && !exit->exec_errno)
		record->start_us = exit->start_us;
	record->used_known = true;
	record->wall_us = exit->wall_us;
	record->user_us = exit->user_us;
	record->system_us = exit->system_us;
	record->peak_bytes = exit->peak_bytes;
}

static void on_not_started(void *data, int error, const char *reason)
{
	struct run_live *run = data;
	_cleanup_(freep) char *message = mem_printf("its supervisor could not begin: %s", reason);

	run->in_executor = false;
	run_live_not_started(run, error, message);
	run_live_schedule(run->manager);
}

/* Its supervisor was there, and no process or memory for the command: nothing of it ran. */
static bool had_no_room(const struct run_live *run, const struct run_exit *exit)
{
	return exit && exit->exec_errno && run_is_shortage(-exit->exec_errno) &&
	       run->record.state == RUN_STARTING;
}

static void on_ended(void *data, const struct run_exit *exit, int64_t seen_us)
{
	struct run_live *run = data;
	struct run_event event = { .type = RUN_EVENT_EXITED, .at_us = clock_utc() };

	if (had_no_room(run, exit)) {
		on_not_started(run, -exit->exec_errno, strerror(exit->exec_errno));
		return;
	}
	if (!exit && !seen_us)
		seen_us = run->record.start_us;
	keep_exit(run, exit, seen_us);
	run->swept = run->in_executor;
	run->in_executor = false;
	run_live_give_slot(run);
	if (exit && exit->end_us)
		event.at_us = exit->end_us;
	else if (!exit && seen_us)
		event.at_us = seen_us;
	if (run->record.state != RUN_FINALIZING && run_live_apply(run, &event) < 0)
		return;
	write_soon(run);
	run_live_collect(run);
	run_live_schedule(run->manager);
}

const struct executor_events run_life_events = { on_started, on_ended, on_not_started };

/* ---- finalizing ---- */

static void finish_on_thread(struct work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	run->finish.result = finish_carry_out(&run->finish);
}

/* The command is over and holds no slot: its outputs can wait for room, for a while. */
static bool waits_for_room(struct run_live *run)
{
	int64_t now = clock_boot();

	if (!run_is_shortage(run->finish.result))
		return false;
	if (!run->room_until_us) {
		run->room_until_us = now + ROOM_PATIENCE_US;
		run->collect_wait_us = USEC_PER_SEC / 2;
	}
	if (run->collect_wait_us < COLLECT_WAIT_MAX_US)
		run->collect_wait_us *= 2;
	run->collect_at_us = now + run->collect_wait_us;
	return now < run->room_until_us;
}

static void finish_done(struct work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	if (run->manager->stopping && run_is_shortage(run->finish.result)) {
		log_info("%s: its outputs wait for the next daemon", run->record.run_id);
	} else if (waits_for_room(run)) {
		run_live_warn_of_room(run, "storing its outputs", run->finish.result);
		run_live_owe(run, OWED_OUTPUTS, NULL, 0);
	} else {
		end_with(run, &run->finish.verdict, run->finish.warnings);
	}
	run_live_unpend(run);
}

void run_live_collect_again(struct run_live *run)
{
	if (clock_boot() < run->collect_at_us)
		run_live_owe(run, OWED_OUTPUTS, NULL, 0);
	else
		run_live_collect(run);
}

void run_live_collect(struct run_live *run)
{
	finish_release(&run->finish);
	/* A run found by recovery has not had its definition read. */
	if (!run->request.source_directory)
		read_definition(run, NULL);
	run->finish = (struct finish){
		.store = run->manager->options.store,
		.run_dir = run->dir,
		.snapshot_id = &run->snapshot_id,
		.facts = {
			.exit = run->exit_known ? &run->exit : NULL,
			.seen_us = run->seen_us,
			.rebooted = run->rebooted,
			.limit_seconds = run->request.max_run_duration_seconds,
			.canceled_by = run->record.canceled_by,
			.grace_us = run->manager->options.grace_us,
			.shell = run->request.command != NULL,
			.swept = run->swept,
			.program = run->prepare.program ? run->prepare.program : "the command",
		},
	};
	run->pending++;
	work_queue(run->manager->options.loop, &run->work, finish_on_thread, finish_done);
}

/* ---- cancel, retry ---- */

void run_live_ask_to_stop(struct run_live *run)
{
	struct run_stop stop = { RUN_STOP_CANCEL, run->manager->options.grace_us };
	struct executor *executor = run->manager->executor;
	int r = run->in_executor ? executor->ops->stop(executor, run, &stop) : 0;

	if (r < 0)
		run_live_owe(run, OWED_STOP, "its supervisor cannot be asked to stop", r);
}

void run_live_cancel(struct run_live *run, const char *by)
{
	struct run_event event = { .type = RUN_EVENT_CANCEL, .at_us = clock_utc() };

	if (run->ending || run->record.state == RUN_FINALIZING)
		return;
	if (!run->record.canceled_by)
		run->record.canceled_by = mem_strdup(by);
	if (!run->in_executor) {
		run_live_end_unstarted(run);
		return;
	}
	if (run->record.state != RUN_CANCEL_REQUESTED && run_live_apply(run, &event) < 0)
		return;
	write_soon(run);
	run_live_ask_to_stop(run);
}
