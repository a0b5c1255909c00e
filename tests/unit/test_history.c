/* SPDX-License-Identifier: MIT */
/* test_history - the run history against a real database; see agent/history/history.h */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sqlite3.h>

#include "common/file.h"
#include "common/mem.h"
#include "common/run_request.h"
#include "common/strbuf.h"
#include "history/history.h"

#define RESULTS_MAX 4096

struct fixture {
	char dir[64];
	char *db;
	struct history *history;
	int results[RESULTS_MAX]; /* in the order told */
	int which[RESULTS_MAX];
	int told;
	int asked;
};

static struct fixture fixture;

static int set_up(void **state)
{
	struct fixture *f = &fixture;

	alarm(120);
	*f = (struct fixture){ 0 };
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_history.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->db = mem_printf("%s/history.db", f->dir);
	assert_int_equal(history_open(f->db, &f->history, NULL), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	history_close(f->history);
	assert_int_equal(tree_remove(AT_FDCWD, f->dir), 0);
	free(f->db);
	alarm(0);
	return 0;
}

static void reopen(struct fixture *f)
{
	history_close(f->history);
	f->history = NULL;
	assert_int_equal(history_open(f->db, &f->history, NULL), 0);
}

static void on_done(void *data, int result)
{
	fixture.which[fixture.told] = (int)(intptr_t)data;
	fixture.results[fixture.told++] = result;
}

/* The next write's `data`: its number. */
static void *ask(void)
{
	return (void *)(intptr_t)fixture.asked++;
}

static void wait_all(struct fixture *f)
{
	while (f->told < f->asked) {
		struct pollfd look = { .fd = history_fd(f->history), .events = POLLIN };

		assert_int_equal(poll(&look, 1, 20000), 1);
		history_dispatch(f->history);
	}
}

/* The result of the last write. */
static int wait_last(struct fixture *f)
{
	wait_all(f);
	return f->results[f->told - 1];
}

static struct run_record make(const char *run_id, const char *experiment, enum run_state state)
{
	struct run_record record = {
		.run_id = (char *)run_id,
		.experiment_name = (char *)experiment,
		.state = state,
		.created_us = 1000,
		.exit_code = -1,
	};

	return record;
}

static int insert(
	struct fixture *f, const char *run_id, const char *experiment, enum run_state state)
{
	struct run_record record = make(run_id, experiment, state);

	history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
	return wait_last(f);
}

static struct run_record full_record(void)
{
	struct run_record record = make("e_1_00000001", "e", RUN_FAILED);

	record.display_name = mem_strdup("first \"try\"\n\xc3\xa9");
	record.target = (char *)"local";
	record.submitted_by = (char *)"ana";
	record.owner = 4294967294u;
	record.cause = RUN_CAUSE_USER_ERROR;
	record.error_message = (char *)"Traceback: \xff not UTF-8";
	record.created_us = INT64_C(1700000000123456);
	record.queued_us = 2;
	record.start_us = 3;
	record.end_us = 4;
	record.exit_code = 3;
	record.signal = 9;
	strv_add(&record.warnings, "one");
	strv_add(&record.warnings, "");
	strv_add(&record.warnings, "two\nlines");
	record.snapshot_id = (char *)"sha256:00";
	record.definition = (char *)"{\"script\":\"train.py\"}";
	record.used_known = true;
	record.wall_us = 5;
	record.user_us = 6;
	record.system_us = 7;
	record.peak_bytes = INT64_MAX;
	record.interpreter_path = (char *)"/usr/bin/python\xfe";
	record.interpreter_version = (char *)"3.11.2";
	record.parent_run_id = (char *)"e_0_00000000";
	record.boot_id = (char *)"b";
	record.canceled_by = (char *)"ben";
	record.cpus = 8;
	record.gpus = 2;
	record.memory_bytes = INT64_C(1) << 40;
	record.priority = -5;
	record.shared = true;
	record.shared_gid = 4294967294;
	record.held_by = (char *)"eva";
	strv_add(&record.after, "afterok:e_0_00000000");
	strv_add(&record.after, "afterany:e_0_00000001");
	strv_add(&record.gpu_ids, "GPU-5a1c");
	pairs_set(&record.tags, "owner", "ana");
	pairs_set(&record.tags, "a b'\"", "");
	pairs_set(&record.properties, "azureml.git.branch", "main");
	return record;
}

static void free_made(struct run_record *record)
{
	free(record->display_name);
	strv_free(record->warnings);
	strv_free(record->after);
	strv_free(record->gpu_ids);
	pairs_release(&record->tags);
	pairs_release(&record->properties);
}

static void assert_pairs(const struct pairs *a, const struct pairs *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		assert_non_null(pairs_get(b, a->items[i].key));
		assert_string_equal(a->items[i].value, pairs_get(b, a->items[i].key));
	}
}

