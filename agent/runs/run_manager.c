/* SPDX-License-Identifier: MIT */
/* run_manager - all runs of this daemon; see run_manager.h */
#include "runs/run_manager.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"

/* ---- the table of live runs ---- */

static int compare_ids(const void *a, const void *b)
{
	const struct run_live *left = a, *right = b;

	return strcmp(left->record.run_id, right->record.run_id);
}

struct run_live *run_live_find(const struct run_manager *manager, const char *run_id)
{
	struct run_live key = { .record.run_id = (char *)(uintptr_t)run_id };
	struct run_live **found = tfind(&key, &manager->by_id, compare_ids);

	return found ? *found : NULL;
}

struct run_live *run_live_new(struct run_manager *manager, const struct run_record *record)
{
	struct run_live *run = NEW(struct run_live);

	run_record_copy(record, &run->record);
	run->manager = manager;
	run->dir = path_join(manager->runs_dir, record->run_id);
	return run;
}

void run_live_enlist(struct run_live *run)
{
	if (!tsearch(run, &run->manager->by_id, compare_ids))
		abort();
	TAILQ_INSERT_TAIL(&run->manager->all, run, all);
}

static void drop_waiters(struct run_live *run);

static void run_live_free(struct run_live *run)
{
	drop_waiters(run);
	run_record_release(&run->record);
	run_record_release(&run->final);
	run_request_release(&run->request);
	prepare_release(&run->prepare);
	finish_release(&run->finish);
	free(run->dir);
	free(run);
}

static void told_if_free(struct run_manager *manager)
{
	void (*freed)(void *data) = manager->freed;
	void *data = manager->freed_data;

	if (!manager->stopping || manager->pending || !TAILQ_EMPTY(&manager->all))
		return;
	tdestroy(manager->by_id, (void (*)(void *))free);
	free(manager->runs_dir);
	free(manager->index_dir);
	free(manager);
	freed(data);
}

void run_manager_unpend(struct run_manager *manager)
{
	manager->pending--;
	told_if_free(manager);
}

static void run_live_forget(struct run_live *run)
{
	struct run_manager *manager = run->manager;

	tdelete(run, &manager->by_id, compare_ids);
	TAILQ_REMOVE(&manager->all, run, all);
	if (run->in_queue)
		TAILQ_REMOVE(&manager->queue, run, queue);
	run->in_queue = false;
}

void run_live_unpend(struct run_live *run)
{
	struct run_manager *manager = run->manager;

	if (--run->pending || !(run->over || manager->stopping))
		return;
	if (!run->over) {
		run_live_forget(run);
		manager->pending++;
	}
	run_live_free(run);
	run_manager_unpend(manager);
}

static void add_waiter(struct run_live *run, struct run_waiter *waiter)
{
	waiter->next = run->waiters;
	waiter->link = &run->waiters;
	if (run->waiters)
		run->waiters->link = &waiter->next;
	run->waiters = waiter;
}

/* Those who are still to be told are a list of their own: a callback may stop any of them. */
void run_live_changed(struct run_live *run, bool over)
{
	struct run_waiter *left = run->waiters, *waiter;

	run->waiters = NULL;
	if (left)
		left->link = &left;
	while ((waiter = left)) {
		run_waiter_stop(waiter);
		add_waiter(run, waiter);
		waiter->changed(waiter, over);
	}
}

void run_live_over(struct run_live *run)
{
	struct run_waiter *waiter;

	run_live_forget(run);
	run->over = true;
	run->manager->pending++; /* until it is freed */
	while ((waiter = run->waiters)) {
		run_waiter_stop(waiter);
		waiter->changed(waiter, true);
	}
}

/* ---- life of the manager ---- */

const struct executor_events *run_manager_executor_events(void)
{
	return &run_life_events;
}

void run_manager_set_executor(struct run_manager *manager, struct executor *executor)
{
	manager->executor = executor;
}

int run_manager_new(
	const struct run_manager_options *options, struct run_manager **ret, struct error *err)
{
	struct run_manager *manager = NEW(struct run_manager);
	int r;

	manager->options = *options;
	manager->runs_dir = path_join(options->state_dir, "runs");
	manager->index_dir = path_join(options->state_dir, "index");
	TAILQ_INIT(&manager->all);
	TAILQ_INIT(&manager->queue);
	TAILQ_INIT(&manager->unclean);
	r = clock_boot_id(manager->boot_id);
	if (r >= 0)
		r = dir_make(manager->runs_dir, 0700);
	if (r >= 0)
		r = dir_make(manager->index_dir, 0700);
	if (r < 0) {
		error_errno(err, r, NULL, "cannot make the folders in %s", options->state_dir);
		free(manager->runs_dir);
		free(manager->index_dir);
		free(manager);
		return r;
	}
	uv_timer_init(options->loop, &manager->retry);
	manager->retry.data = manager;
	*ret = manager;
	return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct run_manager *manager = handle->data;

	run_manager_unpend(manager);
}

