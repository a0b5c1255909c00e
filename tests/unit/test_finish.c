/* SPDX-License-Identifier: MIT */
/* test_finish - the blocking part of a run's end: verdict, artifacts, and what stays in the folder
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "common/unowed.h"
#include "runs/finish.h"
#include "store/store.h"
#include "test.h"

static struct {
	char *dir, *run;
	struct store *store;
	struct run_exit exit;
	struct finish finish;
} t;

static char *in_run(const char *name)
{
	return path_join(t.run, name);
}

static void put(const char *name, const char *text)
{
	_cleanup_(freep) char *path = in_run(name);
	_cleanup_(freep) char *dir = mem_strdup(path);

	*strrchr(dir, '/') = '\0';
	assert_int_equal(dir_make(dir, 0755), 0);
	assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0644, FILE_NO_SYNC), 0);
}

static struct stat stat_of(const char *name)
{
	_cleanup_(freep) char *path = in_run(name);
	struct stat st;

	if (lstat(path, &st) < 0)
		st.st_mode = 0;
	return st;
}

static bool exists(const char *name)
{
	return stat_of(name).st_mode != 0;
}

static int set_up(void **state)
{
	const char *temp = getenv("TMPDIR");
	_cleanup_(freep) char *blobs = NULL;

	(void)state;
	alarm(60);
	memset(&t, 0, sizeof(t));
	t.dir = mem_printf("%s/finish.XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(t.dir));
	t.run = path_join(t.dir, "run");
	blobs = path_join(t.dir, "blobs");
	assert_int_equal(mkdir(t.run, 0700), 0);
	assert_int_equal(store_open(blobs, &t.store), 0);
	put(RUN_DIR_LOG, "first\nlast\n");
	put("work/outputs/model", "model");
	put("work/logs/a.txt", "a");
	put("work/train.py", "x");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	finish_release(&t.finish);
	store_close(t.store);
	assert_int_equal(tree_remove(AT_FDCWD, t.dir), 0);
	free(t.dir);
	free(t.run);
	alarm(0);
	return 0;
}

/* The result of the last. */
static int result;

static void finish(int exit_code)
{
	finish_release(&t.finish);
	t.exit =
		(struct run_exit){ .exit_code = exit_code, .oom_kills = -1, .disk_free_bytes = -1 };
	t.finish = (struct finish){ .store = t.store,
		.run_dir = t.run,
		.facts = { .exit = exit_code == INT32_MIN ? NULL : &t.exit, .program = "prog" } };
	result = finish_carry_out(&t.finish);
}

static const struct verdict *verdict(void)
{
	return &t.finish.verdict;
}

static char *bytes_of(const char *path)
{
	const struct artifact *artifact = artifacts_find(&t.finish.artifacts, path);
	char *data = NULL;
	size_t size;

	assert_non_null(artifact);
	assert_int_equal(store_read(t.store, &artifact->digest, 1 << 20, &data, &size), 0);
	assert_int_equal(size, artifact->size);
	return data;
}

static void assert_artifact(const char *path, const char *text)
{
	_cleanup_(freep) char *data = bytes_of(path);

	assert_memory_equal(data, text, strlen(text));
}

static bool warned_of(const char *text)
{
	for (size_t i = 0; t.finish.warnings && t.finish.warnings[i]; i++)
		if (strstr(t.finish.warnings[i], text))
			return true;
	return false;
}

static void a_success_has_its_artifacts_and_no_message(void **state)
{
	(void)state;
	finish(0);
	assert_int_equal(verdict()->cause, RUN_CAUSE_NONE);
	assert_int_equal(verdict()->exit_code, 0);
	assert_null(verdict()->message);
	assert_int_equal(t.finish.artifacts.count, 3);
	assert_artifact("logs/a.txt", "a");
	assert_artifact("outputs/model", "model");
	assert_artifact(RUN_LOG_ARTIFACT, "first\nlast\n");
	assert_null(t.finish.warnings);
}

static void an_exit_code_comes_with_the_end_of_the_log(void **state)
{
	(void)state;
	finish(3);
	assert_int_equal(verdict()->cause, RUN_CAUSE_USER_ERROR);
	assert_int_equal(verdict()->exit_code, 3);
	assert_non_null(strstr(verdict()->message, "code 3; the last line of its log: \"last\""));
	assert_non_null(strstr(verdict()->message, "first\nlast"));
	assert_int_equal(t.finish.artifacts.count, 3);
}

