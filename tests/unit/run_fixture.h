/* SPDX-License-Identifier: MIT */
/*
 * run_fixture - a run manager with a real store, history and loop, and the fake executor
 *
 * fixture_open() is the daemon's start on the state folder, fixture_close() its orderly end. The
 * disk under the history can be full or slow (disk_is()), descriptors can run out
 * (descriptors_are() of test.h), the work threads can be held (hold_threads()).
 *
 * There is one fixture at a time, `f`: set_up() makes it, with one slot. Failures abort the test
 * (cmocka).
 *
 * Threads: the loop's, which is the test's.
 */
#pragma once

#include <fcntl.h>
#include <semaphore.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "test.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "fake_executor.h"
#include "runs/run_manager.h"

#define THREADS 2
#define PATIENCE_US (60 * USEC_PER_SEC)

struct fixture {
	char *dir, *source, *state;
	uv_loop_t loop;
	uv_timer_t tick; /* so that no turn of the loop waits for ever */
	uv_poll_t poll;
	struct store *store;
	struct history *history;
	struct run_manager *manager;
	struct executor *executor;
	struct fake_executor *fake;
	sem_t held, go_on; /* of the work threads */
	uv_work_t holds[THREADS];
	int64_t max_running;
	/* The rest of the options, from the next start on. */
	struct queue_options queue;
	const struct gpus *gpus;
	bool system_service;
};

extern struct fixture f;

int set_up(void **state);
int tear_down(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Turns of the loop until it is so. */
#define until(f, condition) \
	do { \
		int64_t deadline_ = clock_boot() + PATIENCE_US; \
		while (!(condition)) { \
			assert_true(clock_boot() < deadline_); \
			uv_run(&(f)->loop, UV_RUN_ONCE); \
		} \
	} while (0)

/* Turns of the loop for so long: what should not happen has had its chance. */
void turn_for(struct fixture *fixture, int64_t us);

/* What is due in more than a moment is due now: no test waits for a second to pass. */
void hurry(struct fixture *fixture);

/* ---- want of room ---- */

enum disk { DISK_FINE, DISK_FULL, DISK_SLOW };

void disk_is(enum disk how); /* under the history */

/* ---- the daemon ---- */

void fixture_init(struct fixture *fixture, int64_t max_running);
void fixture_release(struct fixture *fixture);
/* Without recovery: the test says first what will be found. */
void fixture_start(struct fixture *fixture);
void fixture_open(struct fixture *fixture);
/* As agent_release() does it: first the manager, then the executor. */
void fixture_close(struct fixture *fixture);
/* The rest of it, for a test that has freed both by itself. */
void fixture_close_rest(struct fixture *fixture);
/* For `freed`: sets the bool that it is given. */
void fixture_freed(void *data);
/* What history has to tell waits, or is told by the loop (as it is from the start). */
void hear_history(struct fixture *fixture, bool hear);
/* Closed and opened with that many slots. */
void restart_with(struct fixture *fixture, int64_t max_running);
void fixture_write(struct fixture *fixture, const char *name, const char *text);

/* ---- the work threads ---- */

/* When it returns all are held: what is queued after it waits for let_threads_go(). */
void hold_threads(struct fixture *fixture);
void let_threads_go(struct fixture *fixture);

/* ---- calls ---- */

struct answer {
	int count; /* how often it came */
	bool has_record;
	struct run_record record;
	struct error err;
	struct fixture *f; /* set: look into history while it is told */
	int in_history;    /* history_get() at that time */
};

void answered(void *data, const struct run_record *record, const struct error *err);
void answer_release(struct answer *answer);
void submit_begin(struct fixture *fixture, const char *more, struct answer *answer);
/* more: members of the request; NULL: the command `true`. The id is malloc'ed. */
char *submit(struct fixture *fixture, const char *more);
void submit_begin_as(struct fixture *fixture, uid_t uid, const char *more, struct answer *answer);
char *submit_as(struct fixture *fixture, uid_t uid, const char *more);
void cancel(struct fixture *fixture, const char *run_id, struct answer *answer);

/* ---- what is known of a run ---- */

/* The caller releases them: as it is now, as history has it. */
struct run_record record_of(struct fixture *fixture, const char *run_id);
struct run_record stored_record_of(struct fixture *fixture, const char *run_id);
enum run_state state_of(struct fixture *fixture, const char *run_id);
enum run_state stored_state_of(struct fixture *fixture, const char *run_id);
bool is_over(struct fixture *fixture, const char *run_id);
/* How many of its warnings hold the text. */
int warnings_with(struct fixture *fixture, const char *run_id, const char *text);
bool exists_in_state(struct fixture *fixture, const char *run_id, const char *name);
/* How many run folders there are. */
int folders(struct fixture *fixture);
struct run_counts counts_of(struct fixture *fixture);
/* Of one that waits in the queue: why; malloc'ed. */
char *why_waits(struct fixture *fixture, const char *run_id);
/* Our own name, as records have it; malloc'ed. */
char *my_name(void);

#define assert_state(f, run_id, wanted) \
	assert_string_equal(run_state_name(state_of((f), (run_id))), run_state_name(wanted))
#define assert_waits_for(f, run_id, text) \
	do { \
		_cleanup_(freep) char *why_ = why_waits((f), (run_id)); \
		assert_string_equal(why_, text); \
	} while (0)
#define assert_counts(f, running_, queued_) \
	do { \
		assert_int_equal(counts_of(f).running, running_); \
		assert_int_equal(counts_of(f).queued, queued_); \
	} while (0)

/* ---- what happens to it ---- */

struct run_exit exit_of(int exit_code);
void until_held(struct fixture *fixture, const char *run_id);
void until_running(struct fixture *fixture, const char *run_id);
void end_run(struct fixture *fixture, const char *run_id, int exit_code);
void until_over(struct fixture *fixture, const char *run_id);
/* Its supervisor ends before it has begun. */
void fail_to_start(struct fixture *fixture, const char *run_id, int error);
/* Over without the executor's timer: running, then ended by the test. */
void run_to_end(struct fixture *fixture, const char *run_id, int exit_code);
