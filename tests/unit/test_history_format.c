/* SPDX-License-Identifier: MIT */
/* test_history_format - what is opened, brought up to date, or refused; see history.h */
#include "history_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>

static void write_file(const char *path, const void *data, size_t size)
{
	assert_int_equal(file_replace(AT_FDCWD, path, data, size, 0600, FILE_NO_SYNC), 0);
}

/* Opening must fail so, and leave the bytes as they are. */
static void expect_refused(struct fixture *f, const char *path, int code, const char *text)
{
	_cleanup_(strbuf_release) struct strbuf before = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf after = STRBUF_INIT;
	_cleanup_(freep) char *wal = mem_printf("%s-wal", path);
	_cleanup_(freep) char *shm = mem_printf("%s-shm", path);
	struct history *history = NULL;
	struct error err = ERROR_INIT;

	(void)f;
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &before), 0);
	assert_int_equal(history_open(path, &history, &err), code);
	assert_null(history);
	assert_non_null(strstr(err.message, text));
	assert_non_null(strstr(err.message, path));
	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &after), 0);
	assert_int_equal(before.size, after.size);
	assert_memory_equal(before.data, after.data, before.size);
	assert_int_not_equal(access(wal, F_OK), 0);
	assert_int_not_equal(access(shm, F_OK), 0);
}

static int user_version(struct fixture *f)
{
	_cleanup_(freep) char *version = value_of(f, "PRAGMA user_version");

	return atoi(version);
}

static void empty_file_becomes_a_history(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *path = mem_printf("%s/empty ?&%%.db", f->dir);
	struct history *history;

	write_file(path, "", 0);
	assert_int_equal(history_open(path, &history, NULL), 0);
	history_close(history);
	assert_int_equal(history_open(path, &history, NULL), 0);
	history_close(history);
}

static void newer_version_is_refused_untouched(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *back = NULL;
	int mine;

	assert_int_equal(insert(f, "a", "x", RUN_QUEUED), 0);
	close_history(f);
	mine = user_version(f);
	for (int version = mine + 1; version < 100; version += 50) {
		_cleanup_(freep) char *newer = mem_printf("PRAGMA user_version = %d", version);

		sabotage(f, newer);
		expect_refused(f, f->db, -EPROTONOSUPPORT, "newer version");
	}
	back = mem_printf("PRAGMA user_version = %d", mine);
	sabotage(f, back);
	assert_int_equal(history_open(f->db, &f->history, NULL), 0);
	expect_list(f, (struct history_query){ 0 }, "a");
}

static void foreign_or_damaged_file_is_refused_untouched(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *path = mem_printf("%s/other %%41?x=#.db", f->dir);
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	sqlite3 *db;

	write_file(
		path, "this is no database, whatever it is, but it is long enough to look at", 70);
	expect_refused(f, path, -EBADMSG, "damaged");
	unlink(path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "CREATE TABLE other (x)", NULL, NULL, NULL);
	sqlite3_close(db);
	expect_refused(f, path, -EBADMSG, "no run history");

	close_history(f);
	assert_int_equal(file_read(AT_FDCWD, f->db, 1 << 20, &bytes), 0);
	memset(bytes.data + 100, 0xee, 3900); /* the page that holds the schema */
	write_file(f->db, bytes.data, bytes.size);
	expect_refused(f, f->db, -EBADMSG, "damaged");
}

static void missing_folder_is_an_error_with_a_text(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *path = mem_printf("%s/none/history.db", f->dir);
	struct history *history = NULL;
	struct error err = ERROR_INIT;

	assert_int_equal(history_open(path, &history, &err), -ENOENT);
	assert_non_null(strstr(err.message, path));
}

/* ---- older versions ---- */

