/* SPDX-License-Identifier: MIT */
/* run_change - tags, names, artifacts; and a run is deleted; see run_manager.h */
#include <fcntl.h>
#include <string.h>

#include "common/fail_point.h"
#include "common/file.h"
#include "common/log.h"
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

/* ---- delete ---- */

static void remove_on_thread(struct user_work *work)
{
	struct reply *reply = container_of(work, struct reply, work);

	reply->removed = finish_clean_up(reply->dir, false);
}

/* In his own folders a user can make us wait. */
static void remove_folder(struct reply *reply, void (*done)(struct user_work *work))
{
	user_work_queue(&reply->manager->works, reply->owner,
		run_is_foreign(reply->manager, reply->owner), &reply->work, remove_on_thread, done);
}

/* What cannot be removed just now is not left until the next daemon sweeps. */
static void removed(struct user_work *work)
{
	struct reply *reply = container_of(work, struct reply, work);
	struct run_manager *manager = reply->manager;

	if (reply->removed >= 0 || reply->removed == -ENOENT || manager->stopping) {
		reply_free(reply);
		return;
	}
	if (!reply->complained)
		log_error("%s: it was deleted, and its folder cannot be removed: %s; trying again "
			  "every second",
			reply->run_id, strerror(-reply->removed));
	reply->complained = true;
	TAILQ_INSERT_TAIL(&manager->unremoved, reply, entry);
	run_manager_retry_soon(manager);
}

void run_deletes_retry(struct run_manager *manager)
{
	struct reply *reply;

	while ((reply = TAILQ_FIRST(&manager->unremoved))) {
		TAILQ_REMOVE(&manager->unremoved, reply, entry);
		remove_folder(reply, removed);
	}
}

void run_deletes_drop(struct run_manager *manager)
{
	struct reply *reply;

	while ((reply = TAILQ_FIRST(&manager->unremoved))) {
		TAILQ_REMOVE(&manager->unremoved, reply, entry);
		reply_free(reply);
	}
}

/* The run is gone, whatever becomes of its folder: it is marked. */
static void delete_done(struct user_work *work)
{
	struct reply *reply = container_of(work, struct reply, work);
	struct error none = ERROR_INIT;

	reply->done(reply->data, NULL, &none);
	removed(work);
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

	if (result < 0)
		delete_failed(reply, result);
	else
		remove_folder(reply, delete_done);
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

	if (reply->marked < 0)
		error_ours(&err, reply->marked, NULL, "cannot write into the run's folder %s",
			reply->dir);
	else /* one may have come meanwhile */
		(void)run_after_check_delete(reply->manager, reply->run_id, reply->owner, &err);
	if (!err.code) {
		history_delete(reply->manager->options.history, reply->run_id, deleted, reply);
		return;
	}
	(void)unowed_unmark(reply->dir);
	reply_fail(reply, &err);
}

void run_manager_delete(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	struct error err = ERROR_INIT;
	struct reply *reply;
	int r;

	(void)run_live_named(manager, run_id);
	r = run_manager_get(manager, run_id, &record);
	if (r < 0)
		no_such_run(run_id, r, &err);
	else if (!run_state_is_terminal(record.state))
		r = error_set(&err, -EBUSY, "run_id", "%s has not ended; cancel it first", run_id);
	else
		r = run_after_check_delete(manager, run_id, record.owner, &err);
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
