/* SPDX-License-Identifier: MIT */
/*
 * test_cgroup - the choice of a place from any mount table; then real cgroups, where they can be made
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "common/cgroup.h"
#include "common/file.h"
#include "common/mem.h"

#define TIME_LIMIT_SECONDS 60
#define WAIT_MS 10000
#define CHILDREN 5

#define BEFORE "23 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
#define UNIFIED "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define HYBRID \
	"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n" \
	"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" \
	"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
#define PART "31 23 0:28 /docker/c1 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
#define ODD "31 23 0:28 / /a\\040b\\134c rw - cgroup2 x rw\n"

/* ---- the choice ---- */

static void the_place_is_chosen(void **state)
{
	static const struct {
		const char *mounts, *own;
		bool root;
		const char *expected;
	} cases[] = {
		{ BEFORE UNIFIED, "0::/\n", true, "/sys/fs/cgroup/amlagent" },
		{ BEFORE UNIFIED, "0::/system.slice/x.service\n", true, "/sys/fs/cgroup/amlagent" },
		{ BEFORE HYBRID, "4:memory:/m\n0::/\n", true, "/sys/fs/cgroup/unified/amlagent" },
		{ BEFORE ODD, "0::/\n", true, "/a b\\c/amlagent" },
		{ UNIFIED, "0::/user.slice/app.slice/x.scope\n", false,
			"/sys/fs/cgroup/user.slice/app.slice/amlagent" },
		{ HYBRID, "9:memory:/m\n0::/a/b\n", false, "/sys/fs/cgroup/unified/a/amlagent" },
		{ UNIFIED, "0::/a", false, "/sys/fs/cgroup/amlagent" },
		{ PART, "0::/docker/c1/inner/x\n", false, "/sys/fs/cgroup/inner/amlagent" },
		/* Nothing is beside the topmost one, or beyond what the mount shows. */
		{ UNIFIED, "0::/\n", false, NULL },
		{ PART, "0::/docker/c1\n", false, NULL },
		{ PART, "0::/docker/c10/x\n", false, NULL },
		{ PART, "0::/elsewhere/x\n", false, NULL },
		{ UNIFIED, "0::/../a/b\n", false, NULL },
		{ UNIFIED, "0::/a/b (deleted)\n", false, NULL },
		{ UNIFIED, "4:memory:/m\n", false, NULL },
		{ UNIFIED, "", false, NULL },
		{ BEFORE, "0::/a/b\n", false, NULL },
		{ BEFORE, "0::/a/b\n", true, NULL },
		{ "", "", true, NULL },
		/* The name of another mount is not a type. */
		{ "1 2 0:3 / /mnt/cgroup2 rw - ext4 cgroup2 rw\n", "0::/a/b\n", true, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *chosen =
			cgroup_choose(cases[i].mounts, cases[i].own, cases[i].root);

		if (!cases[i].expected)
			assert_null(chosen);
		else
			assert_string_equal(chosen ? chosen : "none", cases[i].expected);
	}
}

static void the_place_that_systemd_holds_is_below_the_mount(void **state)
{
	static const struct {
		const char *mounts, *expected;
	} cases[] = {
		{ BEFORE UNIFIED, "/sys/fs/cgroup/" CGROUP_DELEGATED },
		{ BEFORE HYBRID, "/sys/fs/cgroup/unified/" CGROUP_DELEGATED },
		{ BEFORE ODD, "/a b\\c/" CGROUP_DELEGATED },
		{ BEFORE, NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *chosen = cgroup_choose_delegated(cases[i].mounts);

		if (!cases[i].expected)
			assert_null(chosen);
		else
			assert_string_equal(chosen ? chosen : "none", cases[i].expected);
	}
}

static void ones_own_cgroup_is_located(void **state)
{
	static const struct {
		const char *mounts, *own, *expected;
	} cases[] = {
		{ BEFORE UNIFIED, "0::/amlagent.slice/x.service\n",
			"/sys/fs/cgroup/amlagent.slice/x.service" },
		{ BEFORE HYBRID, "9:memory:/m\n0::/a\n", "/sys/fs/cgroup/unified/a" },
		{ PART, "0::/docker/c1/inner\n", "/sys/fs/cgroup/inner" },
		/* The topmost one is nobody's own. */
		{ UNIFIED, "0::/\n", NULL },
		{ PART, "0::/docker/c1\n", NULL },
		{ PART, "0::/docker/c10/x\n", NULL },
		{ UNIFIED, "0::/../a\n", NULL },
		{ UNIFIED, "0::/a (deleted)\n", NULL },
		{ UNIFIED, "4:memory:/m\n", NULL },
		{ BEFORE, "0::/a\n", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *found = cgroup_locate_own(cases[i].mounts, cases[i].own);

		if (!cases[i].expected)
			assert_null(found);
		else
			assert_string_equal(found ? found : "none", cases[i].expected);
	}
}

static void none_is_none_and_a_wrong_path_is_an_error(void **state)
{
	static const struct {
		const char *setting;
		int error;
	} bad[] = {
		{ "some", -EINVAL },
		{ "", -EINVAL },
		{ "/nonexistent/a", -ENOENT },
		{ "/tmp/amlagent-no-cgroup", -ENOTSUP },
		{ "/", -ENOTSUP },
	};
	char *path = (char *)"x";

	(void)state;
	assert_int_equal(cgroup_find_parent(CGROUP_PARENT_NONE, &path), 0);
	assert_null(path);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		path = NULL;
		assert_int_equal(cgroup_find_parent(bad[i].setting, &path), bad[i].error);
		assert_null(path);
	}
	assert_int_equal(access("/tmp/amlagent-no-cgroup", F_OK), -1);
}

/* ---- the counters, from files that look like the kernel's ---- */

static void counters_are_read_where_they_are(void **state)
{
	char dir[] = "/tmp/amlagent-test-XXXXXX";
	_cleanup_(closep) int fd = -EBADF;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(cgroup_memory_peak(fd), -1);
	assert_int_equal(cgroup_oom_kills(fd), -1);
	file_replace(fd, "memory.peak", "123456789012\n", 13, 0600, FILE_NO_SYNC);
	file_replace(fd, "memory.events", "low 1\noom 2\noom_kill 3\noom_group_kill 4\n", 39, 0600,
		FILE_NO_SYNC);
	assert_int_equal(cgroup_memory_peak(fd), 123456789012);
	assert_int_equal(cgroup_oom_kills(fd), 3);
	file_replace(fd, "memory.peak", "max\n", 4, 0600, FILE_NO_SYNC);
	file_replace(fd, "memory.events", "oom_killed 5\n", 13, 0600, FILE_NO_SYNC);
	assert_int_equal(cgroup_memory_peak(fd), -1);
	assert_int_equal(cgroup_oom_kills(fd), -1);
	assert_int_equal(cgroup_open(dir), -ENOTSUP);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
}

/* ---- real ones ---- */

static char *parent; /* NULL: they cannot be made here */

static int find_parent(void **state)
{
	_cleanup_(freep) char *found = NULL;

	(void)state;
	alarm(TIME_LIMIT_SECONDS);
	assert_int_equal(cgroup_find_parent(CGROUP_PARENT_AUTO, &found), 0);
	if (!found)
		return 0;
	parent = mem_printf("%s/test-%d", found, (int)getpid());
	assert_int_equal(mkdir(parent, 0755), 0);
	return 0;
}

static int remove_parent(void **state)
{
	_cleanup_(freep) char *path = TAKE(parent);
	int r = path ? cgroup_remove(path) : 0;

	(void)state;
	if (path) { /* `amlagent` itself stays if others use it */
		*strrchr(path, '/') = '\0';
		(void)rmdir(path);
	}
	return r;
}

static char *need_cgroup(const char *name)
{
	if (!parent)
		skip();
	return path_join(parent, name);
}

static void move_into(int fd, const char *sub, pid_t pid)
{
	_cleanup_(freep) char *path = mem_printf("%s/cgroup.procs", sub);
	_cleanup_(closep) int file = openat(fd, path, O_WRONLY | O_CLOEXEC);

	assert_true(dprintf(file, "%d", (int)pid) > 0);
}

static pid_t start_child(int fd, const char *sub)
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(TIME_LIMIT_SECONDS);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	move_into(fd, sub, pid);
	return pid;
}

/* The kernel tells it in its own time. */
static void wait_until_empty(int watch_fd)
{
	struct pollfd poll_fd = { .fd = watch_fd, .events = POLLPRI };

	while (cgroup_watch_read(watch_fd) > 0)
		assert_int_equal(poll(&poll_fd, 1, WAIT_MS), 1);
	assert_int_equal(cgroup_watch_read(watch_fd), 0);
}

static void expect_killed(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static bool count(void *data, pid_t pid)
{
	assert_true(pid > 0);
	return ++*(int *)data < CHILDREN;
}

static void one_is_made_used_killed_and_removed(void **state)
{
	static int (*const kills[])(int fd) = { cgroup_kill, cgroup_kill_frozen };
	_cleanup_(freep) char *path = need_cgroup("one");

	(void)state;
	for (size_t way = 0; way < ARRAY_SIZE(kills); way++) {
		_cleanup_(closep) int fd = cgroup_make(path);
		_cleanup_(closep) int watch_fd = cgroup_watch(fd);
		pid_t children[CHILDREN];
		int found = 0;

		assert_true(fd >= 0 && watch_fd >= 0);
		assert_int_equal(cgroup_is_populated(fd), 0);
		assert_int_equal(mkdirat(fd, ".sub", 0755), 0);
		assert_int_equal(mkdirat(fd, ".sub/sub", 0755), 0);
		for (int i = 0; i < CHILDREN; i++)
			children[i] = start_child(fd, i % 2 ? ".sub/sub" : ".");
		assert_int_equal(cgroup_is_populated(fd), 1);
		assert_int_equal(cgroup_make(path), -EBUSY);
		assert_int_equal(cgroup_remove(path), -EBUSY);
		assert_int_equal(cgroup_each(fd, count, &found), 0);
		assert_int_equal(found, CHILDREN);
		assert_true(cgroup_has(fd, children[1]));
		assert_false(cgroup_has(fd, getpid()));
		assert_int_equal(kills[way](fd), 0);
		wait_until_empty(watch_fd);
		for (int i = 0; i < CHILDREN; i++)
			expect_killed(children[i]);
		assert_int_equal(cgroup_remove(path), 0);
		assert_int_equal(cgroup_remove(path), 0);
		assert_int_equal(cgroup_is_populated(fd), 0);
		assert_int_equal(cgroup_watch_read(watch_fd), 0);
		assert_int_equal(cgroup_open(path), -ENOENT);
	}
}

static void one_that_is_there_and_empty_is_taken(void **state)
{
	_cleanup_(freep) char *path = need_cgroup("again");
	_cleanup_(closep) int first = cgroup_make(path);
	_cleanup_(closep) int second = cgroup_make(path);

	(void)state;
	assert_true(first >= 0 && second >= 0);
	assert_int_equal(cgroup_remove(path), 0);
}

static void a_deep_one_is_removed_as_far_as_we_look(void **state)
{
	_cleanup_(freep) char *path = need_cgroup("deep");
	_cleanup_(closep) int fd = cgroup_make(path);
	char below[PATH_MAX] = "";

	(void)state;
	assert_true(fd >= 0);
	for (int i = 0; i < 100; i++) {
		strcat(below, i ? "/d" : "d");
		assert_int_equal(mkdirat(fd, below, 0755), 0);
	}
	assert_int_equal(cgroup_remove(path), 0);
	assert_int_equal(cgroup_make("/sys/fs/cgroup/nonexistent/x"), -ENOENT);
}

static void a_path_as_setting_is_made_below_one_that_exists(void **state)
{
	_cleanup_(freep) char *path = need_cgroup("set");
	_cleanup_(freep) char *found = NULL;

	(void)state;
	assert_int_equal(cgroup_find_parent(path, &found), 0);
	assert_string_equal(found, path);
	free(TAKE(found));
	assert_int_equal(cgroup_find_parent(path, &found), 0);
	assert_int_equal(cgroup_remove(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_place_is_chosen),
		cmocka_unit_test(the_place_that_systemd_holds_is_below_the_mount),
		cmocka_unit_test(ones_own_cgroup_is_located),
		cmocka_unit_test(none_is_none_and_a_wrong_path_is_an_error),
		cmocka_unit_test(counters_are_read_where_they_are),
		cmocka_unit_test(one_is_made_used_killed_and_removed),
		cmocka_unit_test(one_that_is_there_and_empty_is_taken),
		cmocka_unit_test(a_deep_one_is_removed_as_far_as_we_look),
		cmocka_unit_test(a_path_as_setting_is_made_below_one_that_exists),
	};

	return cmocka_run_group_tests(tests, find_parent, remove_parent);
}
