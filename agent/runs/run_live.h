/* SPDX-License-Identifier: MIT */
/*
 * run_live - a run that is not over, in memory (private to the run_*.c files and recovery.c)
 *
 * Life: made queued (or by recovery), in the manager's table until its end is durable, freed when
 * the last asynchronous call that knows it has come back (`pending`).
 */
#pragma once

#include <sys/queue.h>

#include "common/error.h"
#include "common/identity.h"
#include "runs/finish.h"
#include "runs/prepare.h"
#include "runs/run.h"
#include "runs/run_manager.h"
#include "runs/scheduler.h"
#include "runs/user_names.h"
#include "runs/user_work.h"

/* One run follows another that is not over (run_after.c). */
struct run_follow {
	struct run_live *follower, *leader;
	bool any;
	TAILQ_ENTRY(run_follow) of_leader, of_follower;
};

TAILQ_HEAD(run_follows, run_follow);

struct run_live {
	struct run_record record;
	struct run_manager *manager;
	char *dir;                 /* absolute path of the run directory */
	TAILQ_ENTRY(run_live) all; /* run_manager::all */
	struct run_waiter *waiters;
	unsigned pending; /* work and history calls that will come back */

	struct scheduler_run turn;    /* it waits, or holds slots */
	int64_t queued_boot_us;       /* clock_boot(): since when it waits */
	struct run_follows leaders;   /* it waits for these (of_follower) */
	struct run_follows followers; /* these wait for it (of_leader) */

	bool over;   /* its end is durable; out of the table */
	bool ending; /* its end is decided and being committed */
	bool in_executor;
	bool asked_to_stop; /* its supervisor was, by this daemon */
	bool prepare_busy, prepare_committed;
	unsigned start_failures; /* that were not for want of room */
	unsigned owed;           /* bits of enum owed: what is to be tried again */
	unsigned complained;     /* the same: of what the log has been told */
	bool keep_work;          /* of its clean-up, as its result */
	int clean_result;

	unsigned hold_changes; /* on their way to history, */
	char *held_stored;     /* and who holds it as history has it, meanwhile; NULL: nobody */

	struct run_request request; /* read from the definition when it gets its turn */
	struct prepare prepare;
	struct identity as; /* whose it is, while the work goes on; of a foreign one only */
	char **gpu_ids;     /* the record's, for the work: the record may be replaced meanwhile */
	struct error prepare_error;
	int prepare_result;
	struct user_work work; /* prepare, then finish, then clean-up: one at a time */

	struct run_exit exit;
	bool exit_known, rebooted;
	bool swept; /* what was left of it has been ended by the executor */
	int64_t seen_us;
	struct digest snapshot_id;
	struct finish finish;
	int64_t room_until_us;   /* clock_boot(): so long its outputs wait for room; 0: not yet */
	int64_t collect_at_us;   /* clock_boot(): then they are tried again, */
	int64_t collect_wait_us; /* and after so long, doubled, once more */
	struct run_record final; /* the record as it will be once committed */
};

/* What could not be done when it was due, and is tried again every second. */
enum owed {
	OWED_FINAL_COMMIT = 1,
	OWED_PREPARE_COMMIT = 2,
	OWED_QUEUE_COMMIT = 4,
	OWED_STOP = 8,
	OWED_OUTPUTS = 16,
	OWED_RECOVERY = 32,
	OWED_CLEAN_UP = 64,
	OWED_FOLLOW = 128,
	OWED_CANCEL_COMMIT = 256,
};

TAILQ_HEAD(run_live_list, run_live);
TAILQ_HEAD(submit_list, submit);
TAILQ_HEAD(reply_list, reply);
TAILQ_HEAD(drain_list, drain_change);

/* <state>/drain, as it is in force. */
struct drain {
	int64_t since_us; /* UTC; 0: it is not drained */
	char *by, *reason;
};

struct run_manager {
	struct run_manager_options options;
	struct executor *executor;
	char *runs_dir, *index_dir;
	char boot_id[37];
	void *by_id; /* tsearch tree of struct run_live, k: record.run_id */
	struct run_live_list all;
	struct run_live_list unclean; /* over, but for their folders: `all` links them here */
	struct reply_list unremoved;  /* deletes that were answered, the same */
	struct scheduler scheduler;
	struct gpu_pool *gpu_pool; /* NULL: there are no GPUs */
	bool gpus_stale;           /* some came back after the last look */
	bool gpus_watched;
	struct slots_amount largest; /* what one run may ask for */
	struct user_names names;
	struct user_works works;
	struct submit_list submits; /* under way */
	struct drain drain;
	struct drain_list drain_changes; /* to be written, the first one is under way */
	int64_t started, waited_us;      /* since the daemon's start */
	int64_t ended[RUN_CAUSE_COUNT];  /* likewise */
	uv_timer_t retry;                /* runs while something is owed */
	bool short_of_room;              /* nothing is started until the retry */
	bool scheduling;                 /* being done, or not to be done yet: recovery */
	unsigned pending; /* calls that belong to no run: submissions, patches, ... */
	bool stopping;
	void (*freed)(void *data);
	void *freed_data;
};

/* run_manager.c */
struct run_live *run_live_new(struct run_manager *manager, const struct run_record *record);
void run_live_enlist(struct run_live *run); /* into the table */
struct run_live *run_live_find(const struct run_manager *manager, const char *run_id);
/* The same for who asks by name, and so may know a run from history before its submit was told that it
 * is there: that is told first. Not from within history_dispatch(). */
