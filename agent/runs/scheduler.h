/* SPDX-License-Identifier: MIT */
/*
 * scheduler - whose turn it is: the queue, what the machine has, and who holds it
 *
 * Runs that wait are in line: the higher priority first, then the user who has used less of late
 * (fair_share.h), then who came first. scheduler_pass() goes along the line and gives slots to each
 * that finds enough. One that does not
 *
 *	- because its user is at a limit of his, is passed over;
 *	- because it asks for more than there is (after a reload, or since GPUs are set aside), too;
 *	- because others hold what it needs, is the head of the queue if it is the first such one: from
 *	  the ends that are expected of all that run, the time follows at which there will be enough
 *	  for it. Who comes after it is back-filled: started at once if it ends by that time, or if
 *	  there will be enough for both. So the head starts then at the latest, whatever is
 *	  back-filled. If it waits for a run without a time limit, only what will be enough for both
 *	  is given.
 *
 * Parked runs (held, or after another one) keep their turn, are in no line and cost nothing.
 *
 * A pass costs nothing while nothing has changed that could start anybody (what users use as time
 * goes by changes the order too: after ten seconds it is made all the same), stops when the last CPU
 * or place is given, and else is O(n) for n runs of few users, O(n log n) at worst. Why each waits is
 * worked out by scheduler_explain(), when somebody asks.
 *
 * Pure: the caller says what time it is (UTC, microseconds) and does what is to be done. The runs are
 * the caller's; they embed a struct scheduler_run and stay until scheduler_remove().
 *
 * Errors: none. Who frees: scheduler_release(), when no run is left in it.
 */
#pragma once

#include <sys/queue.h>
#include <sys/types.h>

#include "runs/fair_share.h"
#include "runs/slots.h"

#define SCHEDULER_NEVER INT64_MAX
#define SCHEDULER_SETTLED_US (10 * INT64_C(1000000))

enum scheduler_reason {
	SCHEDULER_GOES, /* it has its slots, or nothing but a pass is in its way */
	SCHEDULER_PARKED,
	SCHEDULER_LOOKING, /* its GPUs are free if nobody outside the queue uses them: not known yet */
	SCHEDULER_NO_GPUS, /* others hold them, or they are set aside */
	SCHEDULER_NO_MEMORY,
	SCHEDULER_NO_CPUS,
	SCHEDULER_NO_PLACE,
	SCHEDULER_BEHIND,    /* the head would have to wait for it */
	SCHEDULER_USER_RUNS, /* a limit of its user's */
	SCHEDULER_USER_CPUS,
	SCHEDULER_USER_GPUS,
	SCHEDULER_TOO_LARGE, /* more than is given out */
	SCHEDULER_REASON_COUNT,
};

struct scheduler_wait {
	enum scheduler_reason reason;
	size_t position; /* in line: 1..; 0: parked, or it runs */
	size_t before; /* so many before it wait for the same; BEHIND: so many wait for something */
	enum scheduler_reason head; /* BEHIND: what the head waits for */
};

struct scheduler_line;

struct scheduler_run {
	/* the caller's; not changed while the scheduler has it */
	uid_t uid;
	int64_t priority;
	struct slots_amount wants; /* at least a place and a CPU */
	int64_t limit_us;          /* it is over so long after its start; 0: no limit */
	/* the scheduler's; to be read */
	enum { SCHEDULER_OUT, SCHEDULER_WAITS, SCHEDULER_RUNS } where;
	bool parked;
	struct slots_grant grant;   /* while it runs */
	struct scheduler_wait wait; /* as of the last scheduler_explain() */
	/* the scheduler's */
	uint64_t turn;  /* 0: it never had one */
	int64_t end_us; /* expected; SCHEDULER_NEVER */
	struct scheduler_line *line;
	TAILQ_ENTRY(scheduler_run) entry;
};

TAILQ_HEAD(scheduler_runs, scheduler_run);

/* One user's, while he has any. */
struct scheduler_user {
	uid_t uid;
	int64_t queued;            /* parked ones too */
	struct slots_amount held;  /* places: how many run */
	struct slots_amount given; /* in the walk that goes on */
	double used;               /* the same */
};

/* To one user; 0: no limit. */
struct scheduler_limits {
	int64_t runs, cpus, gpus;
};

struct scheduler {
	struct slots slots;
	struct fair_share share;
	struct scheduler_limits limits;
	struct scheduler_user **users; /* by uid */
	size_t user_count, user_room;
	TAILQ_HEAD(, scheduler_line) lines;
	size_t line_count;
	struct scheduler_runs running;
	size_t running_count;
	int64_t queued;      /* parked ones too */
	int64_t gpu_waiters; /* in line, for a GPU */
	uint64_t last_turn;
	bool settled; /* a pass would start nobody, as of passed_us */
	int64_t passed_us;
	const struct scheduler_run
		*head;  /* of the last pass; NULL: there was none, or it is gone */
	bool explained; /* every `wait` is true, but for the time that has passed since */
	int64_t explained_us;
	struct scheduler_run **given; /* of the last walk */
	size_t given_count, given_room;
};

void scheduler_init(struct scheduler *scheduler, size_t gpu_count, int64_t half_life_us);
void scheduler_release(struct scheduler *scheduler);

/* What is given out, and to one user; total->gpus is not read. */
void scheduler_set_limits(struct scheduler *scheduler, const struct slots_amount *total,
	const struct scheduler_limits *limits);
void scheduler_set_half_life(struct scheduler *scheduler, int64_t half_life_us, int64_t now_us);
void scheduler_set_aside(struct scheduler *scheduler, size_t gpu, bool aside);

/* One that is OUT waits: at the end, or where its turn was, if it had one and keeps it. */
void scheduler_queue(struct scheduler *scheduler, struct scheduler_run *run, bool keep_turn);
/* Of one that waits. Any number of times. */
void scheduler_park(struct scheduler *scheduler, struct scheduler_run *run, bool parked);
/* It waits no more, or gives back what it holds; it is OUT then. Of one that is OUT: nothing. */
void scheduler_remove(struct scheduler *scheduler, struct scheduler_run *run, int64_t now_us);

/* One that is OUT runs already, since from_us, with these GPUs; whatever is free. */
void scheduler_claim(struct scheduler *scheduler, struct scheduler_run *run, const size_t *gpus,
	size_t gpu_count, int64_t from_us, int64_t now_us);
/* It has begun: its limit counts from now on. */
void scheduler_begun(struct scheduler_run *run, int64_t now_us);

/*
 * Who has his turn: they hold their slots now and are in scheduler->given, in order; the caller starts
 * them. gpus_known: a GPU that is free and not set aside is known to be used by nobody. Without that
 * no GPU is given; then true in *ret_look says that somebody would get one.
 */
size_t scheduler_pass(struct scheduler *scheduler, int64_t now_us, bool gpus_known, bool *ret_look);
/* Fills in `wait` of all that wait. */
void scheduler_explain(struct scheduler *scheduler, int64_t now_us, bool gpus_known);

/* NULL: he has none. */
const struct scheduler_user *scheduler_user_of(const struct scheduler *scheduler, uid_t uid);
