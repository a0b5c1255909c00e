/* SPDX-License-Identifier: MIT */
/*
 * run_manager - all runs of this daemon: submit, find, change, cancel, recover; and their queue
 *
 * The life of a run (run.h says what may follow what):
 *
 *	submit   snapshot on a work thread, then one durable commit: Queued, and the caller is told
 *	Queued -> Preparing     when it has its turn and its slots (scheduler.h); its boot id and its
 *				GPUs are committed durably meanwhile
 *	Preparing -> Starting   work/ is laid out: the executor starts it
 *	Starting -> Running     the executor says so
 *	-> Finalizing           the executor says that nothing of it is left: the slots are free
 *	-> the end              outputs are stored, the record is committed durably: those who wait
 *				are told
 *
 * Live runs are kept in memory and answered from there; the others are history's. A run's end is
 * shown to nobody before it is durable. What cannot be committed (no room on the disk) is tried
 * again every second, for ever.
 *
 * run_manager_recover() puts every run that history calls live back into the place where it
 * belongs: queued again, reattached, finished, or lost. Slots of runs that may live are taken before
 * anything is started.
 *
 * As the system service (system_service) it serves every user: what is done with a user's files is
 * done as that user, whose identity is looked up on a work thread when it is needed. At most two
 * such blocking calls of one user are under way; his others wait in order.
 *
 * Who may do what is decided above: here an owner, an admin and root are the same.
 *
 * A run is in history before the manager is told so. Who names one in between is told -EAGAIN (by a
 * delete -EBUSY), unless what history has to tell can be dispatched then and there: so what names a run
 * is not called from within history_dispatch(), nor from a `done`.
 *
 * Threads: the loop's alone. Results of calls that take `done` come later, from the loop.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "capture/snapshot.h"
#include "common/artifact.h"
#include "common/config.h"
#include "common/run_request.h"
#include "gpu/gpu.h"
#include "history/history.h"
#include "runs/executor.h"

struct run_manager;
struct store;
struct watch;

/* What the queue gives out, and to whom; may change while runs go on. */
struct queue_options {
	int64_t max_running;  /* so many runs at once */
	int64_t cpus;         /* 0: the machine's, or max_running where that is more */
	int64_t memory_bytes; /* 0: the machine's */
	/* To one user; 0: no limit. */
	int64_t max_running_per_user;
	int64_t max_queued_per_user; /* submits that are under way count */
	int64_t max_cpus_per_user;
	int64_t max_gpus_per_user;
	int64_t max_user_priority;     /* of one who is no admin */
	int64_t fair_share_us;         /* half-life of what a user has used; 0: a day */
	int64_t max_processes_per_run; /* 0: no limit */
	gid_t share_with_gid;          /* runs of its members are shared with it; 0: none */
};

/* All but share_with_gid, which is a name there. */
void queue_options_of_config(const struct config *config, struct queue_options *ret);

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
	int64_t keep_work_us;    /* how long work/ of a run that did not complete stays */
	bool system_service;     /* we are root and serve every user */
	const struct gpus *gpus; /* the caller's, until `freed`; NULL: none are given out */
	struct queue_options queue;
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
/* From now on; nothing that runs is stopped. */
void run_manager_set_options(struct run_manager *manager, const struct queue_options *options);

/* record NULL: err says why. Both are the manager's and good for the call only. */
typedef void (*run_manager_done)(
	void *data, const struct run_record *record, const struct error *err);

/* Who asks. */
struct submitter {
	uid_t uid;
	const gid_t *groups; /* all of his; the caller's */
	size_t group_count;
	pid_t pid; /* his limits (ulimit) become the run's; 0: not known */
	bool admin;
};

/*
 * Takes over the request; request->after names whole ids. err->code, beside those of submission.h:
 *
 *	-EINVAL  resources.*: more than the machine has; after: there is no such run
 *	-EPERM   priority: above max_user_priority
 *	-EUSERS  his queue is full (max_queued_runs_per_user)
 */
void run_manager_submit(struct run_manager *manager, struct run_request *request,
	const struct submitter *by, run_manager_done done, void *data);
/* The names of users are not looked up here: it may block. Of those who have submitted they are known;
 * of others, before they cancel, hold or drain, the caller tells them, or their number is shown. */
