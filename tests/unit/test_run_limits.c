/* SPDX-License-Identifier: MIT */
/* test_run_limits - limits of a process as text and back, and applied to another one */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "common/mem.h"
#include "common/run_limits.h"

#define OTHER_UID 54321

static char *text_of(const struct run_limits *limits)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	run_limits_format(limits, &text);
	return strbuf_steal(&text);
}

static void text_is_read_back(void **state)
{
	static const char *const texts[] = {
		"",
		"nofile=1024:524288",
		"core=0:unlimited nofile=0:0 stack=8388608:unlimited",
		"as=unlimited:unlimited nproc=1:18446744073709551614",
		"as=1:2 core=1:2 cpu=1:2 data=1:2 fsize=1:2 locks=1:2 memlock=1:2 msgqueue=1:2 "
		"nice=1:2 nofile=1:2 nproc=1:2 rss=1:2 rtprio=1:2 rttime=1:2 sigpending=1:2 "
		"stack=1:2",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct run_limits limits;
		_cleanup_(freep) char *text = NULL;

		assert_int_equal(run_limits_parse(texts[i], &limits), 0);
		text = text_of(&limits);
		assert_string_equal(text, texts[i]);
	}
}

static void what_another_build_knows_is_skipped(void **state)
{
	struct run_limits limits;
	_cleanup_(freep) char *text = NULL;

	(void)state;
	assert_int_equal(
		run_limits_parse("flux=3:4 core=1:2 phase=unlimited:unlimited", &limits), 0);
	text = text_of(&limits);
	assert_string_equal(text, "core=1:2");
}

static void what_is_no_list_of_limits_is_refused(void **state)
{
	static const char *const bad[] = { " ", "core", "core=", "core=1", "core=1:", "core=:1",
		"core=2:1", "core=unlimited:1", "core=-1:1", "core=1:2 ", "core=1:2  as=1:2",
		"core=1:2,as=1:2", "core=1:2 core=1:2", "=1:2", "CORE=1:2", "core=0x1:0x2",
		"core=99999999999999999999:unlimited", "core=1:unlimitedx", "core=1:2\n" };
	struct run_limits limits = { .known = 77 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(run_limits_parse(bad[i], &limits), -EBADMSG);
	assert_int_equal(limits.known, 77);
}

static void the_kernels_table_is_read(void **state)
{
	static const char table[] =
		"Limit                     Soft Limit           Hard Limit           Units     \n"
		"Max cpu time              unlimited            unlimited            seconds   \n"
		"Max core file size        0                    unlimited            bytes     \n"
		"Max open files            1024                 524288               files     \n"
		"Max nice priority         0                    0                    \n"
		"Max realtime timeout      unlimited            unlimited            us        \n"
		"Max something new         1                    2                    things    \n"
		"Max open filesX           7                    8                    files     \n";
	struct run_limits limits = { .known = 77 };
	_cleanup_(freep) char *text = NULL;

	(void)state;
	assert_int_equal(run_limits_parse_proc(table, &limits), 0);
	text = text_of(&limits);
	assert_string_equal(text, "core=0:unlimited cpu=unlimited:unlimited nice=0:0 "
				  "nofile=1024:524288 rttime=unlimited:unlimited");
	limits.known = 77;
	assert_int_equal(run_limits_parse_proc("", &limits), -EBADMSG);
	assert_int_equal(run_limits_parse_proc("Max open files  x  y\n", &limits), -EBADMSG);
	assert_int_equal(limits.known, 77);
}

/* All that this kernel has is known by name. */
static void ones_own_are_what_getrlimit_says(void **state)
{
	struct run_limits limits;
	struct rlimit nofile;
	_cleanup_(freep) char *text = NULL;
	_cleanup_(freep) char *expected = NULL;

	(void)state;
	assert_int_equal(run_limits_of_process(getpid(), geteuid(), &limits), 0);
	assert_int_equal(limits.known, (1u << RUN_LIMITS_COUNT) - 1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &nofile), 0);
	text = text_of(&limits);
	expected = mem_printf(" nofile=%llu:%llu ", (unsigned long long)nofile.rlim_cur,
		(unsigned long long)nofile.rlim_max);
	assert_non_null(strstr(text, expected));
}

static void a_process_that_is_gone_or_anothers(void **state)
{
	struct run_limits limits;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(run_limits_of_process(pid, geteuid(), &limits), -ESRCH);
	assert_int_equal(run_limits_of_process(0, geteuid(), &limits), -ESRCH);
	assert_int_equal(run_limits_of_process(-1, geteuid(), &limits), -ESRCH);
	assert_int_equal(run_limits_of_process(getpid(), geteuid() + 1, &limits), -EPERM);
}

static void of_another_users_process(void **state)
{
	struct run_limits limits;
	int ends[2];
	char byte;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct rlimit fewer = { 17, 18 };

		if (setrlimit(RLIMIT_NOFILE, &fewer) == 0 && setuid(OTHER_UID) == 0)
			(void)!write(ends[1], "x", 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(run_limits_of_process(pid, 0, &limits), -EPERM);
	assert_int_equal(run_limits_of_process(pid, OTHER_UID, &limits), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(ends[0]);
	close(ends[1]);
	{
		_cleanup_(freep) char *text = text_of(&limits);

		assert_non_null(strstr(text, " nofile=17:18 "));
	}
}

/* In a child: what it has then, and its exit status when something is otherwise. */
static int apply_and_look(const char *text)
{
	struct run_limits limits;
	struct rlimit nofile, core;
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		const struct rlimit have = { 100, 200 };

		if (run_limits_parse(text, &limits) < 0 || setrlimit(RLIMIT_NOFILE, &have) < 0 ||
			(geteuid() == 0 && setuid(OTHER_UID) < 0))
			_exit(99);
		run_limits_apply(&limits);
		if (getrlimit(RLIMIT_NOFILE, &nofile) < 0 || getrlimit(RLIMIT_CORE, &core) < 0 ||
			core.rlim_cur != 0)
			_exit(98);
		_exit(nofile.rlim_max == 200 ? (int)nofile.rlim_cur : 97);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void what_may_not_be_raised_is_clamped(void **state)
{
	(void)state;
	assert_int_equal(apply_and_look("core=0:0 nofile=150:200"), 150);
	assert_int_equal(apply_and_look("nofile=60:300 core=0:0"), 60);
	assert_int_equal(apply_and_look("nofile=201:unlimited core=0:0"), 200);
	assert_int_equal(apply_and_look("core=0:0"), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_read_back),
		cmocka_unit_test(what_another_build_knows_is_skipped),
		cmocka_unit_test(what_is_no_list_of_limits_is_refused),
		cmocka_unit_test(the_kernels_table_is_read),
		cmocka_unit_test(ones_own_are_what_getrlimit_says),
		cmocka_unit_test(a_process_that_is_gone_or_anothers),
		cmocka_unit_test(of_another_users_process),
		cmocka_unit_test(what_may_not_be_raised_is_clamped),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