static void a_long_log_is_read_from_its_end(void **state)
{
	_cleanup_(freep) char *text = mem_alloc(1000001);

	(void)state;
	memset(text, 'x', 1000000);
	for (int i = 99; i < 1000000; i += 100)
		text[i] = '\n';
	memcpy(text + 1000000 - 12, "\nthe end\xff.\r\n", 12);
	put(RUN_DIR_LOG, text);
	finish(1);
	assert_non_null(strstr(verdict()->message, "the end\xef\xbf\xbd."));
	assert_true(strlen(verdict()->message) < 4096);
}

static void a_log_that_is_a_pipe_or_a_link_hangs_nobody(void **state)
{
	_cleanup_(freep) char *log = in_run(RUN_DIR_LOG);

	(void)state;
	assert_int_equal(unlink(log), 0);
	assert_int_equal(mkfifo(log, 0600), 0);
	finish(1);
	assert_int_equal(verdict()->cause, RUN_CAUSE_USER_ERROR);
	assert_int_equal(unlink(log), 0);
	assert_int_equal(symlink("/etc/passwd", log), 0);
	finish(1);
	assert_null(strstr(verdict()->message, "root"));
	assert_int_equal(unlink(log), 0);
	finish(0); /* and none at all is fine */
	assert_int_equal(verdict()->cause, RUN_CAUSE_NONE);
	assert_int_equal(t.finish.artifacts.count, 2);
}

static void a_lost_run_keeps_what_it_made(void **state)
{
	(void)state;
	finish(INT32_MIN);
	assert_int_equal(verdict()->cause, RUN_CAUSE_LOST);
	assert_int_equal(verdict()->exit_code, -1);
	assert_int_equal(t.finish.artifacts.count, 3);
	assert_true(exists("work/outputs/model"));
}

/* A success's folder goes: its files are the store's now. Another's stays for a look: copies. */
static void a_success_moves_its_files_others_copy_them(void **state)
{
	ino_t inode = stat_of("work/outputs/model").st_ino;
	_cleanup_(freep) char *model = in_run("work/outputs/model");
	int fd;

	(void)state;
	finish(1);
	assert_int_equal(stat_of("work/outputs/model").st_ino, inode);
	assert_int_equal(stat_of("work/outputs/model").st_nlink, 1);
	fd = open(model, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "!", 1), 1);
	close(fd);
	assert_artifact("outputs/model", "model"); /* the store's is another file */
	finish(0);
	assert_artifact("outputs/model", "model!");
	finish(0); /* once more, after a crash: the same */
	assert_artifact("outputs/model", "model!");
	assert_artifact(RUN_LOG_ARTIFACT, "first\nlast\n");
}

static void what_cannot_be_kept_is_a_warning(void **state)
{
	_cleanup_(freep) char *link = in_run("work/outputs/link");

	(void)state;
	assert_int_equal(symlink("/etc/passwd", link), 0);
	finish(0);
	assert_int_equal(verdict()->cause, RUN_CAUSE_NONE);
	assert_true(warned_of("outputs/link"));
	assert_null(artifacts_find(&t.finish.artifacts, "outputs/link"));
}

/* The store's folder is no folder any more. */
static void break_store(void)
{
	_cleanup_(freep) char *blobs = path_join(t.dir, "blobs");

	assert_int_equal(tree_remove(AT_FDCWD, blobs), 0);
	assert_int_equal(file_replace(AT_FDCWD, blobs, "", 0, 0600, FILE_NO_SYNC), 0);
}

static void outputs_that_cannot_be_stored_turn_a_success_into_an_error(void **state)
{
	(void)state;
	break_store();
	finish(0);
	assert_int_equal(verdict()->cause, RUN_CAUSE_OUTPUT_ERROR);
	assert_int_equal(verdict()->exit_code, 0);
	assert_non_null(strstr(verdict()->message, t.run)); /* where they are */
	assert_int_equal(t.finish.artifacts.count, 0);
	assert_true(exists("work/outputs/model"));
	assert_true(exists(RUN_DIR_LOG));
}