static void assert_lists(char *const *a, char *const *b)
{
	assert_int_equal(strv_length(a), strv_length(b));
	for (size_t i = 0; a && a[i]; i++)
		assert_string_equal(a[i], b[i]);
}

static void assert_records(const struct run_record *a, const struct run_record *b)
{
	const char *const texts[][2] = {
		{ a->run_id, b->run_id },
		{ a->experiment_name, b->experiment_name },
		{ a->display_name, b->display_name },
		{ a->target, b->target },
		{ a->submitted_by, b->submitted_by },
		{ a->error_message, b->error_message },
		{ a->snapshot_id, b->snapshot_id },
		{ a->definition, b->definition },
		{ a->interpreter_path, b->interpreter_path },
		{ a->interpreter_version, b->interpreter_version },
		{ a->parent_run_id, b->parent_run_id },
		{ a->boot_id, b->boot_id },
		{ a->canceled_by, b->canceled_by },
		{ a->held_by, b->held_by },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(!texts[i][0], !texts[i][1]);
		if (texts[i][0])
			assert_string_equal(texts[i][0], texts[i][1]);
	}
	assert_int_equal(a->owner, b->owner);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->cause, b->cause);
	assert_true(a->created_us == b->created_us && a->queued_us == b->queued_us);
	assert_true(a->start_us == b->start_us && a->end_us == b->end_us);
	assert_int_equal(a->exit_code, b->exit_code);
	assert_int_equal(a->signal, b->signal);
	assert_lists(a->warnings, b->warnings);
	assert_int_equal(a->used_known, b->used_known);
	assert_true(a->wall_us == b->wall_us && a->user_us == b->user_us);
	assert_true(a->system_us == b->system_us && a->peak_bytes == b->peak_bytes);
	assert_true(a->cpus == b->cpus && a->gpus == b->gpus);
	assert_true(a->memory_bytes == b->memory_bytes && a->priority == b->priority);
	assert_true(a->shared == b->shared && a->shared_gid == b->shared_gid);
	assert_lists(a->after, b->after);
	assert_lists(a->gpu_ids, b->gpu_ids);
	assert_pairs(&a->tags, &b->tags);
	assert_pairs(&a->properties, &b->properties);
}

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

static void writes_are_told_in_the_order_queued(void **state)
{
	struct fixture *f = *state;
	char run_id[32];

	for (int i = 0; i < 500; i++) {
		struct run_record record = make(run_id, "e", RUN_QUEUED);

		snprintf(run_id, sizeof(run_id), "e_1_%08x", i);
		history_insert(f->history, &record, i % 3 ? HISTORY_SOON : HISTORY_DURABLE, on_done,
			ask());
	}
	wait_all(f);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(f->which[i], i);
		assert_int_equal(f->results[i], 0);
	}
}

