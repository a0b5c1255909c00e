/* SPDX-License-Identifier: MIT */
/*
 * run_fixture - a run manager with a real store, history and loop, and the fake executor
 *
 * fixture_open() is the daemon's start on the state folder, fixture_close() its orderly end. The
 * disk under the history can be full or slow (disk_is()), the work threads can be held
 * (hold_threads()).
 */
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/paths.h"
#include "fake_executor.h"
#include "runs/run_manager.h"
#include "store/store.h"
#include "test.h"

#define THREADS 2
#define PATIENCE_US (10 * USEC_PER_SEC)

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
};

/* Turns of the loop until it is so. */
#define until(f, condition) \
	do { \
		int64_t deadline_ = clock_boot() + PATIENCE_US; \
		while (!(condition)) { \
			assert_true(clock_boot() < deadline_); \
			uv_run(&(f)->loop, UV_RUN_ONCE); \
		} \
	} while (0)

/* ---- the disk under the history ---- */

enum disk { DISK_FINE, DISK_FULL, DISK_SLOW };

static atomic_int disk;
static ssize_t (*real_pwrite)(int fd, const void *data, size_t size, off_t at);
static ssize_t (*real_pwrite64)(int fd, const void *data, size_t size, off64_t at);

static inline bool disk_takes(void)
{
	while (atomic_load(&disk) == DISK_SLOW)
		usleep(200);
	errno = ENOSPC;
	return atomic_load(&disk) == DISK_FINE;
}

static inline ssize_t disk_pwrite(int fd, const void *data, size_t size, off_t at)
{
	return disk_takes() ? real_pwrite(fd, data, size, at) : -1;
}

static inline ssize_t disk_pwrite64(int fd, const void *data, size_t size, off64_t at)
{
	return disk_takes() ? real_pwrite64(fd, data, size, at) : -1;
}

static inline void disk_is(enum disk how)
{
	static bool installed;
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

	if (!installed) {
		installed = true;
		real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))vfs->xGetSystemCall(
			vfs, "pwrite");
		real_pwrite64 = (ssize_t(*)(int, const void *, size_t, off64_t))vfs->xGetSystemCall(
			vfs, "pwrite64");
		vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)disk_pwrite);
		vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)disk_pwrite64);
	}
	atomic_store(&disk, how);
}

/* ---- the daemon ---- */

static inline void on_history(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	history_dispatch(poll->data);
}

static inline void on_tick_of_fixture(uv_timer_t *timer)
{
	(void)timer;
}

static inline void fixture_freed(void *data)
{
	*(bool *)data = true;
}

/* Without recovery: the test says first what will be found. */
static inline void fixture_start(struct fixture *f)
{
	_cleanup_(freep) char *blobs = path_join(f->state, "blobs");
	_cleanup_(freep) char *database = path_join(f->state, "history.db");
	struct run_manager_options options = {
		.loop = &f->loop,
		.state_dir = f->state,
		.limits = { 1 << 30, 100000, 1 << 30, 100000 },
		.grace_us = USEC_PER_SEC,
		.keep_work_us = INT64_MAX,
		.max_running = f->max_running,
	};

	assert_int_equal(uv_loop_init(&f->loop), 0);
	uv_timer_init(&f->loop, &f->tick);
	uv_timer_start(&f->tick, on_tick_of_fixture, 10, 10);
	assert_int_equal(store_open(blobs, &f->store), 0);
	assert_int_equal(history_open(database, &f->history, NULL), 0);
	uv_poll_init(&f->loop, &f->poll, history_fd(f->history));
	f->poll.data = f->history;
	uv_poll_start(&f->poll, UV_READABLE, on_history);
	options.store = f->store;
	options.history = f->history;
	assert_int_equal(run_manager_new(&options, &f->manager, NULL), 0);
	f->executor = fake_executor_new(&f->loop, run_manager_executor_events(), &f->fake);
	run_manager_set_executor(f->manager, f->executor);
}

static inline void fixture_open(struct fixture *f)
{
	fixture_start(f);
	assert_true(run_manager_recover(f->manager, NULL) >= 0);
}

/* As agent_release() does it: first the manager, then the executor. */
static inline void fixture_close(struct fixture *f)
{
	bool runs = false, executor = false;

	run_manager_free(f->manager, fixture_freed, &runs);
	until(f, runs);
	f->executor->ops->free(f->executor, fixture_freed, &executor);
	until(f, executor);
	uv_close((uv_handle_t *)&f->poll, NULL);
	uv_close((uv_handle_t *)&f->tick, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	history_close(f->history);
	store_close(f->store);
}

static inline void fixture_write(struct fixture *f, const char *name, const char *text)
{
	_cleanup_(freep) char *path = path_join(f->dir, name);

	assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0644, FILE_NO_SYNC), 0);
}

