/* SPDX-License-Identifier: MIT */
/* run_end - outputs, the commit of the end, and what is left of the folder; see run_manager.h */
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"
#include "runs/submission.h"

/* So long the outputs of a run wait for room before it is called an error. */
#define ROOM_PATIENCE_US (600 * USEC_PER_SEC)
/* Trying may mean copying gigabytes up to the point where the disk is full. */
#define COLLECT_WAIT_MAX_US (30 * USEC_PER_SEC)

/* ---- over: clean up ---- */

static void clean_up(struct user_work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	run->clean_result = finish_clean_up(run->dir, run->keep_work);
}

/* The submitter's environment is in there: it is not left until the next daemon sweeps. */
static void clean_up_done(struct user_work *work)
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

/* One that was canceled while it was laid out may have been deleted by then, and the delete has found
 * less than there is now. */
static bool is_deleted(const struct run_live *run)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };

	return history_get(run->manager->options.history, run->record.run_id, &record) == -ENOENT;
}

/* In his own folders a user can make us wait. */
void run_live_clean_up(struct run_live *run)
{
	bool limited;

	run->keep_work = run->record.state != RUN_COMPLETED && !is_deleted(run);
	limited = !run->keep_work && run_is_foreign(run->manager, run->turn.uid);

	user_work_queue(
		&run->manager->works, run->turn.uid, limited, &run->work, clean_up, clean_up_done);
}

void run_live_start_clean_up(struct run_live *run)
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
	run->manager->ended[run->record.cause]++;
	log_info("%s: %s%s%s", run->record.run_id, run_state_name(run->record.state),
		run->record.cause ? " " : "",
		run->record.cause ? run_cause_name(run->record.cause) : "");
	/* Should it have failed at the submit: what the mark holds is the submitter's environment, and the
	 * clean-up leaves marks. No delete can have begun yet. */
	(void)submission_accept(run->dir);
	run_live_over(run);
	if (!run->prepare_busy) /* else when that has come back */
		run_live_start_clean_up(run);
	run_live_unpend(run);
}

/* Into `final` alone: the record shows nothing of it before it is durable. */
void run_live_end_with(struct run_live *run, const struct verdict *verdict, char *const *warnings)
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

/* ---- finalizing ---- */

/* Whoever is gone still owns what he left: his numbers are enough to read it. */
static void look_up_owner(struct run_live *run)
{
	struct stat st;

	if (!run_is_foreign(run->manager, run->turn.uid))
		return;
	identity_release(&run->as);
	if (identity_of_user(run->turn.uid, &run->as) < 0)
		run->as = (struct identity){ .uid = run->turn.uid,
			.gid = stat(run->dir, &st) == 0 ? st.st_gid : (gid_t)run->turn.uid };
	run->finish.as = &run->as;
}

static void finish_on_thread(struct user_work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	look_up_owner(run);
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

static void tell_of_damage(const struct run_live *run)
{
	if (run->finish.damaged)
		log_error("%s: its exit record is damaged; it is kept as %s/%s", run->record.run_id,
			run->dir, RUN_DIR_EXIT_DAMAGED);
}

static void finish_done(struct user_work *work)
{
	struct run_live *run = container_of(work, struct run_live, work);

	if (run->manager->stopping && run_is_shortage(run->finish.result)) {
		log_info("%s: its outputs wait for the next daemon", run->record.run_id);
	} else if (waits_for_room(run)) {
		run_live_warn_of_room(run, "storing its outputs", run->finish.result);
		run_live_owe(run, OWED_OUTPUTS, NULL, 0);
	} else {
		tell_of_damage(run);
		run_live_end_with(run, &run->finish.verdict, run->finish.warnings);
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
	struct run_manager *manager = run->manager;

	finish_release(&run->finish);
	/* A run found by recovery has not had its definition read. */
	if (!run->request.source_directory)
		run_live_read_definition(run, NULL);
	run->finish = (struct finish){
		.store = manager->options.store,
		.run_dir = run->dir,
		.snapshot_id = &run->snapshot_id,
		.facts = {
			.exit = run->exit_known ? &run->exit : NULL,
			.seen_us = run->seen_us,
			.rebooted = run->rebooted,
			.limit_seconds = run->request.max_run_duration_seconds,
			.canceled_by = run->record.canceled_by,
			.grace_us = manager->options.grace_us,
			.memory_bytes = run->record.memory_bytes,
			.shell = run->request.command != NULL,
			.swept = run->swept,
			.program = run->prepare.program ? run->prepare.program : "the command",
		},
	};
	run->pending++;
	user_work_queue(&manager->works, run->turn.uid, run_is_foreign(manager, run->turn.uid),
		&run->work, finish_on_thread, finish_done);
}