static void outputs_that_cannot_be_stored_are_a_warning_to_another_end(void **state)
{
	(void)state;
	break_store();
	finish(7);
	assert_true(result < 0);
	assert_int_equal(verdict()->cause, RUN_CAUSE_USER_ERROR);
	assert_int_equal(verdict()->exit_code, 7);
	assert_true(warned_of("could not be stored"));
	assert_int_equal(t.finish.artifacts.count, 0);
	assert_true(exists("work/outputs/model"));
}

static void a_folder_that_is_gone_is_an_output_error(void **state)
{
	(void)state;
	assert_int_equal(tree_remove(AT_FDCWD, t.run), 0);
	finish(0);
	assert_int_equal(result, -ENOENT);
	assert_int_equal(verdict()->cause, RUN_CAUSE_OUTPUT_ERROR);
	finish(2);
	assert_int_equal(verdict()->cause, RUN_CAUSE_USER_ERROR);
	assert_non_null(t.finish.warnings);
}

static void allow_descriptors(rlim_t count)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = count;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* However few there are: all outputs are stored, or it says that it wants for some; what was not
 * stored is stored the next time. */
static void want_of_descriptors_loses_no_output(void **state)
{
	struct rlimit enough;
	bool fits = false;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
	for (rlim_t count = 3; !fits && count < 64; count++)
		for (int exit_code = 0; exit_code < 2; exit_code++) {
			tear_down(state);
			set_up(state);
			allow_descriptors(count);
			finish(exit_code);
			allow_descriptors(enough.rlim_cur);
			fits = result == 0;
			if (!fits) {
				assert_int_equal(result, -EMFILE);
				finish(exit_code);
			}
			assert_int_equal(result, 0);
			assert_null(t.finish.warnings);
			assert_int_equal(verdict()->cause,
				exit_code ? RUN_CAUSE_USER_ERROR : RUN_CAUSE_NONE);
			assert_int_equal(t.finish.artifacts.count, 3);
			assert_artifact("outputs/model", "model");
			assert_artifact("user_logs/std_log.txt", "first\nlast\n");
		}
	assert_true(fits);
}

/* ---- the folder afterwards ---- */

static const char *const spent[] = { "environment", RUN_DIR_LAUNCH, RUN_DIR_STOP, RUN_DIR_CONTROL,
	RUN_DIR_STATUS, RUN_DIR_LOCK, RUN_DIR_EXIT };

static void put_spent(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(spent); i++)
		put(spent[i], "secret");
}

static void a_completed_runs_folder_goes(void **state)
{
	(void)state;
	put_spent();
	assert_int_equal(finish_clean_up(t.run, false), 0);
	assert_int_equal(access(t.run, F_OK), -1);
	finish_clean_up(t.run, false); /* any number of times */
}

static void another_keeps_work_and_log_and_no_secret(void **state)
{
	(void)state;
	put_spent();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(finish_clean_up(t.run, true), 0);
		for (size_t j = 0; j < ARRAY_SIZE(spent); j++)
			assert_false(exists(spent[j]));
		assert_true(exists("work/train.py"));
		assert_true(exists("work/outputs/model"));
		assert_true(exists(RUN_DIR_LOG));
	}
	assert_int_equal(finish_clean_up("/none/such", true), -ENOENT);
}

/* One who deletes the run that has just ended has marked it, and the record may be gone. */
static void the_mark_of_a_delete_is_not_cleaned_up(void **state)
{
	(void)state;
	put_spent();
	put(UNOWED_MARK, "");
	assert_int_equal(finish_clean_up(t.run, true), 0);
	assert_false(exists(RUN_DIR_EXIT));
	assert_true(exists(UNOWED_MARK));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_success_has_its_artifacts_and_no_message),
		TEST(an_exit_code_comes_with_the_end_of_the_log),
		TEST(a_long_log_is_read_from_its_end),
		TEST(a_log_that_is_a_pipe_or_a_link_hangs_nobody),
		TEST(a_lost_run_keeps_what_it_made),
		TEST(a_success_moves_its_files_others_copy_them),
		TEST(what_cannot_be_kept_is_a_warning),
		TEST(outputs_that_cannot_be_stored_turn_a_success_into_an_error),
		TEST(outputs_that_cannot_be_stored_are_a_warning_to_another_end),
		TEST(a_folder_that_is_gone_is_an_output_error),
		TEST(want_of_descriptors_loses_no_output),
		TEST(a_completed_runs_folder_goes),
		TEST(another_keeps_work_and_log_and_no_secret),
		TEST(the_mark_of_a_delete_is_not_cleaned_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
