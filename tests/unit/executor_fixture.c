/* SPDX-License-Identifier: MIT */
/* executor_fixture - a real loop, supervisor and processes; see executor_fixture.h */
#include "executor_fixture.h"

#define TIME_LIMIT_SECONDS 60

char top[PATH_MAX];
uv_loop_t loop;
struct executor *executor;
static uv_timer_t tick;
static int runs_made;
static bool in_call; /* events must not come then */

/* ---- the events ---- */

static void on_started(void *run, int64_t start_us)
{
	struct told *told = run;

	assert_false(in_call || told->started || told->ended || told->not_started);
	told->started = true;
	told->start_us = start_us;
}

static void on_ended(void *run, const struct run_exit *exit, int64_t seen_us)
{
	struct told *told = run;

	assert_false(in_call || told->ended || told->not_started);
	told->ended = true;
	told->lost = !exit;
	told->seen_us = seen_us;
	if (exit)
		told->exit = *exit;
}

static void on_not_started(void *run, int error, const char *reason)
{
	struct told *told = run;

	assert_false(in_call || told->started || told->ended || told->not_started);
	assert_true(error < 0);
	assert_non_null(reason);
	told->not_started = true;
	told->error = error;
	snprintf(told->reason, sizeof(told->reason), "%s", reason);
}

static const struct executor_events events = { on_started, on_ended, on_not_started };

static void on_freed(void *data)
{
	*(bool *)data = true;
}

/* Every few milliseconds: a turn of the loop that has told its timers' events goes to sleep all the
 * same. */
static void on_tick(uv_timer_t *timer)
{
	(void)timer;
}

/* ---- the executor ---- */

void turn_until(const bool *what)
{
	while (!*what)
		uv_run(&loop, UV_RUN_ONCE);
}

void make_executor_below(const char *path, const char *cgroup_parent)
{
	assert_int_equal(
		supervisor_executor_new(&loop, path, cgroup_parent, &events, &executor), 0);
}

void make_executor(const char *path)
{
	make_executor_below(path, NULL);
}

void free_executor(void)
{
	bool freed = false;

	executor->ops->free(executor, on_freed, &freed);
	assert_false(freed);
	turn_until(&freed);
	executor = NULL;
}

int set_up(void **state)
{
	const char *temp = getenv("TMPDIR");
	const char *supervisor = getenv("AMLAGENT_SUPERVISOR");

	(void)state;
	if (!supervisor)
		fail_msg("AMLAGENT_SUPERVISOR is not set");
	setenv("UV_THREADPOOL_SIZE", "1", 1); /* so that a test can hold it */
	alarm(TIME_LIMIT_SECONDS);
	snprintf(top, sizeof(top), "%s/amlagent-executor-XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(top));
	assert_int_equal(uv_loop_init(&loop), 0);
	uv_timer_init(&loop, &tick);
	uv_timer_start(&tick, on_tick, 2, 2);
	make_executor(supervisor);
	return 0;
}

int tear_down(void **state)
{
	(void)state;
	if (executor)
		free_executor();
	uv_close((uv_handle_t *)&tick, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(tree_remove(AT_FDCWD, top), 0);
	alarm(0);
	return 0;
}

/* ---- a run's folder ---- */

struct told *make_run(void)
{
	struct told *told = NEW(struct told);
	_cleanup_(freep) char *work = NULL;
	_cleanup_(freep) char *control = NULL;

	told->dir = mem_printf("%s/run %d", top, runs_made++);
	work = path_join(told->dir, RUN_DIR_WORK);
	control = path_join(told->dir, RUN_DIR_CONTROL);
	assert_int_equal(dir_make(work, 0700), 0);
	assert_int_equal(mkfifo(control, 0600), 0);
	return told;
}

void free_run(struct told *told)
{
	if (!told)
		return;
	free(told->dir);
	free(told);
}

void put(const struct told *told, const char *name, const struct strbuf *text)
{
	_cleanup_(freep) char *path = path_join(told->dir, name);

	assert_int_equal(
		file_replace(AT_FDCWD, path, text->data, text->size, 0600, FILE_NO_SYNC), 0);
}

struct told *make_script(const char *script)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };
	static char *env[] = { "PATH=/usr/bin:/bin", NULL };
	struct run_launch launch = {
		.argv = (char **)argv, .env = env, .cwd = RUN_DIR_WORK, .grace_us = 200000
	};
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct told *told = make_run();

	run_launch_format(&launch, &text);
	put(told, RUN_DIR_LAUNCH, &text);
	return told;
}

void put_status(const struct told *told, pid_t supervisor, int64_t start_us)
{
	struct run_status status = {
		.supervisor_pid = supervisor, .child_pid = start_us ? 1 : 0, .start_us = start_us
	};
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(clock_boot_id(status.boot_id), 0);
	run_status_format(&status, &text);
	put(told, RUN_DIR_STATUS, &text);
}

void put_exit(const struct told *told, int code, int64_t start_us)
{
	struct run_exit exit = { .exit_code = code, .start_us = start_us, .gone_us = 99 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	run_exit_format(&exit, &text);
	put(told, RUN_DIR_EXIT, &text);
}

void read_status(const struct told *told, struct run_status *ret)
{
	_cleanup_(freep) char *path = path_join(told->dir, RUN_DIR_STATUS);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 4096, &text), 0);
	assert_int_equal(run_status_parse(text.data, text.size, ret), 0);
}

bool has(const struct told *told, const char *name)
{
	_cleanup_(freep) char *path = path_join(told->dir, name);

	return access(path, F_OK) == 0;
}

void turn_until_there(const struct told *told, const char *name)
{
	while (!has(told, name))
		uv_run(&loop, UV_RUN_ONCE);
}

/* ---- the executor's calls ---- */

int start(struct told *told)
{
	int r;

	in_call = true;
	r = executor->ops->start(executor, told->dir, told);
	in_call = false;
	return r;
}

enum executor_found look(const struct told *told)
{
	enum executor_found found;

	in_call = true;
	assert_int_equal(executor->ops->look(executor, told->dir, &found), 0);
	in_call = false;
	return found;
}

enum executor_found reattach(struct told *told)
{
	enum executor_found found = look(told);

	if (found == EXECUTOR_NEVER_STARTED)
		return found;
	in_call = true;
	assert_int_equal(executor->ops->reattach(executor, told->dir, told), 0);
	in_call = false;
	return found;
}

int stop(struct told *told, int64_t grace_us)
{
	const struct run_stop order = { RUN_STOP_CANCEL, grace_us };
	int r;

	in_call = true;
	r = executor->ops->stop(executor, told, &order);
	in_call = false;
	return r;
}
