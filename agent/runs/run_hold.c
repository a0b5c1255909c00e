/* SPDX-License-Identifier: MIT */
/*
 * run_hold - runs are held back in the queue, and released; see run_manager.h
 *
 * It counts at once, so that nothing starts meanwhile, and is told when it is durable. What cannot be
 * written is taken back: to what history has confirmed last, for the change before it may have failed
 * as well.
 */
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"
#include "runs/run_reply.h"

static void set_held(struct run_live *run, const char *held_by)
{
	mem_replace(&run->record.held_by, held_by);
	run_live_park(run);
	run_live_changed(run, false);
}

/* Of several the last one counts. */
static void change_told(struct run_live *run, const char *held_by, int result)
{
	run->hold_changes--;
	if (result >= 0)
		mem_replace(&run->held_stored, held_by);
	else if (!run->hold_changes && run_live_is_queued(run))
		set_held(run, run->held_stored);
}

static void changed(void *data, int result)
{
	struct reply *reply = data;
	struct run_live *run = run_live_find(reply->manager, reply->run_id);

	if (run)
		change_told(run, reply->held_by, result);
	run_live_schedule(reply->manager);
	reply_send(reply, result);
}

/* Nothing of it has begun, and its end is not decided. */
static bool waits(const struct run_live *run)
{
	return run_live_is_queued(run) && !run->ending;
}

static void change(struct run_manager *manager, const char *run_id, const char *held_by,
	run_manager_done done, void *data)
{
	struct run_live *run = run_live_named(manager, run_id);
	struct error err = ERROR_INIT;
	struct reply *reply;

	if (!run) {
		reply_of_ended(manager, run_id, done, data);
		return;
	}
	if (!waits(run)) {
		error_set(&err, -EALREADY, "run_id", "%s is no longer queued: %s", run_id,
			run_state_name(run->record.state));
		done(data, NULL, &err);
		return;
	}
	reply = reply_new(manager, run_id, done, data);
	if (!run->record.held_by == !held_by && !run->hold_changes) {
		reply_send(reply, 0);
		return;
	}
	if (!run->hold_changes++)
		mem_replace(&run->held_stored, run->record.held_by);
	reply->held_by = mem_strdup(held_by);
	set_held(run, held_by);
	log_info("%s: %s%s", run_id, held_by ? "held by " : "released", held_by ? held_by : "");
	history_update(manager->options.history, &run->record, HISTORY_DURABLE, changed, reply);
}

void run_manager_hold(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data)
{
	_cleanup_(freep) char *name = run_manager_user_name(manager, by);

	change(manager, run_id, name, done, data);
}

void run_manager_release(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data)
{
	(void)by; /* who released it is the audit's */
	change(manager, run_id, NULL, done, data);
}
