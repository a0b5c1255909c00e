/* SPDX-License-Identifier: MIT */
/* run_reply - a call about a run that is answered later; see run_reply.h */
#include "runs/run_reply.h"

#include "common/mem.h"
#include "runs/run_live.h"

struct reply *reply_new(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data)
{
	struct reply *reply = NEW(struct reply);

	reply->manager = manager;
	reply->run_id = mem_strdup(run_id);
	reply->done = done;
	reply->data = data;
	manager->pending++;
	return reply;
}

void reply_free(struct reply *reply)
{
	struct run_manager *manager = reply->manager;

	pairs_release(&reply->tags);
	free(reply->display_name);
	free(reply->held_by);
	free(reply->canceled_by);
	free(reply->run_id);
	free(reply->dir);
	free(reply);
	run_manager_unpend(manager);
}

void reply_fail(struct reply *reply, const struct error *err)
{
	reply->done(reply->data, NULL, err);
	reply_free(reply);
}

int no_such_run(const char *run_id, int r, struct error *err)
{
	if (r == -ENOENT)
		return error_set(err, r, "run_id", "no run \"%s\"", run_id);
	return error_ours(err, r, NULL, "cannot read or write the run history");
}

void reply_send(struct reply *reply, int result)
{
	struct run_record record = { 0 };
	struct error err = ERROR_INIT;

	if (result >= 0)
		result = run_manager_get(reply->manager, reply->run_id, &record);
	if (result < 0) {
		no_such_run(reply->run_id, result, &err);
		reply_fail(reply, &err);
		return;
	}
	reply->done(reply->data, &record, &err);
	run_record_release(&record);
	reply_free(reply);
}

void reply_of_ended(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data)
{
	struct run_record record;
	struct error err = ERROR_INIT;
	int r = history_get(manager->options.history, run_id, &record);

	if (r < 0)
		no_such_run(run_id, r, &err);
	else if (!run_state_is_terminal(record.state))
		error_set(&err, -EAGAIN, "run_id", "%s is being accepted; try again", run_id);
	else
		error_set(&err, -EALREADY, "run_id", "%s has already ended: %s", run_id,
			run_state_name(record.state));
	if (r >= 0)
		run_record_release(&record);
	done(data, NULL, &err);
}
