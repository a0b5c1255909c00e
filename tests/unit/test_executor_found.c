/* SPDX-License-Identifier: MIT */
/* test_executor_found - runs that are found after a restart; see runs/supervisor_executor.h */
#include "executor_fixture.h"

/* ---- runs that go on ---- */

static void a_run_outlives_the_executor_and_is_found_again(void **state)
{
	_cleanup_(free_runp) struct told *run =
		make_script("while [ ! -e go ]; do sleep 0.01; done; exit 4");
	_cleanup_(free_runp) struct told *again = NEW(struct told);
	_cleanup_(freep) char *go = path_join(run->dir, "work/go");

	(void)state;
	again->dir = mem_strdup(run->dir);
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	assert_int_equal(reattach(again), EXECUTOR_LIVES);
	turn_until(&again->started);
	assert_int_equal(again->start_us, run->start_us);
	assert_false(run->ended);
	assert_int_equal(close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	turn_until(&again->ended);
	assert_int_equal(again->exit.exit_code, 4);
	assert_false(run->ended);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void a_run_found_again_can_be_stopped(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("sleep 50");

	(void)state;
	assert_int_equal(start(run), 0);
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	assert_int_equal(reattach(run), EXECUTOR_LIVES);
	assert_int_equal(stop(run, 0), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void free_while_runs_go_on(void **state)
{
	struct told *runs[5];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		runs[i] = make_script("while [ ! -e ../stop ]; do sleep 0.01; done");
		assert_int_equal(start(runs[i]), 0);
	}
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		assert_false(runs[i]->ended);
		assert_int_equal(reattach(runs[i]), EXECUTOR_LIVES);
		assert_int_equal(stop(runs[i], 0), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		turn_until(&runs[i]->ended);
		assert_false(runs[i]->lost);
		free_run(runs[i]);
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
}

/* ---- what is in the folder ---- */

static void a_run_that_ended_meanwhile(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();

	(void)state;
	put_status(run, INT_MAX, 7);
	put_exit(run, 8, 7);
	assert_int_equal(reattach(run), EXECUTOR_ENDED);
	turn_until(&run->ended);
	assert_true(run->started);
	assert_int_equal(run->start_us, 7);
	assert_int_equal(run->exit.exit_code, 8);
	assert_int_equal(run->seen_us, 99);
}

static void a_run_that_was_never_started(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("exit 0");
	_cleanup_(free_runp) struct told *nowhere = NEW(struct told);

	(void)state;
	nowhere->dir = path_join(top, "nowhere");
	assert_int_equal(reattach(run), EXECUTOR_NEVER_STARTED);
	assert_int_equal(reattach(nowhere), EXECUTOR_NEVER_STARTED);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_false(run->ended || nowhere->ended);
	assert_int_equal(stop(run, 0), -ESRCH);
}

static void what_cannot_be_looked_at_is_an_error_and_no_answer(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	enum executor_found found = EXECUTOR_FOUND_COUNT;

	(void)state;
	put_status(run, INT_MAX, 7);
	descriptors_are(false);
	assert_int_equal(executor->ops->look(executor, run->dir, &found), -EMFILE);
	assert_int_equal(executor->ops->reattach(executor, run->dir, run), -EMFILE);
	assert_int_equal(executor->ops->start(executor, run->dir, run), -EMFILE);
	descriptors_are(true);
	assert_int_equal(found, EXECUTOR_FOUND_COUNT);
	uv_run(&loop, UV_RUN_ONCE);
	assert_false(run->started || run->ended || run->not_started);
	assert_int_equal(reattach(run), EXECUTOR_LOST);
	turn_until(&run->ended);
}

static void what_a_newer_version_wrote_is_told_as_such(void **state)
{
	static const char newer[] = "format=2\0supervisor_pid=4\0child_pid=5\0start_us=6";
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	enum executor_found found;

	(void)state;
	strbuf_add(&text, newer, sizeof(newer));
	put(run, RUN_DIR_STATUS, &text);
	assert_int_equal(executor->ops->look(executor, run->dir, &found), -EPROTONOSUPPORT);
}

/* ---- the lock ---- */

static int hold_lock(const struct told *told)
{
	_cleanup_(freep) char *path = path_join(told->dir, RUN_DIR_LOCK);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	return fd;
}

static void a_held_lock_without_status_is_waited_for(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(closep) int lock = hold_lock(run);

	(void)state;
	assert_int_equal(reattach(run), EXECUTOR_LIVES);
	uv_run(&loop, UV_RUN_ONCE);
	assert_false(run->started || run->ended);
	put_status(run, getpid(), 11);
	turn_until(&run->started);
	assert_int_equal(run->start_us, 11);
	assert_false(run->ended);
}

static void a_lock_that_is_released_without_status_or_exit(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(closep) int lock = hold_lock(run);

	(void)state;
	assert_int_equal(reattach(run), EXECUTOR_LIVES);
	uv_run(&loop, UV_RUN_ONCE);
	lock = fd_close(lock);
	turn_until(&run->not_started);
	assert_false(run->ended || run->started);
	assert_int_equal(run->error, -EIO);
}

static void a_start_while_another_runs_it_watches_that_one(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("touch ran");
	_cleanup_(closep) int lock = hold_lock(run);

	(void)state;
	assert_int_equal(start(run), 0);
	put_exit(run, 12, 13);
	lock = fd_close(lock);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 12);
	assert_int_equal(run->start_us, 13);
	assert_false(has(run, "work/ran"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_outlives_the_executor_and_is_found_again),
		TEST(a_run_found_again_can_be_stopped),
		TEST(free_while_runs_go_on),
		TEST(a_run_that_ended_meanwhile),
		TEST(a_run_that_was_never_started),
		TEST(what_cannot_be_looked_at_is_an_error_and_no_answer),
		TEST(what_a_newer_version_wrote_is_told_as_such),
		TEST(a_held_lock_without_status_is_waited_for),
		TEST(a_lock_that_is_released_without_status_or_exit),
		TEST(a_start_while_another_runs_it_watches_that_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