static void one_failing_write_leaves_its_group_alone(void **state)
{
	static const int expected[] = { 0, -EEXIST, -ENOENT, 0, -ENOENT, 0 };
	struct fixture *f = *state;
	struct run_record one = make("e_1_00000001", "e", RUN_QUEUED);
	struct run_record two = make("e_1_00000002", "e", RUN_QUEUED);
	struct run_record none = make("e_1_00000009", "e", RUN_RUNNING);
	struct artifacts artifacts = { 0 };

	artifacts_add(&artifacts, "outputs/a", 1, NULL, 0);
	history_insert(f->history, &one, HISTORY_DURABLE, on_done, ask());
	history_insert(f->history, &one, HISTORY_DURABLE, on_done, ask());
	history_finish(f->history, &none, &artifacts, on_done, ask());
	history_insert(f->history, &two, HISTORY_SOON, on_done, ask());
	history_delete(f->history, "nobody", on_done, ask());
	history_put_artifacts(f->history, "e_1_00000001", &artifacts, on_done, ask());
	wait_all(f);
	assert_memory_equal(f->results, expected, sizeof(expected));
	artifacts_release(&artifacts);
	reopen(f);
	assert_int_equal(
		history_artifacts_list(f->history, "e_1_00000001", NULL, NULL, &artifacts), 0);
	assert_int_equal(artifacts.count, 1);
	artifacts_release(&artifacts);
	assert_int_equal(history_artifacts_list(f->history, "e_1_00000009", NULL, NULL, &artifacts),
		-ENOENT);
	assert_int_equal(
		history_artifacts_list(f->history, "e_1_00000002", NULL, NULL, &artifacts), 0);
	assert_int_equal(artifacts.count, 0);
}

static void close_carries_out_what_is_queued(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strv_freep) char **list = NULL;
	char run_id[32];

	for (int i = 0; i < 300; i++) {
		struct run_record record = make(run_id, "e", RUN_QUEUED);

		snprintf(run_id, sizeof(run_id), "e_1_%08x", i);
		history_insert(f->history, &record, HISTORY_SOON, on_done, NULL);
	}
	reopen(f);
	assert_int_equal(f->told, 0);
	assert_int_equal(
		history_list(f->history, &(struct history_query){ .limit = 1000 }, &list), 0);
	assert_int_equal(strv_length(list), 300);
	assert_string_equal(list[0], "e_1_0000012b");
}

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

/* A trigger stands in for a disk that fails in the middle of a write. */
static void sabotage(struct fixture *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void finish_is_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	struct run_record record = make("e_1_00000001", "e", RUN_RUNNING);
	_cleanup_(artifacts_release) struct artifacts artifacts = { 0 };
	_cleanup_(artifacts_release) struct artifacts read = { 0 };
	_cleanup_(run_record_release) struct run_record after = { 0 };

	assert_int_equal(insert(f, record.run_id, "e", RUN_RUNNING), 0);
	sabotage(f, "CREATE TRIGGER t BEFORE INSERT ON artifacts WHEN NEW.size = 2 BEGIN"
		    " SELECT RAISE(ABORT, 'no'); END");
	artifacts_add(&artifacts, "outputs/a", 1, NULL, 0);
	artifacts_add(&artifacts, "outputs/b", 2, NULL, 0);
	record.state = RUN_COMPLETED;
	history_finish(f->history, &record, &artifacts, on_done, ask());
	assert_int_equal(insert(f, "e_1_00000002", "e", RUN_QUEUED), 0);
	assert_true(f->results[f->told - 2] < 0);
	assert_int_equal(history_get(f->history, record.run_id, &after), 0);
	assert_int_equal(after.state, RUN_RUNNING);
	assert_int_equal(history_artifacts_list(f->history, record.run_id, NULL, NULL, &read), 0);
	assert_int_equal(read.count, 0);
}

static void whole_group_fails_when_its_transaction_does(void **state)
{
	struct fixture *f = *state;
	struct run_record record = make("e_1_00000002", "e", RUN_QUEUED);
	_cleanup_(run_record_release) struct run_record read = { 0 };
	bool undone;

	sabotage(f, "CREATE TRIGGER t BEFORE INSERT ON runs WHEN NEW.run_id = 'bad' BEGIN"
		    " SELECT RAISE(ROLLBACK, 'no'); END");
	history_insert(f->history, &record, HISTORY_DURABLE, on_done, ask());
	assert_true(insert(f, "bad", "e", RUN_QUEUED) < 0);
	/* Whether they shared a transaction is chance; told and stored must agree. */
	undone = f->results[0] < 0;
	assert_int_equal(history_get(f->history, record.run_id, &read), undone ? -ENOENT : 0);
	assert_int_equal(insert(f, "e_1_00000003", "e", RUN_QUEUED), 0);
}