/* What later versions added is taken away again. */
static const char to_version_2[] =
	"DROP INDEX runs_by_owner; DROP INDEX runs_by_owner_state;"
	"DROP INDEX runs_by_owner_experiment; DROP INDEX runs_by_owner_id;"
	"DROP INDEX runs_shared; DROP INDEX runs_shared_id; DROP INDEX runs_by_group;"
	"DROP INDEX runs_by_group_id; DROP INDEX runs_by_end;"
	"ALTER TABLE runs DROP COLUMN cpus; ALTER TABLE runs DROP COLUMN gpus;"
	"ALTER TABLE runs DROP COLUMN memory_bytes; ALTER TABLE runs DROP COLUMN priority;"
	"ALTER TABLE runs DROP COLUMN shared; ALTER TABLE runs DROP COLUMN shared_gid;"
	"ALTER TABLE runs DROP COLUMN held_by; ALTER TABLE runs DROP COLUMN after;"
	"ALTER TABLE runs DROP COLUMN gpu_ids; PRAGMA user_version = 2;";
static const char to_version_1[] =
	"ALTER TABLE runs DROP COLUMN canceled_by; PRAGMA user_version = 1";

/* What the version did not know of is as if it had never been said. */
static void forget_version_3(struct run_record *record)
{
	record->cpus = 1;
	record->gpus = record->memory_bytes = record->priority = record->shared_gid = 0;
	record->shared = false;
	record->held_by = NULL;
	strv_free(record->after);
	strv_free(record->gpu_ids);
	record->after = record->gpu_ids = NULL;
}

static void version_1_is_brought_up_to_date(void **state)
{
	struct fixture *f = *state;
	_cleanup_(free_made) struct run_record record = full_record();
	_cleanup_(run_record_release) struct run_record read = { 0 };

	history_insert(f->history, &record, HISTORY_DURABLE, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	close_history(f);
	sabotage(f, to_version_2);
	sabotage(f, to_version_1);
	assert_int_equal(history_open(f->db, &f->history, NULL), 0);
	assert_int_equal(user_version(f), history_format());
	assert_int_equal(history_get(f->history, record.run_id, &read), 0);
	record.canceled_by = NULL;
	forget_version_3(&record);
	assert_records(&record, &read);
	record.canceled_by = (char *)"ben";
	record.gpus = 3;
	strv_add(&record.gpu_ids, "0");
	history_update(f->history, &record, HISTORY_DURABLE, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	reopen(f);
	run_record_release(&read);
	assert_int_equal(history_get(f->history, record.run_id, &read), 0);
	assert_records(&record, &read);
}

/* What a run asked for is taken from its definition; one that cannot be read asked for nothing. */
static void version_2_is_brought_up_to_date(void **state)
{
	static const struct {
		const char *definition;
		int64_t cpus, gpus, memory_bytes, priority;
	} runs[] = {
		{ "{\"resources\":{\"cpus\":4,\"gpus\":2,\"memory_bytes\":1073741824},\"priority\":-7}",
			4, 2, 1073741824, -7 },
		{ "{\"resources\":{\"cpus\":2,\"gpus\":0,\"memory_bytes\":null},\"priority\":0}", 2,
			0, 0, 0 },
		{ "{\"script\":\"train.py\"}", 1, 0, 0, 0 },
		{ "{\"resources\":", 1, 0, 0, 0 },
		{ NULL, 1, 0, 0, 0 },
	};
	struct fixture *f = *state;
	char run_id[] = "a";

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++, run_id[0]++) {
		struct run_record record = make(run_id, "e", RUN_QUEUED);

		record.definition = (char *)runs[i].definition;
		history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
		assert_int_equal(wait_last(f), 0);
	}
	close_history(f);
	sabotage(f, to_version_2);
	assert_int_equal(history_open(f->db, &f->history, NULL), 0);
	run_id[0] = 'a';
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++, run_id[0]++) {
		_cleanup_(run_record_release) struct run_record read = { 0 };

		assert_int_equal(history_get(f->history, run_id, &read), 0);
		assert_int_equal(read.cpus, runs[i].cpus);
		assert_int_equal(read.gpus, runs[i].gpus);
		assert_int_equal(read.memory_bytes, runs[i].memory_bytes);
		assert_int_equal(read.priority, runs[i].priority);
		assert_false(read.shared);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(empty_file_becomes_a_history),
		TEST(newer_version_is_refused_untouched),
		TEST(foreign_or_damaged_file_is_refused_untouched),
		TEST(missing_folder_is_an_error_with_a_text),
		TEST(version_1_is_brought_up_to_date),
		TEST(version_2_is_brought_up_to_date),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