static void ignore_started(void *run, int64_t start_us)
{
	(void)run;
	(void)start_us;
}

static void ignore_ended(void *run, const struct run_exit *exit, int64_t seen_us)
{
	(void)run;
	(void)exit;
	(void)seen_us;
}

static void ignore_not_started(void *run, int error, const char *reason)
{
	(void)run;
	(void)error;
	(void)reason;
}

void run_manager_free(struct run_manager *manager, void (*freed)(void *data), void *data)
{
	static const struct executor_events nobody_listens = { ignore_started, ignore_ended,
		ignore_not_started };
	struct run_live *run, *next;

	manager->stopping = true;
	manager->freed = freed;
	manager->freed_data = data;
	manager->pending++;
	uv_close((uv_handle_t *)&manager->retry, on_timer_closed);
	/* It is freed after us, and knows runs that are no more. */
	if (manager->executor)
		manager->executor->events = &nobody_listens;
	while ((run = TAILQ_FIRST(&manager->unclean))) {
		TAILQ_REMOVE(&manager->unclean, run, all);
		run_live_unpend(run);
	}
	for (run = TAILQ_FIRST(&manager->all); run; run = next) {
		next = TAILQ_NEXT(run, all);
		if (run->pending)
			continue;
		run_live_forget(run);
		run_live_free(run);
	}
}

/* ---- answers ---- */

/* A call that ends with the record as it is then. */
struct reply {
	struct run_manager *manager;
	char *run_id;
	run_manager_done done;
	void *data;
	struct run_waiter waiter; /* cancel: until it is over */
	/* patch */
	struct pairs tags;
	char *display_name;
	struct work work; /* delete: the folder */
	char *dir;
};

