/* SPDX-License-Identifier: MIT */
/*
 * soak - one state folder's life: rounds of kills under load, then the last look
 *
 * A round: load it (load.h) until a moment that was drawn; kill (kill.h); start the
 * daemon again if it was killed; see what became of the runs (check.h). After the last round
 * all runs are waited for, and everything that can be asked of an idle daemon is asked.
 *
 * One thread, but for the followers (follow.h), which are processes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/chaos/daemon.h"
#include "cli/chaos/follow.h"
#include "cli/chaos/job.h"
#include "cli/chaos/place.h"
#include "cli/chaos/tally.h"
#include "cli/client.h"

#define CHAOS_LIVE_MAX 32  /* runs at a time that have not ended */
#define CHAOS_JOBS_MAX 128 /* that we know: these, and those kept for another look */
#define CHAOS_KEPT 64      /* above this ended ones are deleted */
#define CHAOS_CALLS 8      /* requests in flight at a time */
#define CHAOS_STUCK_SECONDS 60

enum chaos_phase {
	CHAOS_UNUSED,
	CHAOS_SUBMITTED, /* no answer yet */
	CHAOS_UNSURE,    /* the answer was cut off: it is there or not */
	CHAOS_LIVE,      /* acknowledged */
	CHAOS_ENDED,     /* its end has been seen and checked */
	CHAOS_DELETING,  /* no answer to the delete yet, or it was cut off */
};

struct chaos_job {
	enum chaos_phase phase;
	struct chaos_job_plan plan;
	char *run_id;
	bool cancel_sent;
	bool cancel_answered;
	bool supervisor_killed; /* before it had written how the run ended: it must be Lost */
	struct follower follower;
	int64_t over_us; /* clock_boot(): when it was first seen to have ended; 0: not yet */
	char *cgroup;    /* its own, when it is known; else NULL */
	char *final;     /* the record as it was when the run had ended */
};

enum chaos_call_type { CHAOS_CALL_NONE, CHAOS_CALL_SUBMIT, CHAOS_CALL_CANCEL, CHAOS_CALL_DELETE };

/* A request in flight. */
struct chaos_call {
	struct client client;
	enum chaos_call_type type;
	struct chaos_job *job;
};

struct soak {
	struct chaos_tally *tally; /* not owned, as the next two */
	struct chaos_place *place;
	struct chaos_daemon *daemon;
	bool alone; /* every child of this process is ours */
	struct endpoint endpoint;
	struct client client; /* for what is asked and waited for */
	struct chaos_call calls[CHAOS_CALLS];
	struct chaos_job jobs[CHAOS_JOBS_MAX];
	char *deleted[CHAOS_KEPT]; /* a ring: these stay deleted */
	size_t deleted_next;
	int64_t next_number; /* of a job; goes on over state folders */
	int64_t live_target;
	int64_t answers;     /* to what changes something */
	int64_t progress_us; /* clock_boot() of the last end of a run */
};

/*
 * Rounds [tally->rounds, until) on a new state folder, and the last look. `tick` is called once a
 * round. 0, also with faults in the tally; -EINTR after a signal; other errors: it cannot be done.
 */
int soak_run(
	struct soak *soak, int64_t until, void (*tick)(void *data), void *data, struct error *err);
/* Forget jobs, calls and followers (which are ended). */
void soak_release(struct soak *soak);

/* The first one, NULL when there is none. */
struct chaos_job *soak_find(struct soak *soak, enum chaos_phase phase);
size_t soak_count(const struct soak *soak, enum chaos_phase phase);
/* Submitted, unsure or live. */
size_t soak_count_open(const struct soak *soak);
void soak_forget(struct soak *soak, struct chaos_job *job);
/* The signal, or a time without progress: -EINTR; else 0. */
int soak_check_interrupt(struct error *err);
/* One request and its whole answer. The HTTP status; -ECONNRESET when the daemon broke off or has
 * not answered for CHAOS_STUCK_SECONDS. ret may be NULL. */
int soak_ask(struct soak *soak, const char *method, const char *target, struct strbuf *ret,
	struct error *err);
/* As JSON; *ret stays NULL when the status is not 2xx. */
int soak_ask_json(struct soak *soak, const char *target, struct json **ret, struct error *err);
