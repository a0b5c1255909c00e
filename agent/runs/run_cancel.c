/* SPDX-License-Identifier: MIT */
/* run_cancel - a run is asked to end; see run_manager.h */
#include <string.h>

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

static void stop_committed(void *data, int result)
{
	reply_send(data, result);
}

void run_manager_cancel(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data)
{
	struct run_live *run = run_live_find(manager, run_id);
	_cleanup_(freep) char *name = run_manager_user_name(manager, by);
	struct reply *reply;

	if (!run) {
		cancel_ended(manager, run_id, done, data);
		return;
	}
	if (!run_live_is_recovered(run)) {
		struct error err = ERROR_INIT;

		error_set(&err, -EAGAIN, "run_id",
			"the folder of %s cannot be looked at just now (the daemon's log says why); "
			"try again",
			run_id);
		done(data, NULL, &err);
		return;
	}
	reply = reply_new(manager, run_id, done, data);
	if (!run->in_executor && run->record.state != RUN_FINALIZING) {
		/* It ends now: the answer comes when that is durable. */
		run_waiter_start(manager, run_id, &reply->waiter, canceled);
		run_live_cancel(run, name);
		return;
	}
	run_live_cancel(run, name);
	/* Its supervisor knows, or history does, before anybody is told. */
	if (run->owed & OWED_STOP)
		history_update(manager->options.history, &run->record, HISTORY_DURABLE,
			stop_committed, reply);
	else
		reply_send(reply, 0);
}
