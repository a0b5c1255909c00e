/* SPDX-License-Identifier: MIT */
/*
 * test_source - a folder with our own rights and with a user's: the same answers, and no more than his
 */
#include <unistd.h>

#include "snapshot_fixture.h"

#include "capture/collect.h"
#include "capture/user_files.h"
#include "capture/user_helper.h"
#include "common/run_dir.h"

#define HIS_UID 61234
#define HIS_GID 61234
#define HIS_SECOND_UID 61235

static const struct identity him = { .uid = HIS_UID, .gid = HIS_GID };
static const struct identity another = { .uid = HIS_SECOND_UID, .gid = HIS_GID };

/* The fixture's folder, his. As root alone: nobody else can become somebody. */
static int setup(void **state)
{
	struct fixture *f;

	if (geteuid() != 0)
		return 0;
	f = NEW(struct fixture);
	fixture_init(f);
	assert_int_equal(chmod(f->dir, 0711), 0);
	assert_int_equal(chown(f->source, HIS_UID, HIS_GID), 0);
	assert_int_equal(chmod(f->source, 0700), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (!f)
		return 0;
	fixture_release(f);
	free(f);
	return 0;
}

#define SKIP_UNLESS_ROOT(state) \
	do { \
		if (!*(state)) \
			skip(); \
	} while (0)

static void put_his(
	const struct fixture *f, const char *path, const char *text, uid_t uid, mode_t mode)
{
	int fd = openat(f->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchown(fd, uid, HIS_GID), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void fill(const struct fixture *f)
{
	assert_int_equal(mkdirat(f->fd, "sub", 0700), 0);
	assert_int_equal(fchownat(f->fd, "sub", HIS_UID, HIS_GID, 0), 0);
	put_his(f, "train.py", "print(1)\n", HIS_UID, 0600);
	put_his(f, "sub/data", "1 2 3\n", HIS_UID, 0640);
	put_his(f, "sub/ignored.log", "x", HIS_UID, 0600);
	put_his(f, "sub/.gitignore", "*.log\n", HIS_UID, 0600);
	assert_int_equal(symlinkat("sub/data", f->fd, "link"), 0);
	assert_int_equal(symlinkat("/etc/hostname", f->fd, "out"), 0);
	assert_int_equal(mkfifoat(f->fd, "pipe", 0600), 0);
}

static void both_ways_give_the_same_snapshot_and_warnings(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strv_freep) char **warnings = NULL;
	struct digest ours;
	size_t count = 0;

	SKIP_UNLESS_ROOT(state);
	fill(f);
	assert_int_equal(try_take(f), 0);
	ours = f->snapshot.id;
	warnings = strv_copy(f->snapshot.warnings);
	f->as = &him;
	assert_int_equal(try_take(f), 0);
	assert_memory_equal(&ours, &f->snapshot.id, sizeof(ours));
	assert_int_equal(f->snapshot.files_read, 3); /* root's index is not his */
	for (; warnings && warnings[count]; count++)
		assert_string_equal(warnings[count], f->snapshot.warnings[count]);
	assert_int_equal(count, 2);
	assert_null(f->snapshot.warnings[count]);
}

static void an_unchanged_folder_is_not_read_again(void **state)
{
	struct fixture *f = *state;
	struct timespec tick = { .tv_nsec = 50000000 };

	SKIP_UNLESS_ROOT(state);
	fill(f);
	nanosleep(&tick, NULL); /* the stamps' own grain: file_stamp.h */
	f->as = &him;
	assert_int_equal(try_take(f), 0);
	assert_int_equal(try_take(f), 0);
	assert_int_equal(f->snapshot.files_read, 0);
}

static void what_one_user_has_read_another_has_not(void **state)
{
	struct fixture *f = *state;
	struct timespec tick = { .tv_nsec = 50000000 };

	SKIP_UNLESS_ROOT(state);
	put_his(f, "open", "for all", HIS_UID, 0644);
	assert_int_equal(chmod(f->source, 0755), 0);
	nanosleep(&tick, NULL);
	f->as = &him;
	assert_int_equal(try_take(f), 0);
	f->as = &another;
	assert_int_equal(try_take(f), 0);
	assert_int_equal(f->snapshot.files_read, 1);
}

static void a_file_that_he_cannot_read_is_an_error_that_names_it(void **state)
{
	struct fixture *f = *state;

	SKIP_UNLESS_ROOT(state);
	put_his(f, "root's", "secret", 0, 0600);
	f->as = &him;
	assert_int_equal(try_take(f), -EACCES);
	assert_string_equal(f->err.target, "root's");
	assert_non_null(strstr(f->err.message, "no permission to read"));
}

static void a_folder_that_he_cannot_enter_is_an_error(void **state)
{
	struct fixture *f = *state;

	SKIP_UNLESS_ROOT(state);
	f->as = &another;
	assert_int_equal(try_take(f), -EACCES);
	assert_string_equal(f->err.target, "source_directory");
	f->as = &him;
	assert_int_equal(mkdirat(f->fd, "closed", 0700), 0);
	assert_int_equal(try_take(f), -EACCES);
	assert_string_equal(f->err.target, "closed");
}

static void a_missing_folder_and_a_file_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct source source = SOURCE_INIT;
	_cleanup_(freep) char *file = NULL;
	struct error err = ERROR_INIT;

	SKIP_UNLESS_ROOT(state);
	assert_int_equal(source_open(&him, "/nowhere/at/all", &source, &err), -ENOENT);
	put_his(f, "file", "", HIS_UID, 0600);
	file = path_join(f->source, "file");
	assert_int_equal(source_open(&him, file, &source, NULL), -ENOTDIR);
	assert_int_equal(source_open(&him, "", &source, NULL), -EINVAL);
}

static void his_links_and_pipes_are_not_opened(void **state)
{
	struct fixture *f = *state;
	_cleanup_(source_close) struct source source = SOURCE_INIT;
	struct file_stamp stamp;
	mode_t mode;

	SKIP_UNLESS_ROOT(state);
	fill(f);
	assert_int_equal(source_open(&him, f->source, &source, NULL), 0);
	assert_int_equal(source_open_file(&source, NULL, "link", &stamp), -ELOOP);
	assert_int_equal(source_open_file(&source, NULL, "pipe", &stamp), -ENXIO);
	assert_int_equal(source_open_file(&source, NULL, "sub", &stamp), -ENXIO);
	assert_int_equal(source_open_file(&source, NULL, "../source/train.py", &stamp), -EINVAL);
	assert_int_equal(source_open_file(&source, NULL, "/etc/passwd", &stamp), -EINVAL);
	assert_int_equal(source_look(&source, "link", &mode), 0);
	assert_true(S_ISREG(mode));
	assert_int_equal(source_look(&source, "nothing", &mode), -ENOENT);
}

/* ---- a helper that is not ours ---- */

static char *write_helper(const struct fixture *f, const char *body)
{
	char *path = path_join(f->dir, "helper");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, body, strlen(body)), 0);
	close(fd);
	return path;
}

