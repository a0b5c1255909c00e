/* SPDX-License-Identifier: MIT */
/* run_owed - what could not be done when it was due, and is tried again; see run_live.h */
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"

#define RETRY_MS 1000
/* A supervisor that ends before it has begun, for no want of room, is not started for ever. */
#define START_FAILURES_MAX 3

/* What may be there again in a while: disk, descriptors, processes, memory, locks. */
bool run_is_shortage(int error)
{
	static const int wanting[] = { ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EAGAIN, ENOLCK };

	for (size_t i = 0; i < ARRAY_SIZE(wanting); i++)
		if (error == -wanting[i])
			return true;
	return false;
}

static void on_retry(uv_timer_t *timer)
{
	struct run_manager *manager = timer->data;
	struct run_live *run, *next;

	manager->short_of_room = false;
	while ((run = TAILQ_FIRST(&manager->unclean))) {
		TAILQ_REMOVE(&manager->unclean, run, all);
		run_live_clean_up(run);
	}
	run_deletes_retry(manager);
	for (run = TAILQ_FIRST(&manager->all); run; run = next) {
		next = TAILQ_NEXT(run, all);
		run_live_retry(run);
	}
	run_live_schedule(manager);
}

void run_manager_retry_soon(struct run_manager *manager)
{
	if (!manager->stopping && !uv_is_active((uv_handle_t *)&manager->retry))
		uv_timer_start(&manager->retry, on_retry, RETRY_MS, 0);
}

void run_live_owe(struct run_live *run, enum owed what, const char *doing, int error)
{
	if (doing && !(run->complained & what)) {
		run->complained |= what;
		log_error("%s: %s: %s; trying again every second", run->record.run_id, doing,
			strerror(-error));
	}
	run->owed |= what;
	run_manager_retry_soon(run->manager);
}

/* Said once, however often it happens: a warning stays in the record. */
void run_live_warn_of_room(struct run_live *run, const char *what, int error)
{
	_cleanup_(freep) char *text = mem_printf("%s %s: %s", what,
		run_is_shortage(error) ? "had to wait for room" : "failed and was tried again",
		strerror(-error));

	if (strv_contains(run->record.warnings, text))
		return;
	strv_add(&run->record.warnings, text);
	log_warning("%s: %s; trying again every second", run->record.run_id, text);
	run_live_changed(run, false);
}

static void queued_committed(void *data, int result)
{
	struct run_live *run = data;

	if (result < 0)
		run_live_owe(run, OWED_QUEUE_COMMIT,
			"that it is queued cannot be written to history", result);
	run_live_unpend(run);
}

void run_live_commit_queued(struct run_live *run)
{
	if (run->ending) /* its end has been sent, and is the last word */
		return;
	run->pending++;
	history_update(run->manager->options.history, &run->record, HISTORY_DURABLE,
		queued_committed, run);
}

/* Back to the end of the queue, so that one that needs more room than there will be does not hold
 * up the others; and a pause for all. */
static void postpone(struct run_live *run, int error)
{
	struct run_manager *manager = run->manager;

	prepare_release(&run->prepare);
	run_request_release(&run->request);
	run->prepare_error = (struct error)ERROR_INIT;
	run_live_warn_of_room(run, "its start", error);
	run_live_queue(run, 0, false);
	run_live_commit_queued(run);
	manager->short_of_room = true;
	run_manager_retry_soon(manager);
}

void run_live_not_started(struct run_live *run, int error, const char *message)
{
	if (run->record.state == RUN_CANCEL_REQUESTED)
		run_live_end_unstarted(run);
	else if (run_is_shortage(error) || ++run->start_failures < START_FAILURES_MAX)
		postpone(run, error);
	else
		run_live_end(run, RUN_CAUSE_SETUP_ERROR, message);
}

void run_live_retry(struct run_live *run)
{
	static const struct {
		enum owed what;
		void (*pay)(struct run_live *run);
	} debts[] = {
		{ OWED_RECOVERY, run_live_recover },
		{ OWED_FINAL_COMMIT, run_live_commit_final },
		{ OWED_PREPARE_COMMIT, run_live_commit_prepare },
		{ OWED_QUEUE_COMMIT, run_live_commit_queued },
		{ OWED_CANCEL_COMMIT, run_live_commit_cancel },
		{ OWED_STOP, run_live_ask_to_stop },
		{ OWED_OUTPUTS, run_live_collect_again },
		{ OWED_FOLLOW, run_live_follow },
	};
	unsigned owed = run->owed;

	run->owed = 0;
	for (size_t i = 0; i < ARRAY_SIZE(debts); i++)
		if (owed & debts[i].what)
			debts[i].pay(run);
}
