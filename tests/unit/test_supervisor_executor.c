/* SPDX-License-Identifier: MIT */
/* test_supervisor_executor - runs are started and stopped; see agent/runs/supervisor_executor.h */
#include "executor_fixture.h"

#include "common/cgroup.h"

#define MANY 40

/* ---- started, stopped, ended ---- */

static void a_run_is_started_and_ends(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("sleep 0.05; exit 3");
	int64_t before_us = clock_utc();

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	assert_in_range(run->start_us, before_us, clock_utc());
	turn_until(&run->ended);
	assert_false(run->lost);
	assert_int_equal(run->exit.exit_code, 3);
	assert_int_equal(run->exit.start_us, run->start_us);
	/* Forgotten: a stop finds nobody. */
	assert_int_equal(stop(run, 0), -ESRCH);
	/* Nothing was waited for in vain, and no zombie is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void many_at_once(void **state)
{
	struct told *runs[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		char script[32];

		snprintf(script, sizeof(script), "exit %d", i);
		runs[i] = make_script(script);
		assert_int_equal(start(runs[i]), 0);
	}
	for (int i = 0; i < MANY; i++) {
		turn_until(&runs[i]->ended);
		assert_true(runs[i]->started);
		assert_int_equal(runs[i]->exit.exit_code, i);
		free_run(runs[i]);
	}
}

static void a_stop_is_carried_out(void **state)
{
	_cleanup_(free_runp) struct told *run =
		make_script("trap 'exit 9' TERM; touch ready; while :; do :; done");

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	turn_until_there(run, "work/ready");
	assert_int_equal(stop(run, 20 * USEC_PER_SEC), 0);
	assert_int_equal(stop(run, 20 * USEC_PER_SEC), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	assert_int_equal(run->exit.exit_code, 9);
	assert_true(run->exit.stop_us >= run->exit.start_us);
}

static void a_stop_at_once_is_not_lost(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		_cleanup_(free_runp) struct told *run = make_script("sleep 50");

		assert_int_equal(start(run), 0);
		for (int turns = 0; turns < i; turns++)
			uv_run(&loop, UV_RUN_NOWAIT);
		assert_int_equal(stop(run, 0), 0);
		turn_until(&run->ended);
		assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	}
}

static void what_was_run_before_is_not_run_again(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("touch ran-again");

	(void)state;
	put_exit(run, 6, 5);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 6);
	assert_int_equal(run->start_us, 5);
	assert_false(has(run, "work/ran-again"));
}

/* ---- what does not begin ---- */

static void a_command_that_cannot_be_executed_never_started(void **state)
{
	static char *argv[] = { "/no/such/program", NULL };
	struct run_launch launch = { .argv = argv, .cwd = RUN_DIR_WORK };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(free_runp) struct told *run = make_run();

	(void)state;
	run_launch_format(&launch, &text);
	put(run, RUN_DIR_LAUNCH, &text);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_false(run->started);
	assert_int_equal(run->exit.exec_errno, ENOENT);
}

static void what_cannot_be_started_is_told_at_once(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("exit 0");
	_cleanup_(free_runp) struct told *nowhere = NEW(struct told);

	(void)state;
	nowhere->dir = path_join(top, "nowhere");
	assert_int_equal(start(nowhere), -ENOENT);
	free_executor();
	make_executor("/no/such/supervisor");
	assert_int_equal(start(run), -ENOENT);
	assert_int_equal(stop(run, 0), -ESRCH);
	/* The lock went with it: it may be tried again. */
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	assert_int_equal(reattach(run), EXECUTOR_NEVER_STARTED);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 0);
}

static void a_supervisor_that_cannot_begin_leaves_its_reason(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(freep) char *log = path_join(run->dir, RUN_DIR_SUPERVISOR_LOG);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->not_started);
	assert_non_null(strstr(run->reason, "cannot read launch"));
	assert_int_equal(run->error, -ENOENT);
	assert_int_equal(file_read(AT_FDCWD, log, 4096, &text), 0);
	assert_non_null(strstr(text.data, run->reason));
	/* Forgotten, and its lock is free: it can be started again. */
	assert_int_equal(stop(run, 0), -ESRCH);
	assert_int_equal(look(run), EXECUTOR_NEVER_STARTED);
}

