/* SPDX-License-Identifier: MIT */
/* test_history - what is written of a run, and read again; see agent/history/history.h */
#include "history_fixture.h"

#include <sys/stat.h>

#include "common/run_request.h"

/* ---- the record ---- */

static void record_comes_back_exactly_after_reopening(void **state)
{
	struct fixture *f = *state;
	_cleanup_(free_made) struct run_record record = full_record();
	_cleanup_(run_record_release) struct run_record read = { 0 };
	_cleanup_(run_record_release) struct run_record copy = { 0 };

	history_insert(f->history, &record, HISTORY_DURABLE, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	reopen(f);
	assert_int_equal(history_get(f->history, record.run_id, &read), 0);
	assert_records(&record, &read);
	run_record_copy(&record, &copy);
	assert_records(&record, &copy);
}

static void empty_fields_stay_empty(void **state)
{
	struct fixture *f = *state;
	struct run_record record = make("e_1_00000001", "e", RUN_QUEUED);
	_cleanup_(run_record_release) struct run_record read = { 0 };

	assert_int_equal(insert(f, "e_1_00000001", "e", RUN_QUEUED), 0);
	assert_int_equal(history_get(f->history, "e_1_00000001", &read), 0);
	assert_records(&record, &read);
	assert_int_equal(history_get(f->history, "e_1", &read), -ENOENT);
}

static void database_is_for_its_owner_alone(void **state)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	struct fixture *f = *state;

	assert_int_equal(insert(f, "e_1_00000001", "e", RUN_QUEUED), 0);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		_cleanup_(freep) char *path = mem_printf("%s%s", f->db, suffixes[i]);
		struct stat st;

		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
}

/* ---- changes ---- */