static void delete_takes_all_that_belongs_to_the_run(void **state)
{
	static const char *const tables[] = { "runs", "tags", "properties", "artifacts" };
	struct fixture *f = *state;
	_cleanup_(free_made) struct run_record record = full_record();
	_cleanup_(artifacts_release) struct artifacts artifacts = { 0 };
	struct run_record read;
	sqlite3 *db;

	artifacts_add(&artifacts, "outputs/a", 1, NULL, 0);
	history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
	history_put_artifacts(f->history, record.run_id, &artifacts, on_done, ask());
	history_delete(f->history, record.run_id, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	assert_int_equal(history_get(f->history, record.run_id, &read), -ENOENT);
	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		_cleanup_(freep) char *sql = mem_printf("SELECT count(*) FROM %s", tables[i]);
		sqlite3_stmt *statement;

		assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
		assert_int_equal(sqlite3_column_int(statement, 0), 0);
		sqlite3_finalize(statement);
	}
	sqlite3_close(db);
}

static void expect_list(struct fixture *f, struct history_query query, const char *ids)
{
	_cleanup_(strv_freep) char **list = NULL;
	_cleanup_(strbuf_release) struct strbuf found = STRBUF_INIT;

	if (!query.limit)
		query.limit = 100;
	assert_int_equal(history_list(f->history, &query, &list), 0);
	strbuf_adds(&found, "");
	for (size_t i = 0; list && list[i]; i++)
		strbuf_adds(&found, list[i]);
	assert_string_equal(found.data, ids);
}

