/* SPDX-License-Identifier: MIT */
/* test_run_folder - what a run directory says in every state that crashes and full disks leave */
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "runs/run_folder.h"

static char dir[64];
static int folder = -EBADF;
static struct run_exit record;

static int set_up(void **state)
{
	(void)state;
	alarm(60);
	strcpy(dir, "/tmp/run-folder.XXXXXX");
	assert_non_null(mkdtemp(dir));
	folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder >= 0);
	record = (struct run_exit){ .exit_code = 77 };
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	folder = fd_close(folder);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
	alarm(0);
	return 0;
}

static void put(const char *name, const void *data, size_t size)
{
	assert_int_equal(file_replace(folder, name, data, size, 0600, FILE_NO_SYNC), 0);
}

static void put_status(int64_t supervisor)
{
	struct run_status status = { .supervisor_pid = supervisor, .child_pid = 5, .start_us = 6 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	run_status_format(&status, &text);
	put(RUN_DIR_STATUS, text.data, text.size);
}

static void put_exit(int exit_code)
{
	struct run_exit exit = { .exit_code = exit_code };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	run_exit_format(&exit, &text);
	put(RUN_DIR_EXIT, text.data, text.size);
}

/* Held until the descriptor is closed. */
static int hold_lock(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = openat(folder, RUN_DIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	return fd;
}

static enum executor_found ask(void)
{
	enum executor_found found = EXECUTOR_FOUND_COUNT;

	assert_int_equal(run_folder_ask(folder, &found, &record), 0);
	return found;
}

/* ---- the questions, in their order ---- */

static void every_combination_of_lock_exit_and_status(void **state)
{
	static const enum executor_found expected[] = {
		EXECUTOR_NEVER_STARTED, EXECUTOR_LOST, /* status */
		EXECUTOR_ENDED,                        /* exit */
		EXECUTOR_ENDED,                        /* both */
	};

	(void)state;
	for (int i = 0; i < 8; i++) {
		_cleanup_(closep) int lock = -EBADF;

		tear_down(NULL);
		set_up(NULL);
		if (i & 1)
			put_status(4);
		if (i & 2)
			put_exit(3);
		lock = hold_lock();
		if (!(i & 4))
			lock = fd_close(lock); /* the file stays, nobody holds it */
		assert_int_equal(ask(), i & 4 ? EXECUTOR_LIVES : expected[i & 3]);
		assert_int_equal(record.exit_code, !(i & 4) && i & 2 ? 3 : 77);
	}
}

static void without_a_lock_s_file_nobody_lives(void **state)
{
	(void)state;
	assert_false(run_folder_is_locked(folder));
	put_status(4);
	assert_int_equal(ask(), EXECUTOR_LOST);
}

/* ---- damage, and what is newer ---- */

static void a_damaged_verdict_is_none(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
	} damages[] = { { "", 0 }, { "format=1\0exit_code=0", 20 }, { "\0\0\0\0", 4 },
		{ "format=0\0exit_code=0\0end=", 26 }, { "format=1\0exit_code=300\0end=", 28 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		put(RUN_DIR_EXIT, damages[i].bytes, damages[i].size);
		assert_int_equal(ask(), EXECUTOR_LOST);
		assert_int_equal(record.exit_code, 77);
	}
}

static void what_can_be_read_of_a_damaged_verdict_is_told(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
		const char *told;
	} damages[] = { { "", 0, "" }, { "\0\0\n\0", 4, "" },
		{ "format=1\0stopped=0\0exit_co", 26, "format=1 stopped=0 exit_co" },
		{ "x\xff\n", 3, "x\xef\xbf\xbd" } };

	(void)state;
	assert_null(run_folder_damaged_exit(folder));
	put_exit(3);
	assert_null(run_folder_damaged_exit(folder));
	for (size_t i = 0; i < ARRAY_SIZE(damages) * 2; i++) {
		bool aside = i % 2;
		_cleanup_(freep) char *told = NULL;

		put(RUN_DIR_EXIT, damages[i / 2].bytes, damages[i / 2].size);
		if (aside)
			assert_int_equal(
				renameat(folder, RUN_DIR_EXIT, folder, RUN_DIR_EXIT_DAMAGED), 0);
		told = run_folder_damaged_exit(folder);
		assert_string_equal(told, damages[i / 2].told);
	}
}

static void a_verdict_that_is_far_too_large_is_none(void **state)
{
	_cleanup_(freep) char *noise = mem_alloc(1 << 20);

	(void)state;
	put(RUN_DIR_EXIT, noise, 1 << 20);
	assert_int_equal(ask(), EXECUTOR_LOST);
}

/* There is one, whatever it says: the command has run. */
static void a_damaged_status_is_one(void **state)
{
	static const char *const damages[] = { "", "noise", "format=1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		put(RUN_DIR_STATUS, damages[i], strlen(damages[i]));
		assert_int_equal(ask(), EXECUTOR_LOST);
	}
}

static const char newer[] =
	"format=2\0supervisor_pid=4\0child_pid=5\0start_us=6\0exit_code=0\0end=";

static void what_a_newer_version_wrote_is_left_to_it(void **state)
{
	enum executor_found found = EXECUTOR_FOUND_COUNT;
	_cleanup_(closep) int lock = -EBADF;

	(void)state;
	put(RUN_DIR_STATUS, newer, sizeof(newer));
	assert_int_equal(run_folder_ask(folder, &found, &record), -EPROTONOSUPPORT);
	lock = hold_lock(); /* also one that goes on */
	assert_int_equal(run_folder_ask(folder, &found, &record), -EPROTONOSUPPORT);
	lock = fd_close(lock);
	put_status(4);
	put(RUN_DIR_EXIT, newer, sizeof(newer));
	assert_int_equal(run_folder_ask(folder, &found, &record), -EPROTONOSUPPORT);
	assert_int_equal(found, EXECUTOR_FOUND_COUNT);
	assert_int_equal(record.exit_code, 77);
}

/* ---- in doubt it lives ---- */

static void without_descriptors_nothing_is_declared_dead(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		if (i & 1)
			put_status(4);
		if (i & 2)
			put_exit(3);
		close(hold_lock());
		descriptors_are(false);
		assert_true(run_folder_is_locked(folder));
		assert_int_equal(ask(), EXECUTOR_LIVES);
		descriptors_are(true);
		assert_int_equal(record.exit_code, 77);
	}
	assert_int_equal(ask(), EXECUTOR_ENDED);
}