static void a_helper_that_talks_nonsense_or_leaves_is_an_error_and_no_more(void **state)
{
	static const char *const bodies[] = {
		"#!/bin/sh\nexit 0\n",
		"#!/bin/sh\nprintf 'nonsense that is longer than a reply' >&0\n",
		"#!/bin/sh\nhead -c 1000000 /dev/zero >&0\n",
		"#!/bin/sh\nhead -c 1000000 /dev/urandom >&0\n",
	};
	struct fixture *f = *state;
	_cleanup_(freep) char *real = NULL;

	SKIP_UNLESS_ROOT(state);
	real = mem_strdup(user_helper_path());
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		_cleanup_(freep) char *path = write_helper(f, bodies[i]);

		user_helper_use(path);
		f->as = &him;
		assert_true(try_take(f) < 0);
		assert_true(f->err.message[0]);
	}
	user_helper_use(real);
}

/* ---- outputs ---- */

static int run_dirfd(const struct fixture *f)
{
	int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void make_outputs(struct fixture *f)
{
	_cleanup_(freep) char *work = path_join(f->dir, RUN_DIR_WORK);

	assert_int_equal(rename(f->source, work), 0);
	free(f->source);
	f->source = TAKE(work);
	assert_int_equal(mkdirat(f->fd, "outputs", 0700), 0);
	assert_int_equal(fchownat(f->fd, "outputs", HIS_UID, HIS_GID, 0), 0);
	put_his(f, "outputs/model", "weights", HIS_UID, 0600);
	put_his(f, "outputs/forbidden", "his all the same", HIS_UID, 0000);
	put_his(f, "outputs/foreign", "root's secret", 0, 0600);
	assert_int_equal(symlinkat("/etc/shadow", f->fd, "outputs/shadow"), 0);
	assert_int_equal(mkfifoat(f->fd, "outputs/pipe", 0600), 0);
}

static void his_outputs_are_kept_and_nobody_elses(void **state)
{
	struct fixture *f = *state;
	struct collect_options options = { .as = &him };
	struct artifacts list = { 0 };
	_cleanup_(strv_freep) char **warnings = NULL;

	SKIP_UNLESS_ROOT(state);
	make_outputs(f);
	options.run_dir = f->dir;
	options.run_dirfd = run_dirfd(f);
	assert_int_equal(collect_outputs(f->store, &options, &list, &warnings, &f->err), 0);
	assert_int_equal(list.count, 2);
	assert_non_null(artifacts_find(&list, "outputs/model"));
	assert_non_null(artifacts_find(&list, "outputs/forbidden"));
	assert_string_equal(warnings[2], "not kept: outputs/foreign (its user cannot read it)");
	assert_null(warnings[3]);
	artifacts_release(&list);
	close(options.run_dirfd);
}

static void live_files_are_listed_and_opened_as_him(void **state)
{
	struct fixture *f = *state;
	struct collect_options options = { .as = &him };
	struct artifacts list = { 0 };
	int fd = -EBADF;

	SKIP_UNLESS_ROOT(state);
	make_outputs(f);
	assert_int_equal(mkdirat(f->fd, "logs", 0700), 0);
	assert_int_equal(fchownat(f->fd, "logs", HIS_UID, HIS_GID, 0), 0);
	put_his(f, "logs/a", "line\n", HIS_UID, 0600);
	options.run_dir = f->dir;
	options.run_dirfd = run_dirfd(f);
	assert_int_equal(collect_list_live(&options, &list), 0);
	assert_int_equal(list.count, 1);
	assert_string_equal(list.items[0].path, "logs/a");
	assert_int_equal(collect_open_live(&options, "logs/a", &fd), 0);
	close(fd);
	assert_int_equal(collect_open_live(&options, "outputs/shadow", &fd), -ENOENT);
	assert_int_equal(collect_open_live(&options, "outputs/foreign", &fd), -EACCES);
	artifacts_release(&list);
	close(options.run_dirfd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(both_ways_give_the_same_snapshot_and_warnings),
		TEST(an_unchanged_folder_is_not_read_again),
		TEST(what_one_user_has_read_another_has_not),
		TEST(a_file_that_he_cannot_read_is_an_error_that_names_it),
		TEST(a_folder_that_he_cannot_enter_is_an_error),
		TEST(a_missing_folder_and_a_file_are_told_apart),
		TEST(his_links_and_pipes_are_not_opened),
		TEST(a_helper_that_talks_nonsense_or_leaves_is_an_error_and_no_more),
		TEST(his_outputs_are_kept_and_nobody_elses),
		TEST(live_files_are_listed_and_opened_as_him),
	};

	_cleanup_(freep) char *helper = path_join(
		getenv("AMLAGENT_BUILD_DIR") ? getenv("AMLAGENT_BUILD_DIR") : ".", USER_HELPER);

	user_helper_use(helper);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
