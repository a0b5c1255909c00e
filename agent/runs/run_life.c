/* SPDX-License-Identifier: MIT */
/* run_life - what is due for a live run in each of its states; see run_manager.h */
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"
#include "runs/submission.h"

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

void run_live_end(struct run_live *run, enum run_cause cause, const char *message)
{
	_cleanup_(freep) char *copy = mem_strdup(message);
	struct verdict verdict = { .cause = cause, .exit_code = -1, .message = copy };

	run_live_leave(run);
	run_live_unfollow(run);
	run_live_end_with(run, &verdict, NULL);
	run_live_schedule(run->manager);
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

/* He may be gone since the submit, and his number may be another's. */
static int look_up_owner(struct run_live *run)
{
	_cleanup_(freep) char *name = TAKE(run->as.name);
	uid_t uid = run->turn.uid;
	int r;

	if (!run_is_foreign(run->manager, uid))
		return 0;
	r = identity_of_user(uid, &run->as);
	run->prepare.as = &run->as;
	if (r >= 0 && strcmp(run->as.name, name))
		return error_set(&run->prepare_error, -ENOENT, NULL,
			"user %u was %s at the submit and is %s now: the run cannot be started as "
			"somebody else; submit it again",
			(unsigned)uid, name, run->as.name);
	if (r == -ENOENT)
		return error_set(&run->prepare_error, r, NULL,
			"user %u (%s) is gone from this machine's user database: the run cannot be "
			"started as him",
			(unsigned)uid, name);
	return r < 0 ? error_errno(&run->prepare_error, r, NULL, "cannot look up user %u (%s)",
			       (unsigned)uid, name)
		     : 0;
}

static void prepare_on_thread(struct user_work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	run->prepare_result = look_up_owner(run);
	if (run->prepare_result >= 0)
		run->prepare_result = prepare_carry_out(&run->prepare, &run->prepare_error);
	error_default(&run->prepare_error, run->prepare_result, "cannot prepare the run");
}

static void prepare_done(struct user_work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	run->prepare_busy = false;
	if (run->over)
		run_live_start_clean_up(run); /* cancelled meanwhile */
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

int run_live_read_definition(struct run_live *run, struct error *err)
{
	_cleanup_(json_freep) struct json *body = NULL;
	int r = json_parse(run->record.definition, strlen(run->record.definition), &body, err);

	if (r >= 0)
		r = run_request_parse(body, &run->request, err);
	if (r >= 0)
		r = digest_parse(run->record.snapshot_id, &run->snapshot_id);
	return error_default(err, r, "the run's record is damaged");
}

static void fill_prepare(struct run_live *run)
{
	const struct run_manager *manager = run->manager;
	const struct run_manager_options *options = &manager->options;

	strv_free(run->gpu_ids);
	run->gpu_ids = strv_copy(run->record.gpu_ids);
	identity_release(&run->as);
	run->as.name = mem_strdup(run->record.submitted_by); /* until he has been looked up */
	run->prepare = (struct prepare){
		.store = options->store,
		.run_dir = run->dir,
		.run_id = strrchr(run->dir, '/') + 1, /* the record may be replaced meanwhile */
		.request = &run->request,
		.snapshot_id = run->snapshot_id,
		.grace_us = options->grace_us,
		.cgroup_parent = options->cgroup_parent,
		.gpu_ids = run->gpu_ids,
		/* Who serves himself alone may use his GPUs without a word. */
		.hide_gpus = options->system_service && manager->scheduler.slots.total.gpus,
		.memory_max = run->record.memory_bytes,
		.pids_max = options->queue.max_processes_per_run,
		.cpus = run->turn.wants.cpus,
	};
}

void run_live_start(struct run_live *run)
{
	struct run_manager *manager = run->manager;
	struct run_event event = {
		.type = RUN_EVENT_PREPARE, .at_us = clock_utc(), .boot_id = manager->boot_id
	};
	struct error err = ERROR_INIT;

	if (run_live_apply(run, &event) < 0)
		return;
	if (run_live_read_definition(run, &err) < 0) {
		run_live_end(run, RUN_CAUSE_SETUP_ERROR, err.message);
		return;
	}
	/* Should that have failed at the submit. Not on the thread: it may be canceled and deleted by
	 * then. */
	(void)submission_accept(run->dir);
	fill_prepare(run);
	run->prepare_busy = true;
	run->pending++;
	user_work_queue(&manager->works, run->turn.uid, run_is_foreign(manager, run->turn.uid),
		&run->work, prepare_on_thread, prepare_done);
	/* Committed beside it: after a loss of power a run that may have run is not started twice.
	 */
	run->prepare_committed = false;
	run_live_commit_prepare(run);
}

/* ---- running, as the executor tells it ---- */

/* An earlier daemon had told its supervisor, and died before history had room for it. */
static void catch_up_with_stop(struct run_live *run)
{
	_cleanup_(freep) char *stop = path_join(run->dir, RUN_DIR_STOP);

	if (run->record.state == RUN_CANCEL_REQUESTED || access(stop, F_OK) < 0)
		return;
	run_live_apply_cancel(run, NULL);
	write_soon(run);
}

static void on_started(void *data, int64_t start_us)
{
	struct run_live *run = data;
	struct run_event event = { .type = RUN_EVENT_RUNNING, .at_us = start_us };

	scheduler_begun(&run->turn, start_us);
	catch_up_with_stop(run);
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
	run_live_leave(run);
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

/* ---- cancel, retry ---- */

int run_live_tell_to_stop(struct run_live *run)
{
	struct run_stop stop = { RUN_STOP_CANCEL, run->manager->options.grace_us };
	struct executor *executor = run->manager->executor;
	int r = run->in_executor ? executor->ops->stop(executor, run, &stop) : 0;

	run->asked_to_stop |= run->in_executor && r >= 0;
	return r;
}

/* A second time is to hurry it, no more. */
void run_live_ask_to_stop(struct run_live *run)
{
	int r = run_live_tell_to_stop(run);

	if (r < 0 && !run->asked_to_stop)
		run_live_owe(run, OWED_STOP, "its supervisor cannot be asked to stop", r);
}

static void cancel_committed(void *data, int result)
{
	struct run_live *run = data;

	if (result < 0)
		run_live_owe(run, OWED_CANCEL_COMMIT,
			"that it is being canceled cannot be written to history", result);
	run_live_unpend(run);
}

void run_live_commit_cancel(struct run_live *run)
{
	if (run->ending)
		return;
	run->pending++;
	history_update(
		run->manager->options.history, &run->record, HISTORY_SOON, cancel_committed, run);
}

int run_live_apply_cancel(struct run_live *run, const char *by)
{
	struct run_event event = { .type = RUN_EVENT_CANCEL, .at_us = clock_utc() };

	if (run->record.state != RUN_CANCEL_REQUESTED && run_live_apply(run, &event) < 0)
		return -EINVAL;
	if (!run->record.canceled_by)
		run->record.canceled_by = mem_strdup(by);
	return 0;
}