static void a_verdict_that_cannot_be_read_is_asked_for_again(void **state)
{
	(void)state;
	put_status(4);
	assert_int_equal(mkdirat(folder, RUN_DIR_EXIT, 0700), 0); /* EISDIR, as EIO would be */
	assert_int_equal(ask(), EXECUTOR_LIVES);
	assert_int_equal(unlinkat(folder, RUN_DIR_EXIT, AT_REMOVEDIR), 0);
	put_exit(3);
	assert_int_equal(ask(), EXECUTOR_ENDED);
}

static void a_link_in_the_lock_s_place_is_not_followed(void **state)
{
	(void)state;
	assert_int_equal(symlinkat("/dev/null", folder, RUN_DIR_LOCK), 0);
	assert_true(run_folder_is_locked(folder));
}

/* ---- nothing is changed ---- */

static struct strbuf seen;

static int see(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)at;
	strbuf_addf(&seen, "%s %d %o %lld %lld.%09ld\n", path, type, st->st_mode,
		(long long)st->st_size, (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	return 0;
}

static char *tree(void)
{
	seen = (struct strbuf)STRBUF_INIT;
	assert_int_equal(nftw(dir, see, 8, FTW_PHYS), 0);
	return strbuf_steal(&seen);
}

static void asking_changes_nothing(void **state)
{
	_cleanup_(freep) char *before = tree();
	_cleanup_(freep) char *after = NULL;
	struct run_status status;

	(void)state;
	ask();
	run_folder_is_locked(folder);
	assert_int_equal(run_folder_status(folder, &status), -ENOENT);
	assert_int_equal(run_folder_last_sign_us(folder), 0);
	assert_null(run_folder_last_words(folder));
	after = tree();
	assert_string_equal(before, after);
}

/* ---- what else it tells ---- */

static void the_status_is_read(void **state)
{
	struct run_status status;

	(void)state;
	put_status(4);
	assert_int_equal(run_folder_status(folder, &status), 0);
	assert_int_equal(status.supervisor_pid, 4);
	assert_int_equal(status.child_pid, 5);
	assert_int_equal(status.start_us, 6);
	run_status_release(&status);
	put(RUN_DIR_STATUS, "noise", 5);
	assert_int_equal(run_folder_status(folder, &status), -EBADMSG);
}

static void set_time(const char *name, int64_t seconds)
{
	const struct timespec times[] = { { seconds, 1000 }, { seconds, 1000 } };

	assert_int_equal(utimensat(folder, name, times, 0), 0);
}

static void the_last_sign_is_the_later_one_of_status_and_log(void **state)
{
	(void)state;
	put_status(4);
	set_time(RUN_DIR_STATUS, 100);
	assert_int_equal(run_folder_last_sign_us(folder), 100 * USEC_PER_SEC + 1);
	put(RUN_DIR_LOG, "x", 1);
	set_time(RUN_DIR_LOG, 50);
	assert_int_equal(run_folder_last_sign_us(folder), 100 * USEC_PER_SEC + 1);
	set_time(RUN_DIR_LOG, 200);
	assert_int_equal(run_folder_last_sign_us(folder), 200 * USEC_PER_SEC + 1);
}

static void the_last_words_are_one_clean_line(void **state)
{
	static const struct {
		const char *log, *words;
	} cases[] = {
		{ "", NULL },
		{ "\n\n", NULL },
		{ "one", "one" },
		{ "one\n", "one" },
		{ "one\ntwo\n\n", "two" },
		{ "\none", "one" },
		{ "bad \xff byte\n", "bad \xef\xbf\xbd byte" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *words = NULL;

		put(RUN_DIR_SUPERVISOR_LOG, cases[i].log, strlen(cases[i].log));
		words = run_folder_last_words(folder);
		assert_true(!words == !cases[i].words);
		if (words)
			assert_string_equal(words, cases[i].words);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(every_combination_of_lock_exit_and_status),
		TEST(without_a_lock_s_file_nobody_lives),
		TEST(a_damaged_verdict_is_none),
		TEST(what_can_be_read_of_a_damaged_verdict_is_told),
		TEST(a_verdict_that_is_far_too_large_is_none),
		TEST(a_damaged_status_is_one),
		TEST(what_a_newer_version_wrote_is_left_to_it),
		TEST(without_descriptors_nothing_is_declared_dead),
		TEST(a_verdict_that_cannot_be_read_is_asked_for_again),
		TEST(a_link_in_the_lock_s_place_is_not_followed),
		TEST(asking_changes_nothing),
		TEST(the_status_is_read),
		TEST(the_last_sign_is_the_later_one_of_status_and_log),
		TEST(the_last_words_are_one_clean_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
