/* SPDX-License-Identifier: MIT */
/* test_child_process - programs are run, bounded, and nothing of them is left */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "capture/child_process.h"
#include "common/clock.h"
#include "common/mem.h"

#define SHELL_MAX 65536

static int shell(const char *script, size_t max, int timeout_ms, struct child_process *ret)
{
	char *const argv[] = { "/bin/sh", "-c", (char *)script, NULL };
	char *const env[] = { "PATH=/usr/bin:/bin", "GREETING=hello", NULL };
	struct child_process_options options = { argv, env, NULL, max, timeout_ms };

	return child_process_run(&options, ret);
}

static void test_what_it_prints_and_its_status_come_back(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	assert_int_equal(shell("echo $GREETING; echo bad >&2; exit 3", SHELL_MAX, 5000, &child), 0);
	assert_int_equal(child.end, CHILD_PROCESS_EXITED);
	assert_int_equal(child.status, 3);
	assert_string_equal(child.output.data, "hello\n");
	assert_string_equal(child.complaint.data, "bad\n");
}

static void test_a_program_that_prints_nothing_gives_nothing(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	assert_int_equal(shell(":", SHELL_MAX, 5000, &child), 0);
	assert_int_equal(child.status, 0);
	assert_int_equal(child.output.size, 0);
}

static void test_all_of_a_large_output_comes_back(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	assert_int_equal(shell("head -c 3000000 /dev/zero", 3000000, 20000, &child), 0);
	assert_int_equal(child.end, CHILD_PROCESS_EXITED);
	assert_int_equal(child.output.size, 3000000);
}

static void test_its_stdin_is_empty_and_its_folder_the_root(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	assert_int_equal(shell("cat; pwd", SHELL_MAX, 5000, &child), 0);
	assert_string_equal(child.output.data, "/\n");
}

static void test_a_signal_is_told(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };

	(void)state;
	assert_int_equal(shell("kill -SEGV $$", SHELL_MAX, 5000, &child), 0);
	assert_int_equal(child.end, CHILD_PROCESS_SIGNALED);
	assert_int_equal(child.status, SIGSEGV);
}

static void test_what_cannot_be_started_is_an_errno(void **state)
{
	static const struct {
		const char *program, *cwd;
		int r;
	} cases[] = {
		{ "/nonexistent", NULL, -ENOENT },
		{ "/etc/passwd", NULL, -EACCES },
		{ "/bin/true", "/nonexistent", -ENOENT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *const argv[] = { (char *)cases[i].program, NULL };
		struct child_process child = { .status = 77 };
		struct child_process_options options = { argv, NULL, cases[i].cwd, 10, 1000 };

		assert_int_equal(child_process_run(&options, &child), cases[i].r);
		assert_int_equal(child.status, 77); /* untouched */
	}
}

static void test_a_program_that_hangs_is_killed_in_time(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };
	int64_t start = clock_boot();

	(void)state;
	assert_int_equal(
		shell("trap '' TERM; echo on; while :; do sleep 9; done", 99, 2000, &child), 0);
	assert_int_equal(child.end, CHILD_PROCESS_TIMED_OUT);
	assert_string_equal(child.output.data, "on\n");
	assert_true(clock_boot() - start < 20 * USEC_PER_SEC);
}

static void test_output_without_end_is_cut(void **state)
{
	static const char *const scripts[] = { "yes", "yes | cat", "yes >&2" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		_cleanup_(child_process_release) struct child_process child = { 0 };

		assert_int_equal(shell(scripts[i], 1000, 20000, &child), 0);
		assert_int_equal(child.end, CHILD_PROCESS_TOO_MUCH_OUTPUT);
		assert_true(child.output.size <= 1000);
		assert_true(child.complaint.size <= CHILD_PROCESS_COMPLAINT_MAX);
	}
}

/* A grandchild keeps the pipe open: it is not waited for, and it does not live on. */
static void test_nothing_of_its_group_is_left(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };
	int64_t start = clock_boot();
	pid_t grandchild;

	(void)state;
	assert_int_equal(shell("sleep 300 & echo $!", SHELL_MAX, 60000, &child), 0);
	assert_int_equal(child.end, CHILD_PROCESS_EXITED);
	assert_true(clock_boot() - start < 30 * USEC_PER_SEC);
	grandchild = (pid_t)atoi(child.output.data);
	assert_true(grandchild > 1);
	/* Killed; it may be a zombie until init has looked. */
	for (int i = 0; i < 1000; i++) {
		_cleanup_(freep) char *path = mem_printf("/proc/%d/cmdline", (int)grandchild);
		_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
		char text[64];

		if (fd < 0 || read(fd, text, sizeof(text)) <= 0)
			return;
		usleep(10000);
	}
	fail_msg("the grandchild lives");
}

static void test_it_gets_no_descriptor_and_no_blocked_signal(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };
	int leaked = dup(STDERR_FILENO); /* without close-on-exec, as a library might do it */
	sigset_t usr1, old;

	(void)state;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, &old);
	signal(SIGUSR2, SIG_IGN);
	/* Two lines whose lowest twelve signals, USR1 and USR2 among them, are clear. */
	assert_int_equal(shell("ls /proc/self/fd | wc -l; grep -cE '^Sig(Blk|Ign):.*000$' "
			       "/proc/self/status",
				 SHELL_MAX, 5000, &child),
		0);
	signal(SIGUSR2, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(leaked);
	/* 0, 1, 2 and the folder that ls reads. */
	assert_string_equal(child.output.data, "4\n2\n");
}

static void *run_many(void *arg)
{
	for (int i = 0; i < 25; i++) {
		_cleanup_(child_process_release) struct child_process child = { 0 };

		if (shell("echo x", SHELL_MAX, 20000, &child) < 0 || child.status != 0 ||
			child.output.size != 2)
			*(bool *)arg = false;
	}
	return NULL;
}

static void test_threads_may_run_programs_at_once(void **state)
{
	pthread_t threads[4];
	bool well[ARRAY_SIZE(threads)];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		well[i] = true;
		assert_int_equal(pthread_create(&threads[i], NULL, run_many, &well[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], NULL);
		assert_true(well[i]);
	}
}

static void test_other_children_are_left_alone(void **state)
{
	_cleanup_(child_process_release) struct child_process child = { 0 };
	pid_t other = fork();
	int status;

	(void)state;
	if (other == 0)
		_exit(42);
	assert_true(other > 0);
	assert_int_equal(shell("exit 1", SHELL_MAX, 5000, &child), 0);
	assert_int_equal(waitpid(other, &status, 0), other);
	assert_int_equal(WEXITSTATUS(status), 42);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_it_prints_and_its_status_come_back),
		cmocka_unit_test(test_a_program_that_prints_nothing_gives_nothing),
		cmocka_unit_test(test_all_of_a_large_output_comes_back),
		cmocka_unit_test(test_its_stdin_is_empty_and_its_folder_the_root),
		cmocka_unit_test(test_a_signal_is_told),
		cmocka_unit_test(test_what_cannot_be_started_is_an_errno),
		cmocka_unit_test(test_a_program_that_hangs_is_killed_in_time),
		cmocka_unit_test(test_output_without_end_is_cut),
		cmocka_unit_test(test_nothing_of_its_group_is_left),
		cmocka_unit_test(test_it_gets_no_descriptor_and_no_blocked_signal),
		cmocka_unit_test(test_threads_may_run_programs_at_once),
		cmocka_unit_test(test_other_children_are_left_alone),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