static inline void fixture_init(struct fixture *f, int64_t max_running)
{
	const char *temp = getenv("TMPDIR");

	setenv("UV_THREADPOOL_SIZE", "2", 1); /* THREADS */
	log_set_level(0);
	alarm(120);
	*f = (struct fixture){ .max_running = max_running };
	f->dir = mem_printf("%s/runs.XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	f->source = path_join(f->dir, "source");
	f->state = path_join(f->dir, "state");
	assert_int_equal(mkdir(f->source, 0755), 0);
	assert_int_equal(mkdir(f->state, 0700), 0);
	fixture_write(f, "source/train.sh", "echo hello\n");
	sem_init(&f->held, 0, 0);
	sem_init(&f->go_on, 0, 0);
	disk_is(DISK_FINE);
}

static inline void fixture_release(struct fixture *f)
{
	sem_destroy(&f->held);
	sem_destroy(&f->go_on);
	assert_int_equal(tree_remove(AT_FDCWD, f->dir), 0);
	free(f->dir);
	free(f->source);
	free(f->state);
	alarm(0);
}

/* ---- the work threads ---- */

static inline void hold_on_thread(uv_work_t *work)
{
	struct fixture *f = work->data;

	sem_post(&f->held);
	while (sem_wait(&f->go_on) < 0)
		;
}

static inline void hold_done(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
}

/* When it returns all are held: what is queued after it waits for let_threads_go(). */
static inline void hold_threads(struct fixture *f)
{
	for (int i = 0; i < THREADS; i++) {
		f->holds[i].data = f;
		uv_queue_work(&f->loop, &f->holds[i], hold_on_thread, hold_done);
	}
	for (int i = 0; i < THREADS; i++)
		sem_wait(&f->held);
}

static inline void let_threads_go(struct fixture *f)
{
	for (int i = 0; i < THREADS; i++)
		sem_post(&f->go_on);
}

/* ---- calls ---- */

struct answer {
	int count; /* how often it came */
	bool has_record;
	struct run_record record;
	struct error err;
	struct fixture *f; /* set: look into history while it is told */
	int in_history;    /* history_get() at that time */
};

static inline void answered(void *data, const struct run_record *record, const struct error *err)
{
	struct answer *answer = data;
	struct run_record stored;

	answer->count++;
	answer->has_record = record != NULL;
	if (record)
		run_record_copy(record, &answer->record);
	answer->err = *err;
	if (!answer->f || !record)
		return;
	answer->in_history = history_get(answer->f->history, record->run_id, &stored);
	if (answer->in_history == 0)
		run_record_release(&stored);
}

static inline void answer_release(struct answer *answer)
{
	run_record_release(&answer->record);
	*answer = (struct answer){ 0 };
}

static inline void request_of(struct fixture *f, const char *more, struct run_request *ret)
{
	_cleanup_(freep) char *text = mem_printf("{\"source_directory\": \"%s\", "
						 "\"experiment_name\": \"e\"%s%s}",
		f->source, more ? ", " : ", \"command\": \"true\"", more ? more : "");
	struct error err = ERROR_INIT;
	struct json *body = NULL;

	assert_int_equal(json_parse(text, strlen(text), &body, &err), 0);
	assert_int_equal(run_request_parse(body, ret, &err), 0);
	json_free(body);
}

static inline void submit_begin(struct fixture *f, const char *more, struct answer *answer)
{
	struct run_request request;

	request_of(f, more, &request);
	run_manager_submit(f->manager, &request, getuid(), answered, answer);
}

/* more: members of the request; NULL: the command `true`. The id is malloc'ed. */
static inline char *submit(struct fixture *f, const char *more)
{
	struct answer answer = { 0 };
	char *run_id;

	submit_begin(f, more, &answer);
	until(f, answer.count);
	if (!answer.has_record)
		print_error("%s\n", answer.err.message);
	assert_true(answer.has_record);
	run_id = mem_strdup(answer.record.run_id);
	answer_release(&answer);
	return run_id;
}

static inline enum run_state state_of(struct fixture *f, const char *run_id)
{
	struct run_record record;
	enum run_state state;

	assert_int_equal(run_manager_get(f->manager, run_id, &record), 0);
	state = record.state;
	run_record_release(&record);
	return state;
}

/* What history has of it. */
static inline enum run_state stored_state_of(struct fixture *f, const char *run_id)
{
	struct run_record record;
	enum run_state state;

	assert_int_equal(history_get(f->history, run_id, &record), 0);
	state = record.state;
	run_record_release(&record);
	return state;
}

static inline bool is_over(struct fixture *f, const char *run_id)
{
	return run_state_is_terminal(state_of(f, run_id));
}

#define assert_state(f, run_id, wanted) \
	assert_string_equal(run_state_name(state_of((f), (run_id))), run_state_name(wanted))

static inline bool exists_in_state(struct fixture *f, const char *run_id, const char *name)
{
	_cleanup_(freep) char *path = mem_printf("%s/runs/%s/%s", f->state, run_id, name);

	return access(path, F_OK) == 0;
}

/* How many run folders there are. */
static inline int folders(struct fixture *f)
{
	_cleanup_(freep) char *path = path_join(f->state, "runs");
	_cleanup_(closedirp) DIR *dir = opendir(path);
	int count = 0;

	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	return count;
}

static inline struct run_counts counts_of(struct fixture *f)
{
	struct run_counts counts;

	run_manager_count(f->manager, &counts);
	return counts;
}

static inline struct run_exit exit_of(int exit_code)
{
	int64_t now = clock_utc();

	return (struct run_exit){ .exit_code = exit_code,
		.start_us = now - 2000,
		.end_us = now,
		.gone_us = now,
		.wall_us = 2000,
		.user_us = 1000,
		.system_us = 500,
		.peak_bytes = 4096 };
}

static inline void until_held(struct fixture *f, const char *run_id)
{
	until(f, fake_executor_holds(f->fake, run_id));
}

static inline void until_running(struct fixture *f, const char *run_id)
{
	until_held(f, run_id);
	fake_executor_started(f->fake, run_id, clock_utc());
}

static inline void end_run(struct fixture *f, const char *run_id, int exit_code)
{
	struct run_exit exit = exit_of(exit_code);

	fake_executor_ended(f->fake, run_id, &exit, 0);
}

static inline void until_over(struct fixture *f, const char *run_id)
{
	until(f, is_over(f, run_id));
}
