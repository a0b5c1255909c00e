/* SPDX-License-Identifier: MIT */
/* run_fixture - a run manager with the fake executor; see run_fixture.h */
#include "run_fixture.h"

#include <sqlite3.h>
#include <stdatomic.h>

#include "common/log.h"
#include "common/strv.h"
#include "runs/user_names.h"
#include "store/store.h"

struct fixture f;

/* ---- want of room ---- */

static atomic_int disk;
static ssize_t (*real_pwrite)(int fd, const void *data, size_t size, off_t at);
static ssize_t (*real_pwrite64)(int fd, const void *data, size_t size, off64_t at);

static bool disk_takes(void)
{
	while (atomic_load(&disk) == DISK_SLOW)
		usleep(200);
	errno = ENOSPC;
	return atomic_load(&disk) == DISK_FINE;
}

static ssize_t disk_pwrite(int fd, const void *data, size_t size, off_t at)
{
	return disk_takes() ? real_pwrite(fd, data, size, at) : -1;
}

static ssize_t disk_pwrite64(int fd, const void *data, size_t size, off64_t at)
{
	return disk_takes() ? real_pwrite64(fd, data, size, at) : -1;
}

void disk_is(enum disk how)
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

static void on_history(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	history_dispatch(poll->data);
}

static void on_tick_of_fixture(uv_timer_t *timer)
{
	(void)timer;
}

void hear_history(struct fixture *fixture, bool hear)
{
	if (hear)
		uv_poll_start(&fixture->poll, UV_READABLE, on_history);
	else
		uv_poll_stop(&fixture->poll);
}

void fixture_freed(void *data)
{
	*(bool *)data = true;
}

void fixture_start(struct fixture *fixture)
{
	_cleanup_(freep) char *blobs = path_join(fixture->state, "blobs");
	_cleanup_(freep) char *database = path_join(fixture->state, "history.db");
	struct run_manager_options options = {
		.loop = &fixture->loop,
		.state_dir = fixture->state,
		.limits = { 1 << 30, 100000, 1 << 30, 100000 },
		.grace_us = USEC_PER_SEC,
		.keep_work_us = INT64_MAX,
		.system_service = fixture->system_service,
		.gpus = fixture->gpus,
		.queue = fixture->queue,
	};

	options.queue.max_running = fixture->max_running;
	assert_int_equal(uv_loop_init(&fixture->loop), 0);
	uv_timer_init(&fixture->loop, &fixture->tick);
	uv_timer_start(&fixture->tick, on_tick_of_fixture, 10, 10);
	assert_int_equal(store_open(blobs, &fixture->store), 0);
	assert_int_equal(history_open(database, &fixture->history, NULL), 0);
	uv_poll_init(&fixture->loop, &fixture->poll, history_fd(fixture->history));
	fixture->poll.data = fixture->history;
	hear_history(fixture, true);
	options.store = fixture->store;
	options.history = fixture->history;
	assert_int_equal(run_manager_new(&options, &fixture->manager, NULL), 0);
	fixture->executor =
		fake_executor_new(&fixture->loop, run_manager_executor_events(), &fixture->fake);
	run_manager_set_executor(fixture->manager, fixture->executor);
}

void fixture_open(struct fixture *fixture)
{
	fixture_start(fixture);
	assert_true(run_manager_recover(fixture->manager, NULL) >= 0);
}

void fixture_close(struct fixture *fixture)
{
	bool runs = false, executor = false;

	run_manager_free(fixture->manager, fixture_freed, &runs);
	until(fixture, runs);
	fixture->executor->ops->free(fixture->executor, fixture_freed, &executor);
	until(fixture, executor);
	fixture_close_rest(fixture);
}

void fixture_close_rest(struct fixture *fixture)
{
	uv_close((uv_handle_t *)&fixture->poll, NULL);
	uv_close((uv_handle_t *)&fixture->tick, NULL);
	uv_run(&fixture->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&fixture->loop), 0);
	history_close(fixture->history);
	store_close(fixture->store);
}

void fixture_write(struct fixture *fixture, const char *name, const char *text)
{
	_cleanup_(freep) char *path = path_join(fixture->dir, name);

	assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0644, FILE_NO_SYNC), 0);
}

