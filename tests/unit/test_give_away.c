/* SPDX-License-Identifier: MIT */
/* test_give_away - a tree that becomes a user's, and what stays others' */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "common/file.h"
#include "common/mem.h"
#include "runs/give_away.h"

#define USER 54321
#define GROUP 54399
#define DEPTH 300

static char *folder;
static int dirfd_;

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	alarm(60);
	folder = mem_printf("%s/test_give_away.XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(folder));
	dirfd_ = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0;
}

static int tear_down(void **state)
{
	(void)state;
	fd_close(dirfd_);
	tree_remove(AT_FDCWD, folder);
	free(folder);
	alarm(0);
	return 0;
}

static struct stat stat_of(const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dirfd_, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void assert_is(const char *name, uid_t uid, gid_t gid)
{
	assert_int_equal(stat_of(name).st_uid, uid);
	assert_int_equal(stat_of(name).st_gid, gid);
}

static void put(const char *name, mode_t mode)
{
	assert_int_equal(file_replace(dirfd_, name, "x", 1, 0600, FILE_NO_SYNC), 0);
	assert_int_equal(fchmodat(dirfd_, name, mode, 0), 0);
}

static int give(struct error *err)
{
	if (geteuid() != 0)
		skip();
	return give_away(dirfd_, USER, GROUP, err);
}

static void all_of_it_and_nothing_that_links_lead_to(void **state)
{
	struct error err = ERROR_INIT;
	struct stat before, after;

	(void)state;
	assert_int_equal(mkdirat(dirfd_, "a", 0555), 0);
	put("a/file", 0444);
	put("program", 06755);
	assert_int_equal(symlinkat("/etc", dirfd_, "to-folder"), 0);
	assert_int_equal(symlinkat("/etc/passwd", dirfd_, "to-file"), 0);
	assert_int_equal(mkfifoat(dirfd_, "pipe", 0600), 0);
	assert_int_equal(stat("/etc/passwd", &before), 0);
	assert_int_equal(give(&err), 0);
	assert_is(".", USER, GROUP);
	assert_is("a", USER, GROUP);
	assert_is("a/file", USER, GROUP);
	assert_is("pipe", USER, GROUP);
	assert_is("to-folder", USER, GROUP);
	assert_is("to-file", USER, GROUP);
	assert_int_equal(stat_of("a").st_mode & 07777, 0555);
	assert_int_equal(stat_of("a/file").st_mode & 07777, 0444);
	assert_int_equal(stat_of("program").st_mode & 07777, 0755);
	assert_int_equal(stat("/etc/passwd", &after), 0);
	assert_true(
		before.st_uid == after.st_uid && before.st_ctim.tv_nsec == after.st_ctim.tv_nsec);
}

static void folders_with_such_bits_are_refused(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(mkdirat(dirfd_, "a", 0700), 0);
	assert_int_equal(fchmodat(dirfd_, "a", 02755, 0), 0);
	assert_int_equal(give(&err), -EPERM);
	assert_non_null(strstr(err.message, "\"a\""));
	/* The folder itself is the last: nobody else can have been in it. */
	assert_is(".", geteuid(), getegid());
}

/* Who nests them deeply is not to look like a machine without descriptors. */
static void deep_trees_with_few_descriptors(void **state)
{
	_cleanup_(closep) int fd = dup(dirfd_);
	struct rlimit enough, few;
	struct error err = ERROR_INIT;
	int r;

	(void)state;
	for (int i = 0; i < DEPTH; i++) {
		int below;

		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		below = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
	few = (struct rlimit){ DEPTH - 20, enough.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = give(&err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
	assert_int_equal(r, -ELOOP);
	assert_int_equal(give(&err), 0);
	assert_is("d/d/d", USER, GROUP);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_of_it_and_nothing_that_links_lead_to),
		TEST(folders_with_such_bits_are_refused),
		TEST(deep_trees_with_few_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