void run_manager_know_user(struct run_manager *manager, uid_t uid, const char *name);
/* -EALREADY as err->code when the run has ended otherwise. */
void run_manager_cancel(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data);
/* Held runs stay in the queue and are not started. Told when it is durable; one that is held, or not,
 * already is fine. -EALREADY when it is no longer queued. */
void run_manager_hold(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data);
void run_manager_release(struct run_manager *manager, const char *run_id, uid_t by,
	run_manager_done done, void *data);
/* Start nothing more (what runs goes on, submits are accepted and wait), until run_manager_resume();
 * kept in <state>/drain. Told when it is durable, without a record: err->code is 0. */
void run_manager_drain(struct run_manager *manager, uid_t by, const char *reason,
	run_manager_done done, void *data);
void run_manager_resume(struct run_manager *manager, uid_t by, run_manager_done done, void *data);
/* As history_patch(); -EINVAL as err->code when the tags would be too many. */
void run_manager_patch(struct run_manager *manager, const char *run_id, const struct pairs *tags,
	const char *display_name, const bool *shared, run_manager_done done, void *data);
/* -EBUSY while it is live, or another of its owner's that has not started yet is to begin when it has
 * Completed (afterok): how it ended is known from its record alone. */
void run_manager_delete(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data);
/* Artifacts whose bytes are in the store already. */
void run_manager_put_artifacts(struct run_manager *manager, const char *run_id,
	const struct artifacts *artifacts, run_manager_done done, void *data);

/* Of the runs that the viewer sees (NULL: all): id, unique prefix or "latest" -> id. -ENOENT,
 * -ENOTUNIQ. A run that history has just got is live when it returns, but for is_accepting(). */
int run_manager_resolve(struct run_manager *manager, const struct history_viewer *viewer,
	const char *name, char **ret_run_id);
/* History shows it, and the manager is about to be told: not live yet, ask again. */
bool run_manager_is_accepting(const struct run_manager *manager, const char *run_id);
/* The record as it is now. The caller releases it. */
int run_manager_get(struct run_manager *manager, const char *run_id, struct run_record *ret);

/* ---- the queue ---- */

struct queue_info {
	int64_t position;  /* 1..; 0: it is not in line (held, or it follows a run that goes on) */
	char *waiting_for; /* why it waits, one plain sentence; NULL: it does not */
	bool granted;      /* it holds what it asked for (record: cpus, memory_bytes, gpu_ids) */
};

/* -ENOENT: it is not live. */
int run_manager_queue_info(struct run_manager *manager, const char *run_id, struct queue_info *ret);
void queue_info_release(struct queue_info *info);

struct run_counts {
	int64_t running; /* they hold a place */
	int64_t queued;
	int64_t finalizing;
	int64_t max_running;
	/* Since the daemon's start. */
	int64_t started;                /* runs that had their turn */
	int64_t waited_us;              /* in the queue, all of them together */
	int64_t ended[RUN_CAUSE_COUNT]; /* runs, by why; RUN_CAUSE_NONE: they completed */
};
void run_manager_count(const struct run_manager *manager, struct run_counts *ret);

struct user_holding {
	uid_t uid;
	char *user;
	int64_t running, queued;
	int64_t cpus, memory_bytes, gpus; /* that his runs hold */
};

enum gpu_use { GPU_FREE, GPU_HELD, GPU_ASIDE };

struct gpu_holding {
	const struct gpu *gpu;
	enum gpu_use use;
	char *user;   /* whose run holds it; NULL: none does */
	char *run_id; /* the same */
	char *reason; /* why it is set aside; NULL: it is not */
};

/* Who holds what. User names and numbers are public; run ids are for those who may see the run. */
struct run_holdings {
	int64_t cpus, cpus_used, memory_bytes, memory_used;
	struct user_holding *users; /* who runs or waits, by uid */
	size_t user_count;
	struct gpu_holding *gpus;
	size_t gpu_count;
	/* draining_since_us 0: it is not drained. The reason may be "". */
	int64_t draining_since_us;
	char *draining_by, *draining_reason;
};

void run_manager_holdings(struct run_manager *manager, struct run_holdings *ret);
void run_holdings_release(struct run_holdings *holdings);

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
