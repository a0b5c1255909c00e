/* SPDX-License-Identifier: MIT */
/* test_run_dir - the records between daemon and supervisor, and bytes that only look like them */
#include <limits.h>

#include "test.h"

#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"

/* A literal with NUL bytes in it, as bytes and size. */
#define BYTES(text) (text), sizeof(text) - 1

#define BOOT "01234567-89ab-cdef-0123-456789abcdef"

/* Exact memory: the sanitizer sees a step beyond it. */
static int parse_launch(const char *data, size_t size, struct run_launch *ret)
{
	_cleanup_(freep) char *copy = mem_dup(data, size);

	return run_launch_parse(copy, size, ret);
}

static int parse_status(const char *data, size_t size, struct run_status *ret)
{
	_cleanup_(freep) char *copy = mem_dup(data, size);

	return run_status_parse(copy, size, ret);
}

static int parse_stop(const char *data, size_t size, struct run_stop *ret)
{
	_cleanup_(freep) char *copy = mem_dup(data, size);

	return run_stop_parse(copy, size, ret);
}

static int parse_exit(const char *data, size_t size, struct run_exit *ret)
{
	_cleanup_(freep) char *copy = mem_dup(data, size);

	return run_exit_parse(copy, size, ret);
}

/* ---- launch ---- */

