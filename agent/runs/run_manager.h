/* SPDX-License-Identifier: MIT */
/*
 * run_manager - all runs of this daemon: submit, find, cancel, recover
 *
 * The life of a run (run.h says what may follow what):
 *
 *	submit   snapshot on a work thread, then one durable commit: Queued, and the caller is told
 *	Queued -> Preparing     when a slot is free; its boot id is committed durably meanwhile
 *	Preparing -> Starting   work/ is laid out: the executor starts it
 *	Starting -> Running     the executor says so
 *	-> Finalizing           the executor says that nothing of it is left: the slot is free
 *	-> the end              outputs are stored, the record is committed durably: those who wait
 *are told
 *
 * Live runs are kept in memory and answered from there; the others are history's. A run's end is
 * shown to nobody before it is durable. What cannot be committed (no room on the disk) is tried
 * again every second, for ever.
 *
 * run_manager_recover() puts every run that history calls live back into the place where it
 *belongs: queued again, reattached, finished, or lost.
 *
 * Threads: the loop's alone. Results of calls that take `done` come later, from the loop.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "capture/snapshot.h"
#include "common/artifact.h"
#include "common/run_request.h"
#include "history/history.h"
#include "runs/executor.h"

struct run_manager;
struct store;
struct watch;

struct run_manager_options {
	uv_loop_t *loop;
	struct store *store;
	struct history *history;
	struct watch *watch;       /* for log followers */
	const char *state_dir;     /* absolute; runs/ and index/ are in it */
	const char *git_helper;    /* NULL: none */
	const char *cgroup_parent; /* each run's cgroup is made in it; NULL: they have none */
	struct snapshot_limits limits;
	int64_t grace_us;
	int64_t keep_work_us; /* how long work/ of a run that did not complete stays */
	int64_t max_running;
};

/* The executor's events go to run_manager_executor_events(); set it before anything else. */
int run_manager_new(
	const struct run_manager_options *options, struct run_manager **ret, struct error *err);
const struct executor_events *run_manager_executor_events(void);
void run_manager_set_executor(struct run_manager *manager, struct executor *executor);
/* Once, at the start. Returns how many runs were live. */
int run_manager_recover(struct run_manager *manager, struct error *err);
/* Forget all; `freed` is called when the last work has come back. Runs go on. The executor is asked
 * nothing more and its news is not heard: free it afterwards. */
void run_manager_free(struct run_manager *manager, void (*freed)(void *data), void *data);

/* record NULL: err says why. Both are the manager's and good for the call only. */
typedef void (*run_manager_done)(
	void *data, const struct run_record *record, const struct error *err);

/* Takes over the request. */
void run_manager_submit(struct run_manager *manager, struct run_request *request, uid_t uid,
	run_manager_done done, void *data);
/* -EALREADY as err->code when the run has ended otherwise. */
void run_manager_cancel(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data);
void run_manager_patch(struct run_manager *manager, const char *run_id, const struct pairs *tags,
	const char *display_name, run_manager_done done, void *data);
/* -EBUSY while it is live. */
void run_manager_delete(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data);
/* Artifacts whose bytes are in the store already. */
void run_manager_put_artifacts(struct run_manager *manager, const char *run_id,
	const struct artifacts *artifacts, run_manager_done done, void *data);

/* Id, unique prefix or "latest" -> id. -ENOENT, -ENOTUNIQ. */
int run_manager_resolve(struct run_manager *manager, const char *name, char **ret_run_id);
/* The record as it is now. The caller releases it. */
int run_manager_get(struct run_manager *manager, const char *run_id, struct run_record *ret);
int run_manager_list(struct run_manager *manager, const struct history_query *query,
	struct run_record_list *ret);

struct run_counts {
	int64_t running; /* they hold a slot */
	int64_t queued;
	int64_t finalizing;
	int64_t max_running;
};
void run_manager_count(const struct run_manager *manager, struct run_counts *ret);

/* Is it live (not over, or its end not yet durable)? Then its folder, opened: the caller closes. */
bool run_manager_is_live(const struct run_manager *manager, const char *run_id);
int run_manager_open_dir(const struct run_manager *manager, const char *run_id);

/*
 * Tell me when something about this run changes (state changes; the last one is its end). Embed it;
 * run_waiter_stop() before it goes away, also after the end. Not live: -ENOENT. A callback may stop
 * any waiter. Those left when the manager is freed are told of an end that still becomes durable,
 * else no more.
 */
struct run_waiter {
	struct run_waiter *next, **link;
	void (*changed)(struct run_waiter *waiter, bool over);
};
int run_waiter_start(struct run_manager *manager, const char *run_id, struct run_waiter *waiter,
	void (*changed)(struct run_waiter *waiter, bool over));
void run_waiter_stop(struct run_waiter *waiter);