/* a..h: experiment x for the even ones; state; tags k=1 for a, c, e, k=2 for b. */
static void fill(struct fixture *f)
{
	static const struct {
		const char *id, *experiment, *tag;
		enum run_state state;
	} runs[] = {
		{ "a", "x", "1", RUN_COMPLETED },
		{ "b", "y", "2", RUN_COMPLETED },
		{ "c", "x", "1", RUN_FAILED },
		{ "d", "y", NULL, RUN_CANCELED },
		{ "e", "x", "1", RUN_COMPLETED },
		{ "f", "y", NULL, RUN_QUEUED },
		{ "g", "x", NULL, RUN_RUNNING },
		{ "h", "y", NULL, RUN_FAILED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		struct run_record record = make(runs[i].id, runs[i].experiment, runs[i].state);

		record.created_us =
			(int64_t)(100 - i); /* order is that of insertion, not of clocks */
		pairs_set(&record.tags, "all", "yes");
		if (runs[i].tag)
			pairs_set(&record.tags, "k", runs[i].tag);
		history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
		pairs_release(&record.tags);
	}
	wait_all(f);
}

static void list_filters_and_pages(void **state)
{
	struct fixture *f = *state;
	char *ended[] = { (char *)"Completed", (char *)"Failed", NULL };
	char *none[] = { NULL };
	_cleanup_(run_record_list_release) struct run_record_list list = { 0 };
	char **ids = NULL;

	expect_list(f, (struct history_query){ 0 }, "");
	fill(f);
	expect_list(f, (struct history_query){ 0 }, "hgfedcba");
	expect_list(f, (struct history_query){ .limit = 3 }, "hgf");
	expect_list(f, (struct history_query){ .limit = 3, .before = "f" }, "edc");
	expect_list(f, (struct history_query){ .limit = 3, .before = "a" }, "");
	expect_list(f, (struct history_query){ .experiment_name = "x" }, "geca");
	expect_list(f, (struct history_query){ .experiment_name = "x", .before = "e", .limit = 1 },
		"c");
	expect_list(f, (struct history_query){ .states = ended }, "hecba");
	expect_list(f, (struct history_query){ .states = ended + 1 }, "hc");
	expect_list(f, (struct history_query){ .states = ended, .limit = 2 }, "he");
	expect_list(f, (struct history_query){ .states = ended, .before = "h", .limit = 2 }, "ec");
	expect_list(f, (struct history_query){ .states = ended, .experiment_name = "y" }, "hb");
	expect_list(f, (struct history_query){ .tag_key = "k" }, "ecba");
	expect_list(f, (struct history_query){ .tag_key = "k", .tag_value = "1" }, "eca");
	expect_list(f, (struct history_query){ .tag_key = "k", .tag_value = "" }, "");
	expect_list(f, (struct history_query){ .tag_key = "k", .experiment_name = "y" }, "b");
	expect_list(f, (struct history_query){ .tag_key = "all", .states = ended + 1, .limit = 1 },
		"h");
	expect_list(f,
		(struct history_query){ .tag_key = "all",
			.tag_value = "yes",
			.states = ended,
			.experiment_name = "x",
			.before = "e" },
		"ca");
	expect_list(
		f, (struct history_query){ .tag_key = "all", .states = ended, .limit = 3 }, "hec");
	expect_list(f,
		(struct history_query){
			.tag_key = "k", .tag_value = "1", .experiment_name = "x", .limit = 2 },
		"ec");
	expect_list(f, (struct history_query){ .states = none }, "");
	expect_list(f, (struct history_query){ .states = none, .tag_key = "k" }, "");
	assert_int_equal(history_list(f->history,
				 &(struct history_query){ .limit = 1, .before = "nobody" }, &ids),
		-ENOENT);
	assert_null(ids);
	assert_int_equal(history_list_live(f->history, &list), 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[0].run_id, "f");
	assert_string_equal(list.items[1].run_id, "g");
	assert_string_equal(pairs_get(&list.items[0].tags, "all"), "yes");
}

static void counts_and_experiments(void **state)
{
	struct fixture *f = *state;
	_cleanup_(history_experiments_release) struct history_experiments list = { 0 };
	int64_t counts[RUN_STATE_COUNT];

	fill(f);
	assert_int_equal(history_count_states(f->history, NULL, counts), 0);
	assert_int_equal(counts[RUN_COMPLETED], 3);
	assert_int_equal(counts[RUN_FAILED], 2);
	assert_int_equal(counts[RUN_STARTING], 0);
	assert_int_equal(history_experiments_list(f->history, NULL, NULL, &list), 0);
	assert_int_equal(list.count, 2);
	assert_string_equal(list.items[0].name, "x");
	assert_int_equal(list.items[0].runs, 4);
	assert_int_equal(list.items[0].last_created_us, 94);
	assert_string_equal(list.items[1].name, "y");
}

static void experiments_are_read_in_pages(void **state)
{
	struct fixture *f = *state;
	char name[16];

	for (int i = 0; i < 5; i++) {
		_cleanup_(freep) char *run_id = mem_printf("r%d_1_00000001", i);

		snprintf(name, sizeof(name), "e%d", i);
		assert_int_equal(insert(f, run_id, name, RUN_QUEUED), 0);
	}
	for (int i = 0; i <= 5; i += 2) {
		_cleanup_(history_experiments_release) struct history_experiments list = { 0 };
		struct history_page page = { i ? name : NULL, 2 };

		snprintf(name, sizeof(name), "e%d", i - 1);
		assert_int_equal(history_experiments_list(f->history, NULL, &page, &list), 0);
		assert_int_equal(list.count, i == 4 ? 1 : 2);
		snprintf(name, sizeof(name), "e%d", i);
		assert_string_equal(list.items[0].name, name);
	}
}

/* A page ends anywhere: the next one begins after it, and within the prefix. */
static void artifacts_are_read_in_pages(void **state)
{
	static const char *const names[] = { "logs/a", "outputs/a", "outputs/a\xff", "outputs/b",
		"outputs/b/c", "user_logs/z" };
	struct fixture *f = *state;
	struct artifacts artifacts = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		artifacts_add(&artifacts, names[i], i, NULL, 1);
	assert_int_equal(insert(f, "e_1_00000001", "e", RUN_QUEUED), 0);
	history_put_artifacts(f->history, "e_1_00000001", &artifacts, on_done, ask());
	assert_int_equal(wait_last(f), 0);
	artifacts_release(&artifacts);
	for (int64_t limit = 1; limit < 7; limit++) {
		for (size_t i = 0; i <= ARRAY_SIZE(names); i++) {
			struct history_page page = { i ? names[i - 1] : NULL, limit };
			size_t left = ARRAY_SIZE(names) - i;

			assert_int_equal(history_artifacts_list(f->history, "e_1_00000001", NULL,
						 &page, &artifacts),
				0);
			assert_int_equal(
				artifacts.count, left < (size_t)limit ? left : (size_t)limit);
			for (size_t k = 0; k < artifacts.count; k++)
				assert_string_equal(artifacts.items[k].path, names[i + k]);
			artifacts_release(&artifacts);
		}
	}
	assert_int_equal(history_artifacts_list(f->history, "e_1_00000001", "outputs/",
				 &(struct history_page){ "outputs/b", 10 }, &artifacts),
		0);
	assert_int_equal(artifacts.count, 1);
	assert_string_equal(artifacts.items[0].path, "outputs/b/c");
	artifacts_release(&artifacts);
}

static void expect_resolved(struct fixture *f, const char *name, int r, const char *run_id)
{
	_cleanup_(freep) char *found = NULL;

	assert_int_equal(history_resolve(f->history, NULL, name, &found), r);
	if (r == 0)
		assert_string_equal(found, run_id);
	else
		assert_null(found);
}

static void names_are_resolved(void **state)
{
	struct fixture *f = *state;

	expect_resolved(f, "latest", -ENOENT, NULL);
	assert_int_equal(insert(f, "mnist_17_0000000a", "mnist", RUN_QUEUED), 0);
	assert_int_equal(insert(f, "mnist_17_0000000ab", "mnist", RUN_QUEUED), 0);
	assert_int_equal(insert(f, "mni%t_18_00000001", "mni", RUN_QUEUED), 0);
	expect_resolved(f, "mnist_17_0000000a", 0, "mnist_17_0000000a");
	expect_resolved(f, "mnist_17_0000000ab", 0, "mnist_17_0000000ab");
	expect_resolved(f, "mnist_17", -ENOTUNIQ, NULL);
	expect_resolved(f, "mni%", 0, "mni%t_18_00000001");
	expect_resolved(f, "MNIST_17_0000000a", -ENOENT, NULL);
	expect_resolved(f, "mnist_18", -ENOENT, NULL);
	expect_resolved(f, "", -ENOENT, NULL);
	expect_resolved(f, "\xff\xff", -ENOENT, NULL);
	expect_resolved(f, "latest", 0, "mni%t_18_00000001");
	history_delete(f->history, "mni%t_18_00000001", on_done, ask());
	wait_all(f);
	expect_resolved(f, "latest", 0, "mnist_17_0000000ab");
}

static void order_survives_the_deletion_of_the_newest(void **state)
{
	struct fixture *f = *state;

	fill(f);
	history_delete(f->history, "h", on_done, ask());
	assert_int_equal(insert(f, "i", "x", RUN_QUEUED), 0);
	expect_list(f, (struct history_query){ .limit = 2 }, "ig");
	expect_list(f, (struct history_query){ .before = "i", .limit = 1 }, "g");
}

static void write_file(const char *path, const void *data, size_t size)
{
	assert_int_equal(file_replace(AT_FDCWD, path, data, size, 0600, FILE_NO_SYNC), 0);
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
	sqlite3_stmt *statement;
	sqlite3 *db;
	int version;

	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	version = sqlite3_column_int(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return version;
}

static void newer_version_is_refused_untouched(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *back = NULL;
	int mine;

	assert_int_equal(insert(f, "a", "x", RUN_QUEUED), 0);
	history_close(f->history);
	f->history = NULL;
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
	history_close(f->history);
	f->history = NULL;
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
	history_close(f->history);
	f->history = NULL;
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

	history_close(f->history);
	f->history = NULL;
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

/* ---- kill -9 ---- */

struct killed {
	struct history *history;
	int out;
	int next; /* number of the next insert */
};

static void on_killed_done(void *data, int result)
{
	struct killed *killed = data;
	char byte = result == 0 ? '.' : '!';

	if (write(killed->out, &byte, 1) != 1)
		_exit(1);
}

/* Inserts forever, a few at a time, one byte to `out` for each that was told done. */
static void killed_main(const char *path, int round, int out)
{
	struct killed killed = { .out = out };

	if (history_open(path, &killed.history, NULL) < 0)
		_exit(2);
	for (;;) {
		struct pollfd look = { .fd = history_fd(killed.history), .events = POLLIN };

		for (int i = 0; i < 5; i++) {
			char run_id[32];
			struct run_record record = make(run_id, "e", RUN_QUEUED);

			snprintf(run_id, sizeof(run_id), "e_%d_%08x", round, killed.next++);
			pairs_set(&record.tags, "round", run_id);
			history_insert(killed.history, &record,
				i % 2 ? HISTORY_SOON : HISTORY_DURABLE, on_killed_done, &killed);
			pairs_release(&record.tags);
		}
		poll(&look, 1, -1);
		history_dispatch(killed.history);
	}
}

/* How many were told done before the kill, which came after about `bytes` of them. */
static int run_and_kill(const char *path, int round, int bytes)
{
	int out[2];
	int told = 0;
	pid_t pid;
	char c;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(out[0]);
		killed_main(path, round, out[1]);
	}
	close(out[1]);
	while (read(out[0], &c, 1) == 1) {
		assert_int_equal(c, '.');
		if (++told == bytes)
			kill(pid, SIGKILL);
	}
	close(out[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return told;
}

static void assert_sound(const char *path)
{
	sqlite3_stmt *statement;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(statement, 0), "ok");
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

static void nothing_told_done_is_lost_by_a_kill(void **state)
{
	struct fixture *f = *state;

	srand(17);
	history_close(f->history);
	f->history = NULL;
	for (int round = 0; round < 30; round++) {
		int told = run_and_kill(f->db, round, 1 + rand() % 120);

		assert_sound(f->db);
		assert_int_equal(history_open(f->db, &f->history, NULL), 0);
		for (int i = 0; i < told; i++) {
			_cleanup_(run_record_release) struct run_record read = { 0 };
			char run_id[32];

			snprintf(run_id, sizeof(run_id), "e_%d_%08x", round, i);
			assert_int_equal(history_get(f->history, run_id, &read), 0);
			assert_string_equal(pairs_get(&read.tags, "round"), run_id);
		}
		history_close(f->history);
		f->history = NULL;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(record_comes_back_exactly_after_reopening),
		TEST(empty_fields_stay_empty),
		TEST(database_is_for_its_owner_alone),
		TEST(writes_are_told_in_the_order_queued),
		TEST(one_failing_write_leaves_its_group_alone),
		TEST(close_carries_out_what_is_queued),
		TEST(patch_changes_tags_and_the_display_name_alone),
		TEST(patches_add_so_many_tags_and_no_more),
		TEST(patches_add_so_many_bytes_and_no_more),
		TEST(artifacts_are_read_in_pages),
		TEST(experiments_are_read_in_pages),
		TEST(update_adds_properties_and_leaves_tags),
		TEST(artifacts_keep_names_of_any_bytes),
		TEST(finish_replaces_artifacts_by_path),
		TEST(finish_is_all_or_nothing),
		TEST(whole_group_fails_when_its_transaction_does),
		TEST(delete_takes_all_that_belongs_to_the_run),
		TEST(list_filters_and_pages),
		TEST(counts_and_experiments),
		TEST(names_are_resolved),
		TEST(order_survives_the_deletion_of_the_newest),
		TEST(empty_file_becomes_a_history),
		TEST(newer_version_is_refused_untouched),
		TEST(version_1_is_brought_up_to_date),
		TEST(version_2_is_brought_up_to_date),
		TEST(foreign_or_damaged_file_is_refused_untouched),
		TEST(missing_folder_is_an_error_with_a_text),
		TEST(nothing_told_done_is_lost_by_a_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
