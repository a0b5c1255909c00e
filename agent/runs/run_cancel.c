/* SPDX-License-Identifier: MIT */
/* run_cancel - a run is asked to end; see run_manager.h */
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "runs/run_live.h"
#include "runs/run_reply.h"

/* To cancel what is canceled is no error. */
static void cancel_ended(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	struct error none = ERROR_INIT;

	if (history_get(manager->options.history, run_id, &record) >= 0 &&
		record.state == RUN_CANCELED)
		done(data, &record, &none);
	else
		reply_of_ended(manager, run_id, done, data);
}

static void canceled(struct run_waiter *waiter, bool over)
{
	struct reply *reply = container_of(waiter, struct reply, waiter);

	if (!over)
		return;
	cancel_ended(reply->manager, reply->run_id, reply->done, reply->data);
	reply_free(reply);
}

void run_live_drop_waiters(struct run_live *run)
{
	struct run_waiter *waiter;

	while ((waiter = run->waiters)) {
		struct error err = ERROR_INIT;
		struct reply *reply;

		run_waiter_stop(waiter);
		if (waiter->changed != canceled)
			continue;
		reply = container_of(waiter, struct reply, waiter);
		error_set(&err, -ESHUTDOWN, NULL,
			"the daemon is ending and %s could not be canceled before; try again",
			reply->run_id);
		reply_fail(reply, &err);
	}
}

static void cancel_live(struct reply *reply);

/* History will tell the next daemon, and this one goes on trying. */
static void promised(void *data, int result)
{
	struct reply *reply = data;
	struct run_live *run = run_live_find(reply->manager, reply->run_id);
	struct error err = ERROR_INIT;

	if (result < 0) {
		error_errno(&err, result, NULL,
			"%s is not canceled, it goes on: there is no way to ask its supervisor to stop, "
			"nor to write down that it is to be asked",
			reply->run_id);
		reply_fail(reply, &err);
	} else if (!run || run->ending || run->record.state != reply->before) {
		cancel_live(reply); /* it has gone on meanwhile */
	} else {
		run_live_apply_cancel(run, reply->canceled_by);
		run_live_ask_to_stop(run);
		reply_send(reply, 0);
	}
}

/* Its supervisor cannot be told just now. The record shows nothing of it before history holds it:
 * what is refused must not look accepted, nor an accepted one come undone. */
static void promise(struct reply *reply, struct run_live *run)
{
	struct run_event event = { .type = RUN_EVENT_CANCEL, .at_us = clock_utc() };
	_cleanup_(run_record_release) struct run_record record = { 0 };

	run_record_copy(&run->record, &record);
	if (run_apply(&record, &event) >= 0)
		mem_replace(&record.canceled_by, reply->canceled_by);
	reply->before = run->record.state;
	history_update(reply->manager->options.history, &record, HISTORY_DURABLE, promised, reply);
}

/* Its supervisor knows, or history does, before anybody is told. */
static void cancel_started(struct reply *reply, struct run_live *run)
{
	if (run->ending || run->record.state == RUN_FINALIZING) {
		reply_send(reply, 0);
	} else if (run->record.state == RUN_CANCEL_REQUESTED) {
		run_live_ask_to_stop(run);
		reply_send(reply, 0);
	} else if (run_live_tell_to_stop(run) < 0) {
		promise(reply, run);
	} else {
		run_live_apply_cancel(run, reply->canceled_by);
		run_live_commit_cancel(run);
		reply_send(reply, 0);
	}
}

/* It ends now: the answer comes when that is durable. */
static void cancel_unstarted(struct reply *reply, struct run_live *run)
{
	run_waiter_start(reply->manager, reply->run_id, &reply->waiter, canceled);
	if (run->ending)
		return;
	if (!run->record.canceled_by)
		run->record.canceled_by = mem_strdup(reply->canceled_by);
	run_live_end_unstarted(run);
}

static void cancel_live(struct reply *reply)
{
	struct run_live *run = run_live_find(reply->manager, reply->run_id);

	if (!run) {
		cancel_ended(reply->manager, reply->run_id, reply->done, reply->data);
		reply_free(reply);
	} else if (!run->in_executor && run->record.state != RUN_FINALIZING) {
		cancel_unstarted(reply, run);
	} else {
		cancel_started(reply, run);
	}
}

void run_manager_cancel(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data)
{
	struct run_live *run = run_live_named(manager, run_id);
	struct reply *reply;

	if (run && !run_live_is_recovered(run)) {
		struct error err = ERROR_INIT;

		error_set(&err, -EAGAIN, "run_id",
			"the folder of %s cannot be looked at just now (the daemon's log says why); "
			"try again",
			run_id);
		done(data, NULL, &err);
		return;
	}
	reply = reply_new(manager, run_id, done, data);
	reply->canceled_by = run_manager_user_name(manager, by);
	cancel_live(reply);
}