static void launch_is_read_back(void **state)
{
	static char *argv[] = { "/bin/sh", "", "a=b", "two\nlines", "\xff\x01", "format=7", NULL };
	static char *env[] = { "A=1", "A=2", "EMPTY=", "X=y=z\n", "no equals", NULL };
	struct run_launch launch = { argv, env, "work dir", "/sys/fs/cgroup/a b", INT64_MAX, 0 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(run_launch_release) struct run_launch again = { 0 };

	(void)state;
	run_launch_format(&launch, &text);
	assert_int_equal(parse_launch(text.data, text.size, &again), 0);
	assert_int_equal(strv_length(again.argv), ARRAY_SIZE(argv) - 1);
	assert_int_equal(strv_length(again.env), ARRAY_SIZE(env) - 1);
	for (size_t i = 0; argv[i]; i++)
		assert_string_equal(again.argv[i], argv[i]);
	for (size_t i = 0; env[i]; i++)
		assert_string_equal(again.env[i], env[i]);
	assert_string_equal(again.cwd, "work dir");
	assert_string_equal(again.cgroup, "/sys/fs/cgroup/a b");
	assert_int_equal(again.limit_us, INT64_MAX);
	assert_int_equal(again.grace_us, 0);
}

static void launch_without_environment(void **state)
{
	static char *argv[] = { "/bin/true", NULL };
	struct run_launch launch = { .argv = argv, .cwd = "/" };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(run_launch_release) struct run_launch again = { 0 };

	(void)state;
	run_launch_format(&launch, &text);
	assert_int_equal(parse_launch(text.data, text.size, &again), 0);
	assert_non_null(again.env);
	assert_null(again.env[0]);
	assert_null(again.cgroup);
}

/* ---- the command of another user ---- */

static void format_launch_as(struct strbuf *to)
{
	static char *argv[] = { "/bin/true", NULL };
	gid_t groups[] = { 100, 27 };
	struct identity as = { .uid = 1001, .gid = 100, .groups = groups, .group_count = 2 };
	struct run_launch launch = {
		.argv = argv,
		.cwd = "w",
		.memory_max = 5,
		.pids_max = 6,
		.cpu_weight = 7,
		.as = &as,
	};

	assert_int_equal(run_limits_parse("core=0:9 nofile=1:2", &launch.limits), 0);
	run_launch_format(&launch, to);
}

static void launch_as_a_user_is_read_back(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT, limits = STRBUF_INIT;
	_cleanup_(run_launch_release) struct run_launch again = { 0 };

	(void)state;
	format_launch_as(&text);
	assert_int_equal(parse_launch(text.data, text.size, &again), 0);
	assert_int_equal(again.as->uid, 1001);
	assert_int_equal(again.as->gid, 100);
	assert_int_equal(again.as->group_count, 2);
	assert_int_equal(again.as->groups[1], 27);
	assert_int_equal(again.memory_max, 5);
	assert_int_equal(again.pids_max, 6);
	assert_int_equal(again.cpu_weight, 7);
	run_limits_format(&again.limits, &limits);
	assert_string_equal(limits.data, "core=0:9 nofile=1:2");
}

/* take_format() and what follows from it, as in the builds that knew no user: one supervisor of such
 * a build must not take what it would run as root. */
static int would_be_taken_before_there_were_users(const char *data, size_t size)
{
	const char *end = memchr(data, '\0', size);
	long long format;

	if (!end || strncmp(data, "format=", 7) != 0)
		return -EBADMSG;
	format = strtoll(data + 7, NULL, 10);
	if (format < 1)
		return -EBADMSG;
	return format > 1 ? -EPROTONOSUPPORT : 0;
}

static void an_older_supervisor_refuses_another_users_command(void **state)
{
	static char *argv[] = { "/bin/true", NULL };
	struct run_launch own = { .argv = argv, .cwd = "w", .memory_max = 5 };
	_cleanup_(strbuf_release) struct strbuf theirs = STRBUF_INIT, ours = STRBUF_INIT;

	(void)state;
	format_launch_as(&theirs);
	assert_int_equal(
		would_be_taken_before_there_were_users(theirs.data, theirs.size), -EPROTONOSUPPORT);
	run_launch_format(&own, &ours);
	assert_int_equal(would_be_taken_before_there_were_users(ours.data, ours.size), 0);
}

/* Whatever writes one wrongly: it is not taken for a command of the supervisor's own user. */
static void user_and_format_belong_together(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} bad[] = {
		{ BYTES("format=1\0cwd=w\0arg=x\0user=1001:100:100\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0User=1001:100:\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=1001\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=ana:ana:\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=-1:100:\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=4294967295:100:\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=1:1:\0user=x\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=1:1:\0limits=x\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=1:1:\0memory_max=-1\0") },
		{ BYTES("format=2\0cwd=w\0arg=x\0user=1:1:\0cpu_weight=10001\0") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct run_launch launch = { .limit_us = 5 };

		assert_int_equal(parse_launch(bad[i].data, bad[i].size, &launch), -EBADMSG);
		assert_int_equal(launch.limit_us, 5);
	}
}

static void the_last_user_counts_and_nothing_leaks(void **state)
{
	_cleanup_(run_launch_release) struct run_launch launch = { 0 };

	(void)state;
	assert_int_equal(
		parse_launch(BYTES("format=2\0user=1:1:1,2\0user=3:4:4\0cwd=w\0arg=x\0"), &launch),
		0);
	assert_int_equal(launch.as->uid, 3);
	assert_int_equal(launch.as->group_count, 1);
}

static void launch_of_a_hundred_thousand_entries(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(run_launch_release) struct run_launch launch = { 0 };

	(void)state;
	strbuf_add(&text, BYTES("format=1\0cwd=w\0"));
	for (int i = 0; i < 100000; i++) {
		strbuf_addf(&text, "arg=%d", i);
		strbuf_addc(&text, '\0');
	}
	assert_int_equal(parse_launch(text.data, text.size, &launch), 0);
	assert_int_equal(strv_length(launch.argv), 100000);
	assert_string_equal(launch.argv[99999], "99999");
}

static void launch_needs_a_command_and_a_directory(void **state)
{
	struct run_launch launch = { .limit_us = 77 };

	(void)state;
	assert_int_equal(parse_launch(BYTES("format=1\0arg=/bin/true\0"), &launch), -EBADMSG);
	assert_int_equal(parse_launch(BYTES("format=1\0cwd=w\0"), &launch), -EBADMSG);
	assert_int_equal(parse_launch(BYTES("format=1\0cwd=w\0env=A=1\0"), &launch), -EBADMSG);
	/* Untouched by a failure. */
	assert_int_equal(launch.limit_us, 77);
	assert_null(launch.argv);
}

static void the_last_one_counts_and_nothing_leaks(void **state)
{
	_cleanup_(run_launch_release) struct run_launch launch = { 0 };
	_cleanup_(run_status_release) struct run_status status = { 0 };

	(void)state;
	assert_int_equal(
		parse_launch(BYTES("format=1\0cwd=a\0cgroup=c\0cwd=b\0cgroup=d\0arg=x\0"), &launch),
		0);
	assert_string_equal(launch.cwd, "b");
	assert_string_equal(launch.cgroup, "d");
	assert_int_equal(
		parse_status(BYTES("format=1\0cgroup=c\0supervisor_pid=1\0cgroup=d\0"), &status),
		0);
	assert_string_equal(status.cgroup, "d");
}

static void a_released_launch_is_empty(void **state)
{
	struct run_launch launch = { 0 };

	(void)state;
	assert_int_equal(parse_launch(BYTES("format=1\0cwd=a\0arg=x\0"), &launch), 0);
	run_launch_release(&launch);
	assert_null(launch.argv);
	run_launch_release(&launch);
}

/* ---- what all records have in common ---- */

static void what_is_no_record_is_refused(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} bad[] = {
		{ BYTES("") },
		{ BYTES("\0") },
		{ BYTES("\0\0\0") },
		{ BYTES("format=1") },
		{ BYTES("format=") },
		{ BYTES("format=\0") },
		{ BYTES("format=0\0why=1\0") },
		{ BYTES("format=-1\0why=1\0") },
		{ BYTES("format=1x\0why=1\0") },
		{ BYTES("format=99999999999999999999\0why=1\0") },
		{ BYTES("Format=1\0why=1\0") },
		{ BYTES("forma=1\0why=1\0") },
		{ BYTES("formats=1\0why=1\0") },
		{ BYTES("why=1\0format=1\0") },
		{ BYTES("format=1\0why=1") },
		{ BYTES("format=1\0why\0") },
		{ BYTES("format=1\0\0why=1\0") },
		{ BYTES("format=1\0why=1\0rest") },
		{ BYTES("format=1\0why=1\0\0") },
		{ BYTES("format=1\0why=\0") },
		{ BYTES("format=1\0why=1 \0") },
		{ BYTES("format=1\0why=0x1\0") },
		{ BYTES("format=1\0why=99999999999999999999\0") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct run_stop stop = { .grace_us = 5 };
		struct run_status status;
		struct run_exit exit;
		struct run_launch launch;

		assert_int_equal(parse_stop(bad[i].data, bad[i].size, &stop), -EBADMSG);
		assert_int_equal(stop.grace_us, 5);
		assert_int_equal(parse_status(bad[i].data, bad[i].size, &status), -EBADMSG);
		assert_int_equal(parse_exit(bad[i].data, bad[i].size, &exit), -EBADMSG);
		assert_int_equal(parse_launch(bad[i].data, bad[i].size, &launch), -EBADMSG);
	}
}

/* Of a newer format nothing else is looked at: it may look like anything. */
static void what_a_newer_build_wrote_is_told_apart(void **state)
{
	static const struct {
		const char *data;
		size_t size;
	} newer[] = {
		{ BYTES("format=3\0") },
		{ BYTES("format=3\0why=1\0supervisor_pid=1\0user=1:1:\0cwd=w\0arg=x\0end=\0") },
		{ BYTES("format=9223372036854775807\0{}") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(newer); i++) {
		struct run_stop stop = { .grace_us = 5 };
		struct run_status status = { .child_pid = 5 };
		struct run_exit exit = { .signal = 5 };
		struct run_launch launch = { .limit_us = 5 };

		assert_int_equal(parse_stop(newer[i].data, newer[i].size, &stop), -EPROTONOSUPPORT);
		assert_int_equal(
			parse_status(newer[i].data, newer[i].size, &status), -EPROTONOSUPPORT);
		assert_int_equal(parse_exit(newer[i].data, newer[i].size, &exit), -EPROTONOSUPPORT);
		assert_int_equal(
			parse_launch(newer[i].data, newer[i].size, &launch), -EPROTONOSUPPORT);
		assert_true(stop.grace_us == 5 && status.child_pid == 5 && exit.signal == 5 &&
			    launch.limit_us == 5);
	}
}

static void unknown_keys_are_skipped(void **state)
{
	struct run_stop stop;

	(void)state;
	assert_int_equal(
		parse_stop(BYTES("format=1\0whyever=x\0=\0=y\0wh=9\0why=2\0new=\n\0grace_us=3\0"),
			&stop),
		0);
	assert_int_equal(stop.why, RUN_STOP_CANCEL);
	assert_int_equal(stop.grace_us, 3);
}

static void every_prefix_of_a_record_is_safe(void **state)
{
	struct run_exit exit = { .exit_code = 3, .start_us = 1, .wall_us = INT64_MAX };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	run_exit_format(&exit, &text);
	for (size_t size = 0; size < text.size; size++)
		assert_int_equal(parse_exit(text.data, size, &exit), -EBADMSG);
	assert_int_equal(parse_exit(text.data, text.size, &exit), 0);
}

/* ---- status ---- */

static void status_is_read_back(void **state)
{
	struct run_status status = {
		.supervisor_pid = INT_MAX,
		.child_pid = 7,
		.start_us = INT64_MAX,
		.boot_id = BOOT,
		.cgroup = "/sys/fs/cgroup/amlagent/r_1",
	};
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(run_status_release) struct run_status again = { 0 };

	(void)state;
	run_status_format(&status, &text);
	assert_int_equal(parse_status(text.data, text.size, &again), 0);
	assert_int_equal(again.supervisor_pid, INT_MAX);
	assert_int_equal(again.child_pid, 7);
	assert_int_equal(again.start_us, INT64_MAX);
	assert_string_equal(again.boot_id, BOOT);
	assert_string_equal(again.cgroup, "/sys/fs/cgroup/amlagent/r_1");
	run_status_release(&again);
	assert_null(again.cgroup);
}

static void pids_that_would_mean_something_else_are_refused(void **state)
{
	static const char *const pids[] = { "0", "-1", "2147483648", "9999999999" };
	struct run_status status;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

		strbuf_add(&text, BYTES("format=1\0"));
		strbuf_addf(&text, "supervisor_pid=%s", pids[i]);
		strbuf_addc(&text, '\0');
		assert_int_equal(parse_status(text.data, text.size, &status), -EBADMSG);
	}
	assert_int_equal(parse_status(BYTES("format=1\0child_pid=1\0"), &status), -EBADMSG);
	assert_int_equal(parse_status(BYTES("format=1\0supervisor_pid=1\0child_pid=-5\0"), &status),
		-EBADMSG);
}

static void a_boot_id_that_does_not_fit_is_refused(void **state)
{
	struct run_status status;

	(void)state;
	assert_int_equal(
		parse_status(BYTES("format=1\0supervisor_pid=1\0boot_id=" BOOT "\0"), &status), 0);
	assert_string_equal(status.boot_id, BOOT);
	assert_int_equal(
		parse_status(BYTES("format=1\0supervisor_pid=1\0boot_id=" BOOT "x\0"), &status),
		-EBADMSG);
	assert_int_equal(parse_status(BYTES("format=1\0supervisor_pid=1\0"), &status), 0);
	assert_string_equal(status.boot_id, "");
}

/* ---- stop ---- */

static void stop_is_read_back(void **state)
{
	(void)state;
	for (int why = RUN_STOP_LIMIT; why < RUN_STOP_WHY_COUNT; why++) {
		struct run_stop stop = { (enum run_stop_why)why, INT64_MAX };
		_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
		struct run_stop again;

		run_stop_format(&stop, &text);
		assert_int_equal(parse_stop(text.data, text.size, &again), 0);
		assert_int_equal(again.why, why);
		assert_int_equal(again.grace_us, INT64_MAX);
	}
}

static void a_stop_needs_a_reason_that_exists(void **state)
{
	struct run_stop stop;

	(void)state;
	assert_int_equal(parse_stop(BYTES("format=1\0grace_us=1\0"), &stop), -EBADMSG);
	assert_int_equal(parse_stop(BYTES("format=1\0why=0\0"), &stop), -EBADMSG);
	assert_int_equal(parse_stop(BYTES("format=1\0why=4\0"), &stop), -EBADMSG);
	assert_int_equal(parse_stop(BYTES("format=1\0why=1\0grace_us=-1\0"), &stop), -EBADMSG);
}

/* ---- exit ---- */

static void exit_is_read_back(void **state)
{
	const struct run_exit exit = { RUN_STOP_SHUTDOWN, -1, 64, 2, true, INT_MAX, 1, 2, 3, 4, 5,
		6, 7, INT64_MAX, true, 8, 9, "memory pids cpu" };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct run_exit again;

	(void)state;
	/* The supervisor keeps it in 4096 bytes. */
	run_exit_format(&exit, &text);
	assert_in_range(text.size, 1, 2048);
	memset(&again, 0xff, sizeof(again));
	assert_int_equal(parse_exit(text.data, text.size, &again), 0);
	assert_int_equal(again.stopped, exit.stopped);
	assert_int_equal(again.exit_code, -1);
	assert_int_equal(again.signal, 64);
	assert_int_equal(again.exec_errno, 2);
	assert_true(again.oom);
	assert_int_equal(again.leftovers, INT_MAX);
	assert_int_equal(again.start_us, 1);
	assert_int_equal(again.end_us, 2);
	assert_int_equal(again.gone_us, 3);
	assert_int_equal(again.stop_us, 4);
	assert_int_equal(again.wall_us, 5);
	assert_int_equal(again.user_us, 6);
	assert_int_equal(again.system_us, 7);
	assert_int_equal(again.peak_bytes, INT64_MAX);
	assert_true(again.peak_of_all);
	assert_int_equal(again.oom_kills, 8);
	assert_int_equal(again.disk_free_bytes, 9);
	assert_string_equal(again.unenforced, "memory pids cpu");
}

static void an_exit_status_is_not_invented(void **state)
{
	struct run_exit exit;

	(void)state;
	/* Absent is not 0. */
	assert_int_equal(parse_exit(BYTES("format=1\0end=\0"), &exit), 0);
	assert_int_equal(exit.exit_code, -1);
	/* As a supervisor of an older build wrote it: what it did not know is not known. */
	assert_int_equal(exit.oom_kills, -1);
	assert_int_equal(exit.disk_free_bytes, -1);
	assert_false(exit.peak_of_all);
	assert_string_equal(exit.unenforced, "");
	assert_int_equal(parse_exit(BYTES("format=1\0unenforced=0123456789012345678901234567890123"
					  "456789012345678901234567890123\0end=\0"),
				 &exit),
		-EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0exit_code=0\0"), &exit), -EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0end=\0exit_code=0\0"), &exit), -EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0exit_code=256\0end=\0"), &exit), -EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0exit_code=-2\0end=\0"), &exit), -EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0signal=129\0end=\0"), &exit), -EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0stopped=4\0end=\0"), &exit), -EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0oom=2\0end=\0"), &exit), -EBADMSG);
	assert_int_equal(parse_exit(BYTES("format=1\0oom_kills=-2\0end=\0"), &exit), -EBADMSG);
	assert_int_equal(
		parse_exit(BYTES("format=1\0disk_free_bytes=-2\0end=\0"), &exit), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(launch_is_read_back),
		cmocka_unit_test(launch_without_environment),
		cmocka_unit_test(launch_as_a_user_is_read_back),
		cmocka_unit_test(an_older_supervisor_refuses_another_users_command),
		cmocka_unit_test(user_and_format_belong_together),
		cmocka_unit_test(the_last_user_counts_and_nothing_leaks),
		cmocka_unit_test(launch_of_a_hundred_thousand_entries),
		cmocka_unit_test(launch_needs_a_command_and_a_directory),
		cmocka_unit_test(the_last_one_counts_and_nothing_leaks),
		cmocka_unit_test(a_released_launch_is_empty),
		cmocka_unit_test(what_is_no_record_is_refused),
		cmocka_unit_test(what_a_newer_build_wrote_is_told_apart),
		cmocka_unit_test(unknown_keys_are_skipped),
		cmocka_unit_test(every_prefix_of_a_record_is_safe),
		cmocka_unit_test(status_is_read_back),
		cmocka_unit_test(pids_that_would_mean_something_else_are_refused),
		cmocka_unit_test(a_boot_id_that_does_not_fit_is_refused),
		cmocka_unit_test(stop_is_read_back),
		cmocka_unit_test(a_stop_needs_a_reason_that_exists),
		cmocka_unit_test(exit_is_read_back),
		cmocka_unit_test(an_exit_status_is_not_invented),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