/* How a supervisor ended before it wrote `status`, and what is told of it. */
static void why_it_did_not_begin_is_told(void **state)
{
	static const struct {
		const char *script;
		int error;
	} ends[] = {
		{ "#!/bin/sh\nexit 92\n", -ENOSPC },
		{ "#!/bin/sh\nexit 88\n", -EMFILE },
		{ "#!/bin/sh\nexit 186\n", -EDQUOT },
		{ "#!/bin/sh\nexit 0\n", -EIO },
		{ "#!/bin/sh\nexit 1\n", -EIO },
		{ "#!/bin/sh\nexit 64\n", -EIO },
		{ "#!/bin/sh\nexit 255\n", -EIO },
		{ "#!/bin/sh\nkill -KILL $$\n", -EIO },
		{ "#!/bin/sh\nkill -TERM $$\n", -EIO },
		{ "#!/bin/sh\nkill -USR1 $$\n", -EIO },
	};
	_cleanup_(freep) char *path = path_join(top, "stand-in");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		_cleanup_(free_runp) struct told *run = make_script("exit 0");

		assert_int_equal(file_replace(AT_FDCWD, path, ends[i].script,
					 strlen(ends[i].script), 0700, FILE_NO_SYNC),
			0);
		free_executor();
		make_executor(path);
		assert_int_equal(start(run), 0);
		turn_until(&run->not_started);
		assert_int_equal(run->error, ends[i].error);
		assert_true(run->reason[0]);
		assert_int_equal(look(run), EXECUTOR_NEVER_STARTED);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	}
}

/* ---- in cgroups ---- */

/* A cgroup with one for supervisors; NULL where none can be made. malloc'ed. */
static char *make_place(void)
{
	_cleanup_(freep) char *parent = NULL;
	_cleanup_(freep) char *place = NULL;
	_cleanup_(freep) char *supervisors = NULL;

	if (cgroup_find_parent(CGROUP_PARENT_AUTO, &parent) < 0 || !parent)
		return NULL;
	place = mem_printf("%s/test-executor-%d", parent, (int)getpid());
	supervisors = path_join(place, CGROUP_SUPERVISORS_NAME);
	assert_int_equal(mkdir(place, 0755), 0);
	assert_int_equal(mkdir(supervisors, 0755), 0);
	return TAKE(place);
}

static char *cgroup_of(pid_t pid)
{
	_cleanup_(freep) char *path = mem_printf("/proc/%d/cgroup", (int)pid);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text), 0);
	return strbuf_steal(&text);
}

/* It is there from its first instant, with its lock, alone with its own files, and ends as
 * usual. */
static void a_supervisor_is_put_where_supervisors_are(void **state)
{
	_cleanup_(freep) char *place = make_place();
	_cleanup_(free_runp) struct told *run = make_script("sleep 40");
	_cleanup_(freep) char *cgroup = NULL;
	_cleanup_(freep) char *fds = NULL;
	struct run_status status;
	_cleanup_(closedirp) DIR *dir = NULL;
	int files = 0;

	(void)state;
	if (!place)
		skip();
	free_executor();
	make_executor_below(getenv("AMLAGENT_SUPERVISOR"), place);
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	read_status(run, &status);
	cgroup = cgroup_of((pid_t)status.supervisor_pid);
	assert_non_null(strstr(cgroup, "/" CGROUP_SUPERVISORS_NAME "\n"));
	fds = mem_printf("/proc/%d/fd", (int)status.supervisor_pid);
	dir = opendir(fds);
	while (readdir(dir))
		files++;
	/* ".", "..", 0 to 2, the lock, and what it has opened itself: none of ours. */
	assert_in_range(files, 6, 20);
	assert_int_equal(stop(run, 0), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	assert_int_equal(cgroup_remove(place), 0);
	run_status_release(&status);
}

static void a_supervisor_that_cannot_be_executed_there_is_told_of(void **state)
{
	_cleanup_(freep) char *place = make_place();
	_cleanup_(free_runp) struct told *run = make_script("exit 3");

	(void)state;
	if (!place)
		skip();
	free_executor();
	make_executor_below("/no/such/supervisor", place);
	assert_int_equal(start(run), -ENOENT);
	free_executor();
	/* Where the cgroup has gone it is started without. */
	assert_int_equal(cgroup_remove(place), 0);
	make_executor_below(getenv("AMLAGENT_SUPERVISOR"), place);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_is_started_and_ends),
		TEST(many_at_once),
		TEST(a_stop_is_carried_out),
		TEST(a_stop_at_once_is_not_lost),
		TEST(what_was_run_before_is_not_run_again),
		TEST(a_command_that_cannot_be_executed_never_started),
		TEST(what_cannot_be_started_is_told_at_once),
		TEST(a_supervisor_that_cannot_begin_leaves_its_reason),
		TEST(why_it_did_not_begin_is_told),
		TEST(a_supervisor_is_put_where_supervisors_are),
		TEST(a_supervisor_that_cannot_be_executed_there_is_told_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