struct run_live *run_live_named(const struct run_manager *manager, const char *run_id);
/* One call has come back: free it when it was the last that an ended run waited for. */
void run_live_unpend(struct run_live *run);
void run_live_changed(struct run_live *run, bool over);
void run_live_over(struct run_live *run); /* out of the table, waiters told */
/* A manager's call has come back. */
void run_manager_unpend(struct run_manager *manager);
/* Is it another user's, so that his files are touched as him? */
bool run_is_foreign(const struct run_manager *manager, uid_t uid);
/* The number of one who is not known yet. malloc'ed. */
char *run_manager_user_name(struct run_manager *manager, uid_t uid);

/* run_cancel.c */
/* The daemon ends before the run does: whoever cancelled it is told so, the others nothing. */
void run_live_drop_waiters(struct run_live *run);

/* run_queue.c */
void run_queue_init(struct run_manager *manager);
/* Every run has gone. freed is called when the last look at the GPUs has come back. */
void run_queue_release(struct run_manager *manager, void (*freed)(void *data), void *data);
/* Fair share, from history; before recovery. */
int run_queue_charge_history(struct run_manager *manager);
bool run_live_is_queued(const struct run_live *run);
bool run_live_has_slots(const struct run_live *run);
/* Queued; keep_turn: where it was, or at the end if it never was. What it was given is forgotten. */
void run_live_queue(struct run_live *run, int64_t at_us, bool keep_turn);
/* Held, or it follows another: not in line. Looks again which. */
void run_live_park(struct run_live *run);
/* It waits no more, it holds nothing. */
void run_live_leave(struct run_live *run);
/* One that an earlier daemon had started. */
void run_live_claim_slots(struct run_live *run);
void run_live_schedule(struct run_manager *manager);

/* run_holdings.c */
/* -EINVAL, -EPERM, -EUSERS: not to be accepted; see run_manager_submit(). */
int run_queue_admit(struct run_manager *manager, const struct run_request *request,
	const struct submitter *by, struct error *err);

/* run_after.c */
/* -EINVAL: it is to follow a run that there is not. */
int run_after_check(
	struct run_manager *manager, const struct run_request *request, struct error *err);
/* -EBUSY: another of its owner's has not started yet, is to follow this run, which has Completed, and
 * would not find it. */
int run_after_check_delete(
	const struct run_manager *manager, const char *run_id, uid_t owner, struct error *err);
/* record.after of a request; strv. */
char **run_after_format(const struct run_request *request);
/* Of one that has just been queued: whom it waits for, from record.after. It may end here. */
void run_live_follow(struct run_live *run);
/* It is over, or freed: those who wait for it are told; it waits for nobody. */
void run_live_lead_on(struct run_live *run);
void run_live_unfollow(struct run_live *run);
/* "waits until ... is over"; NULL: it does not. malloc'ed. */
char *run_live_follow_words(const struct run_live *run);

/* run_drain.c */
void run_drain_read(struct run_manager *manager);
void drain_release(struct drain *drain);

/* run_life.c */
int run_live_read_definition(struct run_live *run, struct error *err);
/* It has its slots. */
void run_live_start(struct run_live *run);
/* Apply and write down; an event that does not fit is a fault of ours: logged, nothing changes. */
int run_live_apply(struct run_live *run, const struct run_event *event);
/* End a run that has nothing to collect. */
void run_live_end(struct run_live *run, enum run_cause cause, const char *message);
void run_live_end_unstarted(struct run_live *run); /* one that was canceled */
void run_live_commit_prepare(struct run_live *run);
/* What a cancel makes of the record. 0, or -EINVAL: it does not fit any more. */
int run_live_apply_cancel(struct run_live *run, const char *by);
void run_live_commit_cancel(struct run_live *run);
/* Once: 0, or a negative errno when its supervisor could not be told. */
int run_live_tell_to_stop(struct run_live *run);
/* Now or, when that fails, soon. */
void run_live_ask_to_stop(struct run_live *run);

extern const struct executor_events run_life_events;

/* run_end.c */
/* Its outputs; then it ends. */
void run_live_collect(struct run_live *run);
void run_live_collect_again(struct run_live *run);
void run_live_end_with(struct run_live *run, const struct verdict *verdict, char *const *warnings);
void run_live_commit_final(struct run_live *run);
void run_live_clean_up(struct run_live *run); /* of one that is over */
void run_live_start_clean_up(struct run_live *run);

/* run_change.c */
/* The folders of deleted runs that are still there; the next daemon does what is dropped. */
void run_deletes_retry(struct run_manager *manager);
void run_deletes_drop(struct run_manager *manager);

/* run_owed.c */
/* All that is owed, within a second. */
void run_manager_retry_soon(struct run_manager *manager);
/* ENOSPC and the like: what may be there again in a while. */
bool run_is_shortage(int error);
/* To be tried again within a second. The log is told once what failed; doing NULL: it is not. */
void run_live_owe(struct run_live *run, enum owed what, const char *doing, int error);
void run_live_retry(struct run_live *run); /* all that is owed */
/* A warning in the record, once. */
void run_live_warn_of_room(struct run_live *run, const char *what, int error);
/* It is Queued: tell history, durably. */
void run_live_commit_queued(struct run_live *run);
/* Nothing of it was started, and nobody holds it: back into the queue, or over. */
void run_live_not_started(struct run_live *run, int error, const char *message);

/* recovery.c */
void run_live_recover(struct run_live *run);
/* Is it known what it is owed? Asks again if not. */
bool run_live_is_recovered(struct run_live *run);
