/* SPDX-License-Identifier: MIT */
/*
 * run_live - a run that is not over, in memory (private to run_manager.c, run_submit.c,
 * run_life.c, recovery.c)
 *
 * Life: made queued (or by recovery), in the manager's table until its end is durable, freed when
 * the last asynchronous call that knows it has come back (`pending`).
 */
#pragma once

#include <sys/queue.h>

#include "common/error.h"
#include "runs/finish.h"
#include "runs/prepare.h"
#include "runs/run.h"
#include "runs/run_manager.h"
#include "runs/work.h"

struct run_live {
	struct run_record record;
	struct run_manager *manager;
	char *dir;                   /* absolute path of the run directory */
	TAILQ_ENTRY(run_live) all;   /* run_manager::all */
	TAILQ_ENTRY(run_live) queue; /* run_manager::queue */
	struct run_waiter *waiters;
	unsigned pending; /* work and history calls that will come back */

	bool in_queue;
	bool over;   /* its end is durable; out of the table */
	bool ending; /* its end is decided and being committed */
	bool in_executor;
	bool prepare_busy, prepare_committed, prepare_failed; /* failed: to be committed again */
	char *canceled_by;                                    /* user name */

	struct run_request request; /* read from the definition when it gets its turn */
	struct prepare prepare;
	struct error prepare_error;
	int prepare_result;
	struct work work; /* prepare, then finish, then clean-up: one at a time */

	struct run_exit exit;
	bool exit_known, rebooted;
	int64_t seen_us;
	struct digest snapshot_id;
	struct finish finish;
	struct run_record final; /* the record as it will be once committed */
	bool final_failed;       /* to be committed again */
	bool stop_failed;        /* to be asked again */
};

TAILQ_HEAD(run_live_list, run_live);

struct run_manager {
	struct run_manager_options options;
	struct executor *executor;
	char *runs_dir, *index_dir;
	char boot_id[37];
	void *by_id; /* tsearch tree of struct run_live, k: record.run_id */
	struct run_live_list all;
	struct run_live_list queue; /* Queued, in the order of their turn */
	int64_t slots_used;
	uv_timer_t retry; /* runs while something could not be done for want of room */
	bool scheduling;  /* being done, or not to be done yet: recovery */
	unsigned pending; /* calls that belong to no run: submissions, patches, ... */
	bool stopping;
	void (*freed)(void *data);
	void *freed_data;
};

/* run_manager.c */
struct run_live *run_live_new(struct run_manager *manager, const struct run_record *record);
void run_live_enlist(struct run_live *run); /* into the table */
struct run_live *run_live_find(const struct run_manager *manager, const char *run_id);
/* One call has come back: free it when it was the last that an ended run waited for. */
void run_live_unpend(struct run_live *run);
void run_live_changed(struct run_live *run, bool over);
void run_live_over(struct run_live *run); /* out of the table, waiters told */
/* A manager's call has come back. */
void run_manager_unpend(struct run_manager *manager);

/* run_submit.c */
/* "ana", or the number of a user without a name. malloc'ed. */
char *run_user_name(uid_t uid);

/* run_life.c */
void run_live_queue(struct run_live *run, int64_t at_us);
void run_live_schedule(struct run_manager *manager);
/* Apply and write down; an event that does not fit is a fault of ours: logged, nothing changes. */
int run_live_apply(struct run_live *run, const struct run_event *event);
/* End a run that has nothing to collect. */
void run_live_end(struct run_live *run, enum run_cause cause, const char *message);
void run_live_cancel(struct run_live *run, const char *by);
void run_live_retry(struct run_live *run);
extern const struct executor_events run_life_events;