static struct reply *reply_new(
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

static void reply_free(struct reply *reply)
{
	struct run_manager *manager = reply->manager;

	pairs_release(&reply->tags);
	free(reply->display_name);
	free(reply->run_id);
	free(reply->dir);
	free(reply);
	run_manager_unpend(manager);
}

static int no_such_run(const char *run_id, int r, struct error *err)
{
	if (r == -ENOENT)
		return error_set(err, r, "run_id", "no run \"%s\"", run_id);
	return error_errno(err, r, NULL, "cannot read or write the run history");
}

/* The last step of all of them. */
static void reply_send(struct reply *reply, int result)
{
	struct run_record record = { 0 };
	struct error err = ERROR_INIT;

	if (result < 0)
		no_such_run(reply->run_id, result, &err);
	else if ((result = run_manager_get(reply->manager, reply->run_id, &record)) < 0)
		no_such_run(reply->run_id, result, &err);
	reply->done(reply->data, result < 0 ? NULL : &record, &err);
	if (result >= 0)
		run_record_release(&record);
	reply_free(reply);
}

int run_manager_get(struct run_manager *manager, const char *run_id, struct run_record *ret)
{
	const struct run_live *run = run_live_find(manager, run_id);

	if (!run)
		return history_get(manager->options.history, run_id, ret);
	run_record_copy(&run->record, ret);
	return 0;
}

int run_manager_resolve(struct run_manager *manager, const char *name, char **ret_run_id)
{
	return history_resolve(manager->options.history, name, ret_run_id);
}

int run_manager_list(
	struct run_manager *manager, const struct history_query *query, struct run_record_list *ret)
{
	int r = history_list(manager->options.history, query, ret);

	if (r < 0)
		return r;
	/* Memory knows more than what was committed so far. */
	for (size_t i = 0; i < ret->count; i++) {
		const struct run_live *run = run_live_find(manager, ret->items[i].run_id);

		if (!run)
			continue;
		run_record_release(&ret->items[i]);
		run_record_copy(&run->record, &ret->items[i]);
	}
	return 0;
}

void run_manager_count(const struct run_manager *manager, struct run_counts *ret)
{
	const struct run_live *run;

	*ret = (struct run_counts){ .running = manager->slots_used,
		.max_running = manager->options.max_running };
	TAILQ_FOREACH(run, &manager->all, all)
	{
		ret->queued += run->in_queue;
		ret->finalizing += run->record.state == RUN_FINALIZING;
	}
}

bool run_manager_is_live(const struct run_manager *manager, const char *run_id)
{
	return run_live_find(manager, run_id) != NULL;
}

int run_manager_open_dir(const struct run_manager *manager, const char *run_id)
{
	_cleanup_(freep) char *dir = path_join(manager->runs_dir, run_id);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int run_waiter_start(struct run_manager *manager, const char *run_id, struct run_waiter *waiter,
	void (*changed)(struct run_waiter *waiter, bool over))
{
	struct run_live *run = run_live_find(manager, run_id);

	if (!run)
		return -ENOENT;
	waiter->changed = changed;
	add_waiter(run, waiter);
	return 0;
}

void run_waiter_stop(struct run_waiter *waiter)
{
	if (!waiter->link)
		return;
	*waiter->link = waiter->next;
	if (waiter->next)
		waiter->next->link = waiter->link;
	waiter->link = NULL;
}

/* ---- cancel, patch, delete, artifacts ---- */

static void cancel_ended(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data)
{
	struct run_record record;
	struct error err = ERROR_INIT;
	int r = history_get(manager->options.history, run_id, &record);

	if (r < 0) {
		no_such_run(run_id, r, &err);
		done(data, NULL, &err);
		return;
	}
	if (record.state != RUN_CANCELED)
		r = error_set(&err, -EALREADY, "run_id", "%s has already ended: %s", run_id,
			run_state_name(record.state));
	done(data, r < 0 ? NULL : &record, &err);
	run_record_release(&record);
}

static void canceled(struct run_waiter *waiter, bool over)
{
	struct reply *reply = container_of(waiter, struct reply, waiter);

	if (!over)
		return;
	cancel_ended(reply->manager, reply->run_id, reply->done, reply->data);
	reply_free(reply);
}

/* The daemon ends before the run's end is durable: whoever cancelled it is told so, the others are
 * told nothing. */
static void drop_waiters(struct run_live *run)
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
		reply->done(reply->data, NULL, &err);
		reply_free(reply);
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
	_cleanup_(freep) char *name = run_user_name(by);
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
	reply_send(reply, result);
}

void run_manager_patch(struct run_manager *manager, const char *run_id, const struct pairs *tags,
	const char *display_name, run_manager_done done, void *data)
{
	struct reply *reply = reply_new(manager, run_id, done, data);

	pairs_copy(tags, &reply->tags);
	reply->display_name = mem_strdup(display_name);
	history_patch(manager->options.history, run_id, &reply->tags, display_name, patched, reply);
}

static void delete_on_thread(struct work *work)
{
	(void)finish_clean_up(container_of(work, struct reply, work)->dir, false);
}

static void delete_done(struct work *work)
{
	struct reply *reply = container_of(work, struct reply, work);
	struct error none = ERROR_INIT;

	reply->done(reply->data, NULL, &none);
	reply_free(reply);
}

static void deleted(void *data, int result)
{
	struct reply *reply = data;
	struct error err = ERROR_INIT;

	if (result < 0) {
		no_such_run(reply->run_id, result, &err);
		reply->done(reply->data, NULL, &err);
		reply_free(reply);
		return;
	}
	work_queue(reply->manager->options.loop, &reply->work, delete_on_thread, delete_done);
}

static void strip_on_thread(struct work *work)
{
	(void)finish_clean_up(container_of(work, struct reply, work)->dir, true);
}

static void stripped(struct work *work)
{
	struct reply *reply = container_of(work, struct reply, work);

	history_delete(reply->manager->options.history, reply->run_id, deleted, reply);
}

void run_manager_delete(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data)
{
	struct error err = ERROR_INIT;
	struct reply *reply;

	if (run_live_find(manager, run_id)) {
		error_set(&err, -EBUSY, "run_id", "%s has not ended; cancel it first", run_id);
		done(data, NULL, &err);
		return;
	}
	reply = reply_new(manager, run_id, done, data);
	reply->dir = path_join(manager->runs_dir, run_id);
	/* Without `launch` a folder that is in no history is known to be nobody's: a crash after
	 * the record has gone leaves one that the next daemon removes. */
	work_queue(manager->options.loop, &reply->work, strip_on_thread, stripped);
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