void fixture_init(struct fixture *fixture, int64_t max_running)
{
	const char *temp = getenv("TMPDIR");

	setenv("UV_THREADPOOL_SIZE", "2", 1); /* THREADS */
	log_set_level(0);
	alarm(120);
	*fixture = (struct fixture){ .max_running = max_running };
	fixture->dir = mem_printf("%s/runs.XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(fixture->dir));
	fixture->source = path_join(fixture->dir, "source");
	fixture->state = path_join(fixture->dir, "state");
	assert_int_equal(mkdir(fixture->source, 0755), 0);
	assert_int_equal(mkdir(fixture->state, 0700), 0);
	fixture_write(fixture, "source/train.sh", "echo hello\n");
	sem_init(&fixture->held, 0, 0);
	sem_init(&fixture->go_on, 0, 0);
	disk_is(DISK_FINE);
}

void fixture_release(struct fixture *fixture)
{
	sem_destroy(&fixture->held);
	sem_destroy(&fixture->go_on);
	assert_int_equal(tree_remove(AT_FDCWD, fixture->dir), 0);
	free(fixture->dir);
	free(fixture->source);
	free(fixture->state);
	alarm(0);
}

int set_up(void **state)
{
	(void)state;
	fixture_init(&f, 1);
	fixture_open(&f);
	return 0;
}

int tear_down(void **state)
{
	(void)state;
	disk_is(DISK_FINE);
	descriptors_are(true);
	fixture_close(&f);
	fixture_release(&f);
	return 0;
}

void restart_with(struct fixture *fixture, int64_t max_running)
{
	fixture_close(fixture);
	fixture->max_running = max_running;
	fixture_open(fixture);
}

void turn_for(struct fixture *fixture, int64_t us)
{
	for (int64_t end = clock_boot() + us; clock_boot() < end;)
		uv_run(&fixture->loop, UV_RUN_ONCE);
}

static void fire_soon(uv_handle_t *handle, void *data)
{
	uv_timer_t *timer = (uv_timer_t *)handle;

	(void)data;
	if (handle->type != UV_TIMER || !uv_is_active(handle) || uv_timer_get_repeat(timer))
		return;
	/* Once, with its own callback. */
	uv_timer_set_repeat(timer, 1);
	uv_timer_again(timer);
	uv_timer_set_repeat(timer, 0);
}

void hurry(struct fixture *fixture)
{
	uv_walk(&fixture->loop, fire_soon, NULL);
}

/* ---- the work threads ---- */

static void hold_on_thread(uv_work_t *work)
{
	struct fixture *fixture = work->data;

	sem_post(&fixture->held);
	while (sem_wait(&fixture->go_on) < 0)
		;
}

static void hold_done(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
}

void hold_threads(struct fixture *fixture)
{
	for (int i = 0; i < THREADS; i++) {
		fixture->holds[i].data = fixture;
		uv_queue_work(&fixture->loop, &fixture->holds[i], hold_on_thread, hold_done);
	}
	for (int i = 0; i < THREADS; i++)
		sem_wait(&fixture->held);
}

void let_threads_go(struct fixture *fixture)
{
	for (int i = 0; i < THREADS; i++)
		sem_post(&fixture->go_on);
}

/* ---- calls ---- */

void answered(void *data, const struct run_record *record, const struct error *err)
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

void answer_release(struct answer *answer)
{
	run_record_release(&answer->record);
	*answer = (struct answer){ 0 };
}

static void request_of(struct fixture *fixture, const char *more, struct run_request *ret)
{
	_cleanup_(freep) char *text = mem_printf("{\"source_directory\": \"%s\", "
						 "\"experiment_name\": \"e\"%s%s}",
		fixture->source, more ? ", " : ", \"command\": \"true\"", more ? more : "");
	struct error err = ERROR_INIT;
	struct json *body = NULL;

	assert_int_equal(json_parse(text, strlen(text), &body, &err), 0);
	assert_int_equal(run_request_parse(body, ret, &err), 0);
	json_free(body);
}

void submit_begin_as(struct fixture *fixture, uid_t uid, const char *more, struct answer *answer)
{
	const struct submitter by = { .uid = uid, .pid = getpid() };
	struct run_request request;

	request_of(fixture, more, &request);
	run_manager_submit(fixture->manager, &request, &by, answered, answer);
}

void submit_begin(struct fixture *fixture, const char *more, struct answer *answer)
{
	submit_begin_as(fixture, getuid(), more, answer);
}

char *submit(struct fixture *fixture, const char *more)
{
	return submit_as(fixture, getuid(), more);
}

char *submit_as(struct fixture *fixture, uid_t uid, const char *more)
{
	struct answer answer = { 0 };
	char *run_id;

	submit_begin_as(fixture, uid, more, &answer);
	until(fixture, answer.count);
	if (!answer.has_record)
		print_error("%s\n", answer.err.message);
	assert_true(answer.has_record);
	run_id = mem_strdup(answer.record.run_id);
	answer_release(&answer);
	return run_id;
}

void cancel(struct fixture *fixture, const char *run_id, struct answer *answer)
{
	run_manager_cancel(fixture->manager, run_id, getuid(), answered, answer);
}

/* ---- what is known of a run ---- */

struct run_record record_of(struct fixture *fixture, const char *run_id)
{
	struct run_record record;

	assert_int_equal(run_manager_get(fixture->manager, run_id, &record), 0);
	return record;
}

struct run_record stored_record_of(struct fixture *fixture, const char *run_id)
{
	struct run_record record;

	assert_int_equal(history_get(fixture->history, run_id, &record), 0);
	return record;
}

static enum run_state take_state(struct run_record record)
{
	enum run_state state = record.state;

	run_record_release(&record);
	return state;
}

enum run_state state_of(struct fixture *fixture, const char *run_id)
{
	return take_state(record_of(fixture, run_id));
}

enum run_state stored_state_of(struct fixture *fixture, const char *run_id)
{
	return take_state(stored_record_of(fixture, run_id));
}

int warnings_with(struct fixture *fixture, const char *run_id, const char *text)
{
	struct run_record record = record_of(fixture, run_id);
	int count = 0;

	for (size_t i = 0; record.warnings && record.warnings[i]; i++)
		count += strstr(record.warnings[i], text) != NULL;
	run_record_release(&record);
	return count;
}

bool is_over(struct fixture *fixture, const char *run_id)
{
	return run_state_is_terminal(state_of(fixture, run_id));
}

bool exists_in_state(struct fixture *fixture, const char *run_id, const char *name)
{
	_cleanup_(freep) char *path = mem_printf("%s/runs/%s/%s", fixture->state, run_id, name);

	return access(path, F_OK) == 0;
}

int folders(struct fixture *fixture)
{
	_cleanup_(freep) char *path = path_join(fixture->state, "runs");
	_cleanup_(closedirp) DIR *dir = opendir(path);
	int count = 0;

	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	return count;
}

struct run_counts counts_of(struct fixture *fixture)
{
	struct run_counts counts;

	run_manager_count(fixture->manager, &counts);
	return counts;
}

char *why_waits(struct fixture *fixture, const char *run_id)
{
	struct queue_info info;
	char *why;

	assert_int_equal(run_manager_queue_info(fixture->manager, run_id, &info), 0);
	assert_non_null(info.waiting_for);
	assert_false(info.granted);
	why = mem_strdup(info.waiting_for);
	queue_info_release(&info);
	return why;
}

char *my_name(void)
{
	return user_name_look_up(getuid());
}

/* ---- what happens to it ---- */

struct run_exit exit_of(int exit_code)
{
	int64_t now = clock_utc();

	return (struct run_exit){ .exit_code = exit_code,
		.start_us = now - 2000,
		.end_us = now,
		.gone_us = now,
		.wall_us = 2000,
		.user_us = 1000,
		.system_us = 500,
		.peak_bytes = 4096,
		.oom_kills = -1,
		.disk_free_bytes = -1 };
}

void until_held(struct fixture *fixture, const char *run_id)
{
	until(fixture, fake_executor_holds(fixture->fake, run_id));
}

void until_running(struct fixture *fixture, const char *run_id)
{
	until_held(fixture, run_id);
	fake_executor_started(fixture->fake, run_id, clock_utc());
}

void end_run(struct fixture *fixture, const char *run_id, int exit_code)
{
	struct run_exit exit = exit_of(exit_code);

	fake_executor_ended(fixture->fake, run_id, &exit, 0);
}

void until_over(struct fixture *fixture, const char *run_id)
{
	until(fixture, is_over(fixture, run_id));
}

void fail_to_start(struct fixture *fixture, const char *run_id, int error)
{
	until_held(fixture, run_id);
	fake_executor_not_started(fixture->fake, run_id, error);
}

void run_to_end(struct fixture *fixture, const char *run_id, int exit_code)
{
	until_running(fixture, run_id);
	end_run(fixture, run_id, exit_code);
	until_over(fixture, run_id);
}
