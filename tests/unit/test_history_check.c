/* SPDX-License-Identifier: MIT */
/* test_history_check - a look at the database: what it finds, and that it changes nothing; see
 * history.h */
#include "history_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sqlite3.h>

#define MAX_SIZE (64u << 20)

/* Carried out at the latest when the history is opened anew. */
static void put(struct fixture *f, const char *run_id, enum run_state state)
{
	struct run_record record = make(run_id, "exp", state);

	record.snapshot_id = (char *)"sha256:abc";
	history_insert(f->history, &record, HISTORY_DURABLE, NULL, NULL);
}

static void finish(struct fixture *f, const char *run_id)
{
	const struct run_record record = {
		.run_id = (char *)run_id,
		.experiment_name = "exp",
		.state = RUN_COMPLETED,
		.created_us = 2000,
		.exit_code = 0,
	};
	struct artifacts artifacts = { 0 };
	struct digest digest;

	digest_of("x", 1, &digest);
	artifacts_add(&artifacts, "outputs/a", 1, &digest, 5);
	artifacts_add(&artifacts, "outputs/b", 7, NULL, 5);
	history_finish(f->history, &record, &artifacts, NULL, NULL);
	artifacts_release(&artifacts);
}

static struct history_check *begin(struct fixture *f, bool in_use)
{
	struct history_check *check = NULL;
	struct error err = ERROR_INIT;

	assert_int_equal(history_check_open(f->db, in_use, &check, &err), 0);
	return check;
}

static int refused(struct fixture *f, bool in_use, struct error *err)
{
	struct history_check *check = NULL;
	int r = history_check_open(f->db, in_use, &check, err);

	assert_null(check);
	return r;
}

struct told {
	int runs, live, artifacts, unknown_digests;
	char last_run[64];
	uint64_t size;
};

static void on_run(void *data, const struct history_check_run *run)
{
	struct told *told = data;

	told->runs++;
	told->live += run->state_known && !run_state_is_terminal(run->state);
	snprintf(told->last_run, sizeof(told->last_run), "%s", run->run_id);
}

static void on_artifact(void *data, const char *run_id, const struct artifact *artifact)
{
	static const struct digest zero;
	struct told *told = data;

	assert_string_equal(run_id, "exp_2");
	told->artifacts++;
	told->size += artifact->size;
	told->unknown_digests += digest_equal(&artifact->digest, &zero);
}

static struct told look_at(struct history_check *check)
{
	struct told told = { 0 };

	assert_int_equal(history_check_runs(check, on_run, &told), 0);
	assert_int_equal(history_check_artifacts(check, on_artifact, &told), 0);
	return told;
}

static int count_faults(struct history_check *check)
{
	char **faults = NULL;
	int count;

	assert_int_equal(history_check_integrity(check, &faults), 0);
	count = (int)strv_length(faults);
	strv_free(faults);
	return count;
}

static void fill(struct fixture *f)
{
	put(f, "exp_1", RUN_QUEUED);
	put(f, "exp_2", RUN_RUNNING);
	finish(f, "exp_2");
	reopen(f);
}

static void a_database_that_is_not_there_is_not_made(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	close_history(f);
	assert_int_equal(unlink(f->db), 0);
	assert_int_equal(refused(f, false, &err), -ENOENT);
	assert_int_equal(refused(f, true, &err), -ENOENT);
	assert_int_equal(access(f->db, F_OK), -1);
}

static void a_new_one_is_of_this_format_and_whole(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_check_closep) struct history_check *check = NULL;

	close_history(f);
	check = begin(f, false);
	assert_int_equal(history_check_format(check), history_format());
	assert_true(history_format() >= 2);
	assert_int_equal(count_faults(check), 0);
	assert_int_equal(look_at(check).runs, 0);
}

static void runs_and_artifacts_are_told(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_check_closep) struct history_check *check = NULL;
	enum run_state run_state;
	struct told told;

	fill(f);
	close_history(f);
	check = begin(f, false);
	told = look_at(check);
	assert_int_equal(told.runs, 2);
	assert_int_equal(told.live, 1);
	assert_string_equal(told.last_run, "exp_2");
	assert_int_equal(told.artifacts, 2);
	assert_int_equal(told.size, 8);
	assert_int_equal(told.unknown_digests, 1);
	assert_int_equal(history_check_run_state(check, "exp_1", &run_state), 0);
	assert_int_equal(run_state, RUN_QUEUED);
	assert_int_equal(history_check_run_state(check, "exp_9", &run_state), -ENOENT);
}

static void beside_a_daemon_all_is_of_one_moment_until_it_is_renewed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_check_closep) struct history_check *check = NULL;

	fill(f);
	check = begin(f, true);
	assert_int_equal(count_faults(check), 0);
	assert_int_equal(look_at(check).runs, 2);
	put(f, "exp_3", RUN_QUEUED);
	reopen(f); /* carried out */
	assert_int_equal(look_at(check).runs, 2);
	assert_int_equal(history_check_renew(check), 0);
	assert_int_equal(look_at(check).runs, 3);
}

