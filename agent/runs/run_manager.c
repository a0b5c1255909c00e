/* SPDX-License-Identifier: MIT */
/* run_manager - all runs of this daemon; see run_manager.h */
#include "runs/run_manager.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/run_live.h"
#include "runs/run_submit.h"

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

/* What history shows is committed: the news of it waits to be dispatched, or is about to. */
struct run_live *run_live_named(const struct run_manager *manager, const char *run_id)
{
	if (run_submit_is_under_way(manager, run_id))
		history_dispatch(manager->options.history);
	return run_live_find(manager, run_id);
}

struct run_live *run_live_new(struct run_manager *manager, const struct run_record *record)
{
	struct run_live *run = NEW(struct run_live);

	run_record_copy(record, &run->record);
	run->turn.uid = record->owner;
	TAILQ_INIT(&run->leaders);
	TAILQ_INIT(&run->followers);
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

static void run_live_free(struct run_live *run)
{
	run_live_drop_waiters(run);
	run_record_release(&run->record);
	run_record_release(&run->final);
	run_request_release(&run->request);
	prepare_release(&run->prepare);
	finish_release(&run->finish);
	identity_release(&run->as);
	strv_free(run->gpu_ids);
	free(run->held_stored);
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
	scheduler_release(&manager->scheduler);
	user_names_release(&manager->names);
	drain_release(&manager->drain);
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
	run_live_leave(run);
	run_live_unfollow(run);
}

void run_live_unpend(struct run_live *run)
{
	struct run_manager *manager = run->manager;

	if (--run->pending || !(run->over || manager->stopping))
		return;
	if (!run->over) {
		run_live_forget(run);
		run_live_lead_on(run);
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
	run_live_lead_on(run);
}

bool run_is_foreign(const struct run_manager *manager, uid_t uid)
{
	return manager->options.system_service && uid != geteuid();
}

char *run_manager_user_name(struct run_manager *manager, uid_t uid)
{
	const char *known = user_names_get(&manager->names, uid);

	return known ? mem_strdup(known) : mem_printf("%u", (unsigned)uid);
}

void run_manager_know_user(struct run_manager *manager, uid_t uid, const char *name)
{
	user_names_set(&manager->names, uid, name);
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

/* Users reach their own runs through it, by names that they know, and list nothing. */
static int make_runs_dir(const struct run_manager *manager)
{
	mode_t mode = manager->options.system_service ? 0711 : 0700;
	int r = dir_make(manager->runs_dir, mode);

	if (r < 0 || !manager->options.system_service)
		return r;
	return chmod(manager->runs_dir, mode) < 0 ? -errno : 0;
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
	TAILQ_INIT(&manager->submits);
	TAILQ_INIT(&manager->drain_changes);
	TAILQ_INIT(&manager->unclean);
	TAILQ_INIT(&manager->unremoved);
	r = clock_boot_id(manager->boot_id);
	if (r >= 0)
		r = make_runs_dir(manager);
	if (r >= 0)
		r = dir_make(manager->index_dir, 0700);
	if (r < 0) {
		error_errno(err, r, NULL, "cannot make the folders in %s", options->state_dir);
		free(manager->runs_dir);
		free(manager->index_dir);
		free(manager);
		return r;
	}
	user_works_init(&manager->works, options->loop);
	run_drain_read(manager);
	run_queue_init(manager);
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

static void gpus_freed(void *data)
{
	run_manager_unpend(data);
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
	run_deletes_drop(manager);
	for (run = TAILQ_FIRST(&manager->all); run; run = next) {
		next = TAILQ_NEXT(run, all);
		if (run->pending)
			continue;
		run_live_forget(run);
		run_live_lead_on(run);
		run_live_free(run);
	}
	manager->pending++;
	run_queue_release(manager, gpus_freed, manager);
}

/* ---- answers ---- */

int run_manager_get(struct run_manager *manager, const char *run_id, struct run_record *ret)
{
	const struct run_live *run = run_live_find(manager, run_id);

	if (!run)
		return history_get(manager->options.history, run_id, ret);
	run_record_copy(&run->record, ret);
	return 0;
}

int run_manager_resolve(struct run_manager *manager, const struct history_viewer *viewer,
	const char *name, char **ret_run_id)
{
	int r = history_resolve(manager->options.history, viewer, name, ret_run_id);

	if (r >= 0)
		(void)run_live_named(manager, *ret_run_id);
	return r;
}

bool run_manager_is_accepting(const struct run_manager *manager, const char *run_id)
{
	return !run_live_named(manager, run_id) && run_submit_is_under_way(manager, run_id);
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
