/* SPDX-License-Identifier: MIT */
/* test_fail_point - what each mode does to a step, each in a process of its own; in any build */
#ifndef AMLAGENT_FAIL_POINTS
#define AMLAGENT_FAIL_POINTS 1
#endif
#include "common/fail_point.c"

#include "test.h"

#include <sys/stat.h>
#include <sys/wait.h>

#define PASSED_FILE "passed"

static const char data[] = "0123456789";
static int steps; /* that were taken */

static int step(int result)
{
	steps++;
	return result;
}

static int go_to_scratch(void **state)
{
	static char dir[] = "/tmp/fail-point-XXXXXX";

	*state = mkdtemp(dir);
	return *state && chdir(dir) == 0 ? 0 : -1;
}

static int remove_scratch(void **state)
{
	unlink(PASSED_FILE);
	unlink("written");
	return rmdir(*state);
}

/* Runs the function with these settings; what waitpid() says of it. Its value is its exit status. */
static int with(const char *value, int (*function)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setenv(VARIABLE, value, 1);
		setenv(LOG_VARIABLE, PASSED_FILE, 1);
		unlink(PASSED_FILE);
		read_settings();
		_exit(function());
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_exits(const char *value, int (*function)(void), int expected)
{
	int status = with(value, function);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), expected);
}

static void assert_dies(const char *value, int (*function)(void), int signal)
{
	int status = with(value, function);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), signal);
}

/* A file is the step's trace for those who outlive it. */
static int make_written(void)
{
	int fd = creat("written", 0600);

	return fd < 0 ? -errno : close(fd);
}

static int make_file(void)
{
	unlink("written");
	return FAIL_POINT(FAIL_EXIT_WRITE, make_written()) < 0;
}

static void without_a_setting_there_is_the_step_alone(void **state)
{
	(void)state;
	assert_exits("", make_file, 0);
	assert_exits("exit.sync=kill", make_file, 0);
	assert_int_equal(access("written", F_OK), 0);
}

static void death_comes_before_the_step_or_after_it(void **state)
{
	(void)state;
	assert_dies("exit.write=kill", make_file, SIGKILL);
	assert_int_equal(access("written", F_OK), -1);
	assert_dies("exit.write=abort", make_file, SIGABRT);
	assert_int_equal(access("written", F_OK), -1);
	assert_dies("exit.write=kill-after", make_file, SIGKILL);
	assert_int_equal(access("written", F_OK), 0);
}

/* What follows after a step that was skipped or failed must not find it still in force. */
static int errors_by_name(void)
{
	int r = FAIL_POINT(FAIL_EXIT_SYNC, step(1));

	if (r != -EIO || errno != EIO || steps)
		return 1;
	r = FAIL_POINT(FAIL_EXIT_RENAME, step(7));
	if (r != -ENOSPC || errno != ENOSPC || steps)
		return 2;
	r = FAIL_POINT(FAIL_EXIT_WRITE, step(7));
	if (r != 7 || steps != 1)
		return 3;
	r = FAIL_POINT(FAIL_EXIT_WRITE, step(-EDOM));
	return r != -EDOM || steps != 2 ? 4 : 0;
}

static void an_errno_is_the_result_and_the_step_is_not_taken(void **state)
{
	(void)state;
	assert_exits("exit.sync=EIO,exit.rename=ENOSPC", errors_by_name, 0);
}

/* One bit for each of eight passings: did it fail? */
static int failures(void)
{
	int bits = 0;

	for (int i = 0; i < 8; i++)
		bits |= (FAIL_POINT(FAIL_EXIT_SYNC, step(0)) < 0) << i;
	return bits;
}

static void nth_and_times_count_passings(void **state)
{
	(void)state;
	assert_exits("exit.sync=EIO", failures, 0x01);
	assert_exits("exit.sync=EIO:3", failures, 0x04);
	assert_exits("exit.sync=EIO:3:2", failures, 0x0c);
	assert_exits("exit.sync=EIO:7:0", failures, 0xc0);
	assert_exits("exit.sync=EIO:9", failures, 0x00);
	assert_exits("exit.write=EIO,exit.sync=EIO:2:1,exit.rename=EIO", failures, 0x02);
}

/* ---- interrupt, short: within the step ---- */

