/* SPDX-License-Identifier: MIT */
/* test_executor_lost - runs that leave no verdict; see agent/runs/supervisor_executor.h */
#include "executor_fixture.h"

#include <semaphore.h>
#include <signal.h>
#include <spawn.h>

/* ---- processes ---- */

static bool is_gone(pid_t pid)
{
	char path[64];
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (file_read(AT_FDCWD, path, 4096, &text) < 0)
		return true;
	state = strrchr(text.data, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

/* A child with this one entry as its environment. */
static pid_t spawn_with(const char *entry)
{
	char *argv[] = { "/bin/sleep", "50", NULL };
	char *env[] = { (char *)entry, NULL };
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, env), 0);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- there is no verdict ---- */

static void a_lost_run_is_lost_and_its_pid_is_left_alone(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	pid_t bystander = spawn_with("A=1");
	int64_t before_us = clock_utc() - USEC_PER_SEC;

	(void)state;
	/* The number is another process's by now. */
	put_status(run, bystander, 7);
	assert_int_equal(reattach(run), EXECUTOR_LOST);
	turn_until(&run->ended);
	assert_true(run->lost && run->started);
	assert_in_range(run->seen_us, before_us, clock_utc());
	assert_false(is_gone(bystander));
	end_child(bystander);
}

static void a_damaged_verdict_is_none(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_add(&text, "format=1\0exit_code=0", 21);
	put(run, RUN_DIR_EXIT, &text);
	assert_int_equal(reattach(run), EXECUTOR_LOST);
	turn_until(&run->ended);
	assert_true(run->lost);
}

/* ---- the supervisor is killed ---- */

static void a_killed_supervisor_s_processes_are_stopped_first(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script(
		"trap '' TERM; (setsid sh -c 'echo $$ > far; trap \"\" TERM; while :; do sleep 1; done' &) ;"
		"while [ ! -s far ]; do sleep 0.01; done; touch ready; while :; do sleep 1; done");
	_cleanup_(freep) char *far = path_join(run->dir, "work/far");
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *longer = mem_printf("%s=%s/x", RUN_DIR_VARIABLE, run->dir);
	_cleanup_(freep) char *other = mem_printf("X%s=%s", RUN_DIR_VARIABLE, run->dir);
	pid_t bystanders[] = { spawn_with(longer), spawn_with(other), spawn_with("A=1") };
	struct run_status status;

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	turn_until_there(run, "work/ready");
	assert_int_equal(file_read(AT_FDCWD, far, 64, &text), 0);
	read_status(run, &status);
	assert_int_equal(kill((pid_t)status.supervisor_pid, SIGKILL), 0);
	turn_until(&run->ended);
	assert_true(run->lost);
	assert_in_range(run->seen_us, run->start_us, clock_utc());
	assert_true(is_gone((pid_t)status.child_pid));
	assert_true(is_gone((pid_t)atoi(text.data)));
	for (size_t i = 0; i < ARRAY_SIZE(bystanders); i++) {
		assert_false(is_gone(bystanders[i]));
		end_child(bystanders[i]);
	}
}

/* ---- the folder is removed ---- */

/* The verdict has nowhere to be, but it has run: it is not started again. */
static void a_run_whose_folder_is_removed_while_it_runs_is_lost(void **state)
{
	_cleanup_(free_runp) struct told *run =
		make_script("echo $$ > ../../pid; while [ ! -e ../../go ]; do sleep 0.01; done");
	_cleanup_(freep) char *go = path_join(top, "go");

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	turn_until_there(run, "../pid");
	assert_int_equal(tree_remove(AT_FDCWD, run->dir), 0);
	assert_int_equal(close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	turn_until(&run->ended);
	assert_true(run->lost && !run->not_started);
	assert_true(run->seen_us >= run->start_us);
}

/* ---- the same, while the work thread is held: there is one (set_up) ---- */

static sem_t held, go_on;

static void hold_on_thread(uv_work_t *work)
{
	(void)work;
	sem_post(&held);
	while (sem_wait(&go_on) < 0)
		;
}

static void hold_done(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
}

static void hold_thread(uv_work_t *work)
{
	sem_init(&held, 0, 0);
	sem_init(&go_on, 0, 0);
	uv_queue_work(&loop, work, hold_on_thread, hold_done);
	while (sem_wait(&held) < 0)
		;
}

static pid_t read_pid(const char *path)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 32, &text), 0);
	return (pid_t)atol(text.data);
}

/* It is looked for what is left of the run when its supervisor, which has nowhere to begin,
 * ends. */
static void a_run_that_is_being_swept_stays_lost(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("exit 0");
	_cleanup_(freep) char *path = path_join(top, "stand-in");
	_cleanup_(freep) char *go = path_join(top, "go");
	_cleanup_(freep) char *pid_path = path_join(top, "pid");
	_cleanup_(freep) char *script =
		mem_printf("#!/bin/sh\necho $$ > '%s.new'; mv '%s.new' '%s'\n"
			   "while [ ! -e '%s' ]; do sleep 0.01; done\nexit 1\n",
			pid_path, pid_path, pid_path, go);
	uv_work_t work;
	pid_t pid;

	(void)state;
	assert_int_equal(
		file_replace(AT_FDCWD, path, script, strlen(script), 0700, FILE_NO_SYNC), 0);
	free_executor();
	make_executor(path);
	assert_int_equal(start(run), 0);
	turn_until_there(run, "../pid");
	pid = read_pid(pid_path);
	assert_int_equal(tree_remove(AT_FDCWD, run->dir), 0);
	hold_thread(&work);
	assert_int_equal(stop(run, 0), 0);
	for (int i = 0; i < 10; i++) /* the sweep waits for the thread */
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	while (kill(pid, 0) == 0) /* until it has been waited for */
		uv_run(&loop, UV_RUN_ONCE);
	sem_post(&go_on);
	assert_false(run->not_started || run->ended);
	turn_until(&run->ended);
	assert_true(run->lost && !run->not_started);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_lost_run_is_lost_and_its_pid_is_left_alone),
		TEST(a_damaged_verdict_is_none),
		TEST(a_killed_supervisor_s_processes_are_stopped_first),
		TEST(a_run_whose_folder_is_removed_while_it_runs_is_lost),
		TEST(a_run_that_is_being_swept_stays_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
