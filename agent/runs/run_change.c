/* SPDX-License-Identifier: MIT */
/* run_change - tags, names, artifacts; and a run is deleted; see run_manager.h */
#include <fcntl.h>
#include <string.h>

#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_request.h"
#include "common/unowed.h"
#include "runs/run_live.h"
#include "runs/run_reply.h"

static void too_many_tags(struct reply *reply)
{
	struct error err = ERROR_INIT;

	error_set(&err, -EINVAL, "tags",
		"tags: %s would have more than %d of them, or more than %u bytes of keys and values "
		"together; remove some (null as their value)",
		reply->run_id, RUN_TAGS_MAX, RUN_TAGS_BYTES_MAX);
	reply_fail(reply, &err);
}

static void patched(void *data, int result)
{
	struct reply *reply = data;
	struct run_live *run = run_live_find(reply->manager, reply->run_id);

	for (size_t i = 0; result >= 0 && run && i < reply->tags.count; i++) {
		const struct pair *tag = &reply->tags.items[i];

		if (tag->value)
			pairs_set(&run->record.tags, tag->key, tag->value);
		else
			pairs_remove(&run->record.tags, tag->key);
	}
	if (result >= 0 && run && reply->display_name)
		mem_replace(&run->record.display_name,
			reply->display_name[0] ? reply->display_name : NULL);
	if (result >= 0 && run && reply->has_shared)
		run->record.shared = reply->shared;
	if (result == -E2BIG)
		too_many_tags(reply);
	else
		reply_send(reply, result);
}

void run_manager_patch(struct run_manager *manager, const char *run_id, const struct pairs *tags,
	const char *display_name, const bool *shared, run_manager_done done, void *data)
{
	struct reply *reply = reply_new(manager, run_id, done, data);

	pairs_copy(tags, &reply->tags);
	reply->display_name = mem_strdup(display_name);
	reply->has_shared = shared;
	reply->shared = shared && *shared;
	history_patch(manager->options.history, run_id, &reply->tags, display_name, shared, patched,
		reply);
}

static void delete_on_thread(struct user_work *work)
{
	(void)finish_clean_up(container_of(work, struct reply, work)->dir, false);
}

static void delete_done(struct user_work *work)
{
	struct reply *reply = container_of(work, struct reply, work);
	struct error none = ERROR_INIT;

	reply_fail(reply, &none);
}

/* History knows the run still: its folder is owed to it. */
static void delete_failed(struct reply *reply, int result)
{
	struct error err = ERROR_INIT;

	if (result != -ENOENT)
		(void)unowed_unmark(reply->dir);
	no_such_run(reply->run_id, result, &err);
	reply_fail(reply, &err);
}

static void deleted(void *data, int result)
{
	struct reply *reply = data;

	if (result < 0) {
		delete_failed(reply, result);
		return;
	}
	/* In his own folders a user can make us wait. */
	user_work_queue(&reply->manager->works, reply->owner,
		run_is_foreign(reply->manager, reply->owner), &reply->work, delete_on_thread,
		delete_done);
}

static void mark_on_thread(struct user_work *work)
{
	struct reply *reply = container_of(work, struct reply, work);

	reply->marked = FAIL_POINT(FAIL_DELETE_MARK, unowed_mark(reply->dir));
}

static void marked(struct user_work *work)
{
	struct reply *reply = container_of(work, struct reply, work);
	struct error err = ERROR_INIT;

	if (reply->marked >= 0) {
		history_delete(reply->manager->options.history, reply->run_id, deleted, reply);
		return;
	}
	(void)unowed_unmark(reply->dir);
	error_ours(&err, reply->marked, NULL, "cannot write into the run's folder %s", reply->dir);
	reply_fail(reply, &err);
}

void run_manager_delete(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	struct error err = ERROR_INIT;
	struct reply *reply;
	int r = 0;

	if (run_live_find(manager, run_id))
		r = error_set(&err, -EBUSY, "run_id", "%s has not ended; cancel it first", run_id);
	else if ((r = history_get(manager->options.history, run_id, &record)) < 0)
		no_such_run(run_id, r, &err);
	if (r < 0) {
		done(data, NULL, &err);
		return;
	}
	reply = reply_new(manager, run_id, done, data);
	reply->owner = record.owner;
	reply->dir = path_join(manager->runs_dir, run_id);
	/* A crash after the record has gone leaves a folder that the next daemon removes. */
	user_work_queue(&manager->works, reply->owner, false, &reply->work, mark_on_thread, marked);
}

static void artifacts_put(void *data, int result)
{
	reply_send(data, result);
}

void run_manager_put_artifacts(struct run_manager *manager, const char *run_id,
	const struct artifacts *artifacts, run_manager_done done, void *data)
{
	history_put_artifacts(manager->options.history, run_id, artifacts, artifacts_put,
		reply_new(manager, run_id, done, data));
}