static void patch_changes_tags_and_the_display_name_alone(void **state)
{
	struct fixture *f = *state;
	_cleanup_(free_made) struct run_record record = full_record();
	_cleanup_(run_record_release) struct run_record read = { 0 };
	struct pair changes[] = {
		{ (char *)"owner", (char *)"ben" },
		{ (char *)"a b'\"", NULL },
		{ (char *)"new", (char *)"x=\xff" },
		{ (char *)"never there", NULL },
	};
	struct pairs patch = { changes, ARRAY_SIZE(changes), 0 };

	history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
	history_patch(f->history, record.run_id, &patch, "second", NULL, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(history_get(f->history, record.run_id, &read), 0);
	assert_int_equal(read.tags.count, 2);
	assert_string_equal(pairs_get(&read.tags, "owner"), "ben");
	assert_string_equal(pairs_get(&read.tags, "new"), "x=\xff");
	assert_string_equal(read.display_name, "second");
	run_record_release(&read);

	history_patch(f->history, record.run_id, &(struct pairs){ 0 }, NULL, NULL, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(history_get(f->history, record.run_id, &read), 0);
	assert_string_equal(read.display_name, "second");
	run_record_release(&read);

	history_patch(f->history, record.run_id, NULL, "", NULL, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(history_get(f->history, record.run_id, &read), 0);
	assert_null(read.display_name);
	history_patch(f->history, "nobody", NULL, "x", NULL, on_done, ask());
	assert_int_equal(wait_last(f), -ENOENT);
}

static int patch_tags(struct fixture *f, const char *prefix, size_t count, size_t size)
{
	_cleanup_(pairs_release) struct pairs tags = { 0 };
	_cleanup_(freep) char *value = mem_alloc(size + 1);

	memset(value, 'v', size);
	for (size_t i = 0; i < count; i++) {
		char key[32];

		snprintf(key, sizeof(key), "%s%03zu", prefix, i);
		pairs_set(&tags, key, value);
	}
	history_patch(f->history, "e_1_00000001", &tags, "named", NULL, on_done, ask());
	return wait_last(f);
}

/* Of a patch that is refused nothing is done. */
static void expect_tags(struct fixture *f, size_t count, const char *display_name)
{
	_cleanup_(run_record_release) struct run_record read = { 0 };

	assert_int_equal(history_get(f->history, "e_1_00000001", &read), 0);
	assert_int_equal(read.tags.count, count);
	assert_int_equal(!read.display_name, !display_name);
}

static void patches_add_so_many_tags_and_no_more(void **state)
{
	struct fixture *f = *state;
	struct pair none = { (char *)"a000", NULL };

	assert_int_equal(insert(f, "e_1_00000001", "e", RUN_QUEUED), 0);
	history_patch(f->history, "e_1_00000001", NULL, "", NULL, on_done, ask());
	assert_int_equal(patch_tags(f, "a", 201, 1), -E2BIG);
	expect_tags(f, 0, NULL);
	assert_int_equal(patch_tags(f, "a", 199, 1), 0);
	assert_int_equal(patch_tags(f, "a", 199, 2), 0);
	assert_int_equal(patch_tags(f, "b", 2, 1), -E2BIG);
	expect_tags(f, 199, "named");
	assert_int_equal(patch_tags(f, "b", 1, 1), 0);
	history_patch(f->history, "e_1_00000001", &(struct pairs){ &none, 1, 1 }, NULL, NULL,
		on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(patch_tags(f, "c", 1, 1), 0);
	expect_tags(f, 200, "named");
}

static void patches_add_so_many_bytes_and_no_more(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(insert(f, "e_1_00000001", "e", RUN_QUEUED), 0);
	assert_int_equal(patch_tags(f, "a", 1, 60000), 0);
	assert_int_equal(patch_tags(f, "b", 1, 6000), -E2BIG);
	expect_tags(f, 1, "named");
	assert_int_equal(patch_tags(f, "a", 1, RUN_TAGS_BYTES_MAX - 4), 0);
	assert_int_equal(patch_tags(f, "a", 1, RUN_TAGS_BYTES_MAX - 3), -E2BIG);
	assert_int_equal(patch_tags(f, "a", 1, 10), 0);
	assert_int_equal(patch_tags(f, "b", 1, 6000), 0);
	expect_tags(f, 2, "named");
}

static void update_adds_properties_and_leaves_tags(void **state)
{
	struct fixture *f = *state;
	_cleanup_(free_made) struct run_record record = full_record();
	_cleanup_(run_record_release) struct run_record read = { 0 };

	history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
	pairs_set(&record.tags, "owner", "eve");
	pairs_set(&record.properties, "azureml.git.branch", "other");
	pairs_set(&record.properties, "azureml.git.commit", "abc");
	mem_replace(&record.display_name, "no");
	record.shared = false;
	record.held_by = NULL;
	record.state = RUN_COMPLETED;
	record.cause = RUN_CAUSE_NONE;
	record.error_message = NULL;
	record.exit_code = 0;
	record.signal = 0;
	history_update(f->history, &record, HISTORY_SOON, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(history_get(f->history, record.run_id, &read), 0);
	assert_int_equal(read.state, RUN_COMPLETED);
	assert_int_equal(read.cause, RUN_CAUSE_NONE);
	assert_int_equal(read.exit_code, 0);
	assert_null(read.error_message);
	assert_string_equal(pairs_get(&read.tags, "owner"), "ana");
	assert_string_equal(pairs_get(&read.properties, "azureml.git.branch"), "main");
	assert_string_equal(pairs_get(&read.properties, "azureml.git.commit"), "abc");
	assert_string_equal(read.display_name, "first \"try\"\n\xc3\xa9");
	assert_true(read.shared);
	assert_null(read.held_by);
}

/* ---- artifacts ---- */

static void artifacts_keep_names_of_any_bytes(void **state)
{
	static const char *const names[] = { "logs/a", "outputs", "outputs/", "outputs/a b\n'\"",
		"outputs/\xff\xfe", "outputs/\xff\xff", "outputs0", "\xff\xff" };
	struct fixture *f = *state;
	struct artifacts artifacts = { 0 };
	_cleanup_(artifacts_release) struct artifacts read = { 0 };
	struct artifact one;
	struct digest digest;

	memset(digest.bytes, 0xa5, sizeof(digest.bytes));
	for (size_t i = ARRAY_SIZE(names); i-- > 0;)
		artifacts_add(&artifacts, names[i], i + UINT64_C(0x100000000), i ? &digest : NULL,
			(int64_t)i);
	assert_int_equal(insert(f, "e_1_00000001", "e", RUN_QUEUED), 0);
	history_put_artifacts(f->history, "e_1_00000001", &artifacts, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	artifacts_release(&artifacts);

	assert_int_equal(history_artifacts_list(f->history, "e_1_00000001", NULL, NULL, &read), 0);
	assert_int_equal(read.count, ARRAY_SIZE(names));
	for (size_t i = 0; i < read.count; i++)
		assert_string_equal(read.items[i].path, names[i]);
	artifacts_release(&read);
	assert_int_equal(
		history_artifacts_list(f->history, "e_1_00000001", "outputs/\xff", NULL, &read), 0);
	assert_int_equal(read.count, 2);
	artifacts_release(&read);
	assert_int_equal(
		history_artifacts_list(f->history, "e_1_00000001", "outputs/", NULL, &read), 0);
	assert_int_equal(read.count, 4);
	artifacts_release(&read);
	assert_int_equal(
		history_artifacts_list(f->history, "e_1_00000001", "\xff", NULL, &read), 0);
	assert_int_equal(read.count, 1);

	assert_int_equal(
		history_artifact_get(f->history, "e_1_00000001", "outputs/\xff\xfe", &one), 0);
	assert_true(one.size == UINT64_C(0x100000004) && one.modified_us == 4);
	assert_true(digest_equal(&one.digest, &digest));
	free(one.path);
	assert_int_equal(
		history_artifact_get(f->history, "e_1_00000001", "outputs/x", &one), -ENOENT);
	assert_int_equal(history_artifact_get(f->history, "x", "outputs/", &one), -ENOENT);
}

static void finish_replaces_artifacts_by_path(void **state)
{
	struct fixture *f = *state;
	struct run_record record = make("e_1_00000001", "e", RUN_RUNNING);
	_cleanup_(artifacts_release) struct artifacts artifacts = { 0 };
	_cleanup_(artifacts_release) struct artifacts read = { 0 };
	_cleanup_(run_record_release) struct run_record ended = { 0 };

	artifacts_add(&artifacts, "logs/a", 1, NULL, 1);
	artifacts_add(&artifacts, "patch", 2, NULL, 1);
	history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
	history_put_artifacts(f->history, record.run_id, &artifacts, on_done, ask());
	artifacts_release(&artifacts);
	artifacts_add(&artifacts, "logs/a", 10, NULL, 2);
	artifacts_add(&artifacts, "outputs/b", 20, NULL, 2);
	record.state = RUN_COMPLETED;
	history_finish(f->history, &record, &artifacts, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(history_artifacts_list(f->history, record.run_id, NULL, NULL, &read), 0);
	assert_int_equal(read.count, 3);
	assert_true(
		read.items[0].size == 10 && read.items[1].size == 20 && read.items[2].size == 2);
	assert_int_equal(history_get(f->history, record.run_id, &ended), 0);
	assert_int_equal(ended.state, RUN_COMPLETED);
}

/* ---- deletion ---- */

static void delete_takes_all_that_belongs_to_the_run(void **state)
{
	static const char *const tables[] = { "runs", "tags", "properties", "artifacts" };
	struct fixture *f = *state;
	_cleanup_(free_made) struct run_record record = full_record();
	_cleanup_(artifacts_release) struct artifacts artifacts = { 0 };
	struct run_record read;

	artifacts_add(&artifacts, "outputs/a", 1, NULL, 0);
	history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
	history_put_artifacts(f->history, record.run_id, &artifacts, on_done, ask());
	history_delete(f->history, record.run_id, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(history_get(f->history, record.run_id, &read), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		_cleanup_(freep) char *sql = mem_printf("SELECT count(*) FROM %s", tables[i]);
		_cleanup_(freep) char *count = value_of(f, sql);

		assert_string_equal(count, "0");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(record_comes_back_exactly_after_reopening),
		TEST(empty_fields_stay_empty),
		TEST(database_is_for_its_owner_alone),
		TEST(patch_changes_tags_and_the_display_name_alone),
		TEST(patches_add_so_many_tags_and_no_more),
		TEST(patches_add_so_many_bytes_and_no_more),
		TEST(update_adds_properties_and_leaves_tags),
		TEST(artifacts_keep_names_of_any_bytes),
		TEST(finish_replaces_artifacts_by_path),
		TEST(delete_takes_all_that_belongs_to_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
