/* SPDX-License-Identifier: MIT */
/* test_run_cgroup - limits written to files that look like the kernel's, and what is said of those that
 * are not there */
#include <fcntl.h>
#include <unistd.h>

#include "test.h"

#include "common/file.h"
#include "common/mem.h"
#include "supervisor/run_cgroup.h"

static char *folder;
static struct run_cgroup cgroup;

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	alarm(60);
	folder = mem_printf("%s/test_run_cgroup.XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(folder));
	cgroup = (struct run_cgroup)RUN_CGROUP_INIT;
	cgroup.fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return cgroup.fd < 0;
}

static int tear_down(void **state)
{
	(void)state;
	fd_close(cgroup.fd);
	tree_remove(AT_FDCWD, folder);
	free(folder);
	alarm(0);
	return 0;
}

static void provide(const char *name)
{
	assert_int_equal(file_replace(cgroup.fd, name, "", 0, 0600, FILE_NO_SYNC), 0);
}

static void assert_holds(const char *name, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(file_read(cgroup.fd, name, 100, &text), 0);
	assert_string_equal(text.size ? text.data : "", expected);
}

static void assert_unenforced(const struct run_launch *launch, const char *expected)
{
	char unenforced[RUN_UNENFORCED_SIZE] = "before";

	run_cgroup_limit(&cgroup, launch, unenforced);
	assert_string_equal(unenforced, expected);
}

static const struct run_launch all = { .memory_max = 2147483648, .pids_max = 7, .cpu_weight = 400 };

static void what_is_asked_for_is_written(void **state)
{
	(void)state;
	provide("memory.max");
	provide("memory.swap.max");
	provide("memory.oom.group");
	provide("pids.max");
	provide("cpu.weight");
	assert_unenforced(&all, "");
	assert_holds("memory.max", "2147483648");
	assert_holds("memory.swap.max", "0");
	assert_holds("memory.oom.group", "1");
	assert_holds("pids.max", "7");
	assert_holds("cpu.weight", "400");
}

static void what_is_not_asked_for_is_not_touched(void **state)
{
	static const struct run_launch nothing = { 0 };
	static const struct run_launch one_cpu = { .cpu_weight = RUN_CPU_WEIGHT_USUAL };

	(void)state;
	provide("memory.max");
	provide("memory.swap.max");
	provide("pids.max");
	assert_unenforced(&nothing, "");
	/* What there is without a controller. */
	assert_unenforced(&one_cpu, "");
	assert_holds("memory.max", "");
	assert_holds("memory.swap.max", "");
	assert_holds("pids.max", "");
}

static void what_is_not_to_be_had_is_named(void **state)
{
	(void)state;
	assert_unenforced(&all, "memory pids cpu");
	provide("pids.max");
	assert_unenforced(&all, "memory cpu");
	/* A kernel without swap, or one that is older. */
	provide("memory.max");
	assert_unenforced(&all, "cpu");
	fd_close(cgroup.fd);
	cgroup.fd = -EBADF;
	assert_unenforced(&all, "memory pids cpu");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_asked_for_is_written),
		TEST(what_is_not_asked_for_is_not_touched),
		TEST(what_is_not_to_be_had_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