static int open_written(void)
{
	return open("written", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static int interrupted_once_each(int fd)
{
	for (int i = 0; i < 2; i++) {
		if (fail_point_write(fd, data, 10) != -1 || errno != EINTR)
			return -1;
		if (fail_point_write(fd, data, 10) != 10)
			return -2;
		if (fail_point_fsync(fd) != -1 || errno != EINTR)
			return -3;
		if (fail_point_fsync(fd) != 0)
			return -4;
	}
	return 0;
}

static int interrupts(void)
{
	int fd = open_written();

	if (fail_point_write(fd, data, 10) != 10 || fail_point_fsync(fd) != 0)
		return 1;
	if (FAIL_POINT(FAIL_EXIT_WRITE, interrupted_once_each(fd)) < 0)
		return 2;
	return fail_point_write(fd, data, 10) != 10 || fail_point_fsync(fd) != 0 ? 3 : 0;
}

static void an_interrupt_fails_each_call_within_the_step_once(void **state)
{
	(void)state;
	assert_exits("exit.write=interrupt", interrupts, 0);
}

static int half_each_time(int fd)
{
	if (fail_point_write(fd, data, 10) != 5 || fail_point_write(fd, data + 5, 5) != 2 ||
		fail_point_write(fd, data + 7, 3) != 1 || fail_point_write(fd, data + 8, 2) != 1)
		return -1;
	return fail_point_write(fd, data + 9, 1) == 1 && fail_point_fsync(fd) == 0 ? 0 : -1;
}

static int shortens(void)
{
	int fd = open_written();
	char text[32];

	if (FAIL_POINT(FAIL_EXIT_WRITE, half_each_time(fd)) < 0)
		return 1;
	if (fail_point_write(fd, data, 10) != 10)
		return 2;
	return pread(fd, text, sizeof(text), 0) != 20 ||
	       memcmp(text, "01234567890123456789", 20) != 0;
}

static void a_short_write_takes_half_and_makes_progress(void **state)
{
	(void)state;
	assert_exits("exit.write=short", shortens, 0);
}

/* The point within is another one; the one around it holds when it has been left. */
static int nested(void)
{
	int fd = open_written();
	int r = FAIL_POINT(FAIL_FINISH_COLLECT, ({
		int inner = FAIL_POINT(FAIL_BLOB_WRITE, step(0));

		inner < 0 || fail_point_write(fd, data, 10) != 5 ? -1 : 0;
	}));

	return r < 0 || fail_point_write(fd, data, 10) != 10;
}

static void a_point_within_another_one_does_not_end_it(void **state)
{
	(void)state;
	assert_exits("finish.collect=short", nested, 0);
}

static int nested_deaths(void)
{
	return FAIL_POINT(FAIL_FINISH_COLLECT, FAIL_POINT(FAIL_BLOB_WRITE, step(0)));
}

static void death_after_a_step_comes_when_the_step_has_points_of_its_own(void **state)
{
	(void)state;
	assert_dies("finish.collect=kill-after", nested_deaths, SIGKILL);
	assert_dies("blob.write=kill-after", nested_deaths, SIGKILL);
}

/* ---- delay, log, settings ---- */

static int delayed(void)
{
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	if (FAIL_POINT(FAIL_EXIT_WRITE, step(3)) != 3 || steps != 1)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &after);
	return (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 <
	       49;
}

static void a_delay_is_waited_for_and_the_step_is_taken(void **state)
{
	(void)state;
	assert_exits("exit.write=delay-50", delayed, 0);
}

static int pass_some(void)
{
	FAIL_POINT(FAIL_EXIT_WRITE, step(0));
	FAIL_POINT(FAIL_EXIT_SYNC, step(0));
	FAIL_POINT(FAIL_EXIT_WRITE, step(0));
	return 0;
}

static void each_passing_is_a_line_of_the_log_also_the_last_one(void **state)
{
	static const char expected[] = "exit.write\nexit.sync\nexit.write\n";
	char text[256] = "";
	int fd;

	(void)state;
	assert_dies("exit.write=kill:2", pass_some, SIGKILL);
	fd = open(PASSED_FILE, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof(text) - 1), sizeof(expected) - 1);
	close(fd);
	assert_string_equal(text, expected);
}

static int nothing(void)
{
	return 0;
}

static void a_setting_that_says_nothing_aborts(void **state)
{
	static const char *const wrong[] = { "no.such=kill", "exit.write",
		"exit.write=", "exit.write=EVERYTHING", "exit.write=kill:", "exit.write=kill:x",
		"=kill", "exit.write=kill,,exit.sync=kill" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_dies(wrong[i], nothing, SIGABRT);
}

static int hands_on(void)
{
	char *const *list = fail_point_environment();

	if (!list[0] || strcmp(list[0], VARIABLE "=exit.write=kill,exit.sync=EIO:2") != 0)
		return 1;
	return !list[1] || strcmp(list[1], LOG_VARIABLE "=" PASSED_FILE) != 0 || list[2];
}

static int hands_on_nothing(void)
{
	unsetenv(VARIABLE);
	unsetenv(LOG_VARIABLE);
	return fail_point_environment()[0] != NULL;
}

static void the_settings_are_handed_on(void **state)
{
	(void)state;
	assert_exits("exit.write=kill,exit.sync=EIO:2", hands_on, 0);
	assert_exits("", hands_on_nothing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_setting_there_is_the_step_alone),
		cmocka_unit_test(death_comes_before_the_step_or_after_it),
		cmocka_unit_test(an_errno_is_the_result_and_the_step_is_not_taken),
		cmocka_unit_test(nth_and_times_count_passings),
		cmocka_unit_test(an_interrupt_fails_each_call_within_the_step_once),
		cmocka_unit_test(a_short_write_takes_half_and_makes_progress),
		cmocka_unit_test(a_point_within_another_one_does_not_end_it),
		cmocka_unit_test(death_after_a_step_comes_when_the_step_has_points_of_its_own),
		cmocka_unit_test(a_delay_is_waited_for_and_the_step_is_taken),
		cmocka_unit_test(each_passing_is_a_line_of_the_log_also_the_last_one),
		cmocka_unit_test(a_setting_that_says_nothing_aborts),
		cmocka_unit_test(the_settings_are_handed_on),
	};

	return cmocka_run_group_tests(tests, go_to_scratch, remove_scratch);
}
