/* SPDX-License-Identifier: MIT */
/* test_unowed - which folders are owed to nobody, and in which order they go */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/unowed.h"

static char dir[64];
static int runs = -EBADF;

static int set_up(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/unowed.XXXXXX");
	assert_non_null(mkdtemp(dir));
	runs = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(runs >= 0);
	assert_int_equal(mkdirat(runs, "run", 0700), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	runs = fd_close(runs);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
	return 0;
}

static void put(const char *name)
{
	assert_int_equal(file_replace(runs, name, "x", 1, 0600, FILE_NO_SYNC), 0);
}

static void mark(void)
{
	_cleanup_(freep) char *path = path_join(dir, "run");

	assert_int_equal(unowed_mark(path), 0);
}

static void only_the_mark_or_nothing_at_all_says_so(void **state)
{
	_cleanup_(freep) char *path = path_join(dir, "run");

	(void)state;
	assert_int_equal(unowed_look(runs, "run"), 1);
	put("run/environment");
	assert_int_equal(unowed_look(runs, "run"), 0);
	mark();
	mark();
	assert_int_equal(unowed_look(runs, "run"), 1);
	assert_int_equal(unowed_unmark(path), 0);
	assert_int_equal(unowed_unmark(path), 0);
	assert_int_equal(unowed_look(runs, "run"), 0);
}

static void the_mark_becomes_what_the_run_needs(void **state)
{
	_cleanup_(freep) char *run = path_join(dir, "run");
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	assert_int_equal(unowed_become(run, "file"), 0);
	assert_int_equal(faccessat(runs, "run/file", F_OK, 0), -1);
	put("run/unowed");
	assert_int_equal(unowed_become(run, "file"), 0);
	assert_int_equal(faccessat(runs, "run/file", F_OK, 0), 0);
	assert_int_equal(unowed_look(runs, "run"), 0);
	/* A second mark is a delete's, and nothing but one. */
	assert_int_equal(file_replace(runs, "run/file", "kept", 4, 0600, FILE_NO_SYNC), 0);
	mark();
	assert_int_equal(unowed_become(run, "file"), 0);
	assert_int_equal(unowed_look(runs, "run"), 0);
	assert_int_equal(file_read(runs, "run/file", 16, &text), 0);
	assert_string_equal(text.data, "kept");
}

static void what_is_no_folder_says_nothing(void **state)
{
	(void)state;
	put("file");
	assert_int_equal(symlinkat("run", runs, "link"), 0);
	assert_int_equal(unowed_look(runs, "absent"), -ENOENT);
	assert_int_equal(unowed_look(runs, "file"), -ENOTDIR);
	assert_int_equal(unowed_look(runs, "link"), -ENOTDIR);
}

/* ---- beside a daemon that goes on ---- */

struct other {
	pthread_t thread;
	void (*round)(const char *path);
	char *path;
	atomic_bool done;
	atomic_uint rounds;
};

static void *go_round(void *data)
{
	struct other *other = data;

	while (!other->done) {
		other->round(other->path);
		other->rounds++;
	}
	return NULL;
}

static void other_begin(struct other *other, void (*round)(const char *path))
{
	*other = (struct other){ .round = round, .path = path_join(dir, "other") };
	assert_int_equal(pthread_create(&other->thread, NULL, go_round, other), 0);
}

static void other_end(struct other *other)
{
	other->done = true;
	pthread_join(other->thread, NULL);
	free(other->path);
}

static void touch(const char *folder, const char *name)
{
	_cleanup_(freep) char *path = path_join(folder, name);

	fd_close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void submit_and_refuse(const char *path)
{
	mkdir(path, 0700);
	touch(path, UNOWED_MARK);
	touch(path, "limits");
	(void)unowed_remove(path);
}

static void a_submission_under_way_is_never_taken_for_a_run(void **state)
{
	struct other other;
	unsigned seen = 0;

	(void)state;
	other_begin(&other, submit_and_refuse);
	while (seen < 300 || other.rounds < 300) {
		int r = unowed_look(runs, "other");

		seen += r == 1;
		if (r != 1 && r != -ENOENT) {
			other_end(&other);
			fail_msg("after %u rounds: %d", other.rounds, r);
		}
	}
	other_end(&other);
}

static void come_and_go(const char *path)
{
	mkdir(path, 0700);
	rmdir(path);
}

/* A delete that comes while the folder of a run that has just ended is cleaned up. */
static void a_folder_that_goes_needs_no_mark(void **state)
{
	_cleanup_(freep) char *path = path_join(dir, "other");
	struct other other;

	(void)state;
	assert_int_equal(unowed_mark(path), 0);
	other_begin(&other, come_and_go);
	while (other.rounds < 2000) {
		int r = unowed_mark(path);

		if (r < 0) {
			other_end(&other);
			fail_msg("after %u rounds: %d", other.rounds, r);
		}
		(void)unowed_unmark(path);
	}
	other_end(&other);
}

/* Folder after folder goes, whatever another does with it at the same time. */
static void remove_beside(void (*round)(const char *path), bool marked)
{
	_cleanup_(freep) char *path = path_join(dir, "other");
	struct other other;

	other_begin(&other, round);
	for (int i = 0; i < 300 || !other.rounds; i++) {
		int r;

		mkdir(path, 0700);
		touch(path, "limits");
		if (marked)
			touch(path, UNOWED_MARK);
		r = unowed_remove(path);
		if (r < 0 || access(path, F_OK) == 0) {
			other_end(&other);
			fail_msg("after %d folders: %d", i, r);
		}
	}
	other_end(&other);
}

static void mark_again(const char *path)
{
	(void)unowed_mark(path);
}

/* The clean-up of a run that has just ended, beside its delete. */
static void a_mark_that_comes_meanwhile_is_removed_too(void **state)
{
	(void)state;
	remove_beside(mark_again, false);
}

static void remove_too(const char *path)
{
	(void)unowed_remove(path);
}

static void two_may_remove_it_at_once(void **state)
{
	(void)state;
	remove_beside(remove_too, true);
}

static void everything_can_be_removed(void **state)
{
	static const char *const names[] = { "run", "file", "link", "absent" };

	(void)state;
	put("file");
	put("run/file");
	mark();
	assert_int_equal(symlinkat("/etc", runs, "link"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *path = path_join(dir, names[i]);

		assert_int_equal(unowed_remove(path), 0);
		assert_int_equal(faccessat(runs, names[i], F_OK, AT_SYMLINK_NOFOLLOW), -1);
	}
	assert_int_equal(access("/etc", F_OK), 0);
}

static int set_immutable(const char *path, bool immutable)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int flags = immutable ? FS_IMMUTABLE_FL : 0;

	return ioctl(fd, FS_IOC_SETFLAGS, &flags) < 0 ? -errno : 0;
}

/* Else a crash, or an error, in between would leave the half of a folder that is nobody's. */
static void the_mark_goes_last(void **state)
{
	_cleanup_(freep) char *path = path_join(dir, "run");
	_cleanup_(freep) char *fixed = path_join(dir, "run/work");
	int r;

	(void)state;
	if (geteuid() != 0) /* root alone can make what it cannot remove */
		skip();
	assert_int_equal(mkdirat(runs, "run/work", 0700), 0);
	mark();
	if (set_immutable(fixed, true) < 0)
		skip();
	r = unowed_remove(path);
	assert_int_equal(set_immutable(fixed, false), 0);
	assert_int_equal(r, -EPERM);
	assert_int_equal(faccessat(runs, "run/" UNOWED_MARK, F_OK, 0), 0);
	assert_int_equal(unowed_remove(path), 0);
}

/* What can be opened again in a while is no reason to forget the order. */
static void one_that_cannot_be_opened_stays(void **state)
{
	_cleanup_(freep) char *path = path_join(dir, "run");
	struct rlimit limit, none;
	int r;

	(void)state;
	put("run/file");
	mark();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ .rlim_max = limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	r = unowed_remove(path);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(faccessat(runs, "run/file", F_OK, 0), 0);
	assert_int_equal(unowed_look(runs, "run"), 1);
}

static void one_without_permissions_is_given_some(void **state)
{
	_cleanup_(freep) char *path = path_join(dir, "run");

	(void)state;
	put("run/file");
	assert_int_equal(chmod(path, 0), 0);
	assert_int_equal(unowed_remove(path), 0);
	assert_int_equal(faccessat(runs, "run", F_OK, 0), -1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			only_the_mark_or_nothing_at_all_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			the_mark_becomes_what_the_run_needs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_folder_says_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_submission_under_way_is_never_taken_for_a_run, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_folder_that_goes_needs_no_mark, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_mark_that_comes_meanwhile_is_removed_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(two_may_remove_it_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_cannot_be_opened_stays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			one_without_permissions_is_given_some, set_up, tear_down),
		cmocka_unit_test_setup_teardown(everything_can_be_removed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_mark_goes_last, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