/* The bytes of a file; "" when there is none. */
static char *bytes_of(const char *path, const char *suffix, size_t *ret_size)
{
	_cleanup_(freep) char *name = mem_printf("%s%s", path, suffix);
	struct strbuf text = STRBUF_INIT;

	assert_true(access(name, F_OK) < 0 || file_read(AT_FDCWD, name, MAX_SIZE, &text) == 0);
	*ret_size = text.size;
	return strbuf_steal(&text);
}

/* What a daemon leaves that was killed: the file and its log, as they are while it lives. */
static void abandon(struct fixture *f)
{
	size_t db_size, log_size;
	_cleanup_(freep) char *db = bytes_of(f->db, "", &db_size);
	_cleanup_(freep) char *log = bytes_of(f->db, "-wal", &log_size);
	_cleanup_(freep) char *log_path = mem_printf("%s-wal", f->db);

	assert_true(log_size > 0);
	close_history(f);
	assert_int_equal(file_replace(AT_FDCWD, f->db, db, db_size, 0600, FILE_NO_SYNC), 0);
	assert_int_equal(file_replace(AT_FDCWD, log_path, log, log_size, 0600, FILE_NO_SYNC), 0);
}

static void a_log_that_was_left_is_read_and_not_touched(void **state)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	struct fixture *f = *state;
	char *before[ARRAY_SIZE(suffixes)], *after[ARRAY_SIZE(suffixes)];
	size_t sizes[ARRAY_SIZE(suffixes)], size;
	struct history_check *check;

	fill(f);
	put(f, "exp_3", RUN_RUNNING);
	while (history_check_open(f->db, true, &check, NULL) == 0 && look_at(check).runs < 3)
		history_check_close(check);
	history_check_close(check);
	abandon(f);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++)
		before[i] = bytes_of(f->db, suffixes[i], &sizes[i]);
	check = begin(f, false);
	assert_int_equal(count_faults(check), 0);
	assert_int_equal(look_at(check).runs, 3);
	history_check_close(check);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		after[i] = bytes_of(f->db, suffixes[i], &size);
		assert_int_equal(size, sizes[i]);
		assert_memory_equal(before[i], after[i], size);
		free(before[i]);
		free(after[i]);
	}
	assert_int_equal(sizes[2], 0);
}

static void damage_is_found_and_what_can_be_read_is_told(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_check_closep) struct history_check *check = NULL;
	_cleanup_(freep) char *garbage = mem_realloc(NULL, 4096);
	int64_t page = 0;
	sqlite3 *db;
	sqlite3_stmt *statement;
	int fd;

	fill(f);
	close_history(f);
	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	sqlite3_prepare_v2(db, "SELECT rootpage FROM sqlite_master WHERE name = 'tags_by_key'", -1,
		&statement, NULL);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	page = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	memset(garbage, 0xff, 4096);
	fd = open(f->db, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, garbage, 4096, (page - 1) * 4096), 4096);
	close(fd);
	check = begin(f, false);
	assert_true(count_faults(check) > 0);
	assert_int_equal(look_at(check).runs, 2);
}

static void rows_that_belong_to_nothing_are_found(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_check_closep) struct history_check *check = NULL;

	close_history(f);
	sabotage(f, "INSERT INTO properties VALUES (7, 'a', 'b')");
	check = begin(f, false);
	assert_int_equal(count_faults(check), 1);
}

static void another_format_is_told_and_another_database_refused(void **state)
{
	struct fixture *f = *state;
	struct history_check *check;
	struct error err = ERROR_INIT;

	close_history(f);
	sabotage(f, "PRAGMA user_version = 77");
	check = begin(f, false);
	assert_int_equal(history_check_format(check), 77);
	assert_int_equal(count_faults(check), 0);
	history_check_close(check);
	sabotage(f, "PRAGMA user_version = 0");
	assert_int_equal(refused(f, false, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "no run history"));
	assert_int_equal(truncate(f->db, 0), 0);
	check = begin(f, false);
	assert_int_equal(history_check_format(check), 0);
	history_check_close(check);
}

static void a_file_that_is_no_database_is_refused(void **state)
{
	struct fixture *f = *state;
	struct error err = ERROR_INIT;

	close_history(f);
	assert_int_equal(file_replace(AT_FDCWD, f->db, "what is this?", 13, 0600, FILE_NO_SYNC), 0);
	assert_int_equal(refused(f, false, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "is damaged"));
}

static void a_name_with_signs_of_an_uri_is_a_name(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_check_closep) struct history_check *check = NULL;
	_cleanup_(freep) char *odd = mem_printf("%s/a?b#c%%41.db", f->dir);

	close_history(f);
	assert_int_equal(rename(f->db, odd), 0);
	assert_int_equal(history_check_open(odd, false, &check, NULL), 0);
	assert_int_equal(history_check_format(check), history_format());
	free(f->db);
	f->db = mem_strdup(odd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_database_that_is_not_there_is_not_made),
		TEST(a_new_one_is_of_this_format_and_whole),
		TEST(runs_and_artifacts_are_told),
		TEST(beside_a_daemon_all_is_of_one_moment_until_it_is_renewed),
		TEST(a_log_that_was_left_is_read_and_not_touched),
		TEST(damage_is_found_and_what_can_be_read_is_told),
		TEST(rows_that_belong_to_nothing_are_found),
		TEST(another_format_is_told_and_another_database_refused),
		TEST(a_file_that_is_no_database_is_refused),
		TEST(a_name_with_signs_of_an_uri_is_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
