/* SPDX-License-Identifier: MIT */
/* history_fixture - a history in a temporary folder; see history_fixture.h */
#include "history_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <sqlite3.h>

static struct fixture fixture;

int set_up(void **state)
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

int tear_down(void **state)
{
	struct fixture *f = *state;

	close_history(f);
	assert_int_equal(tree_remove(AT_FDCWD, f->dir), 0);
	free(f->db);
	alarm(0);
	return 0;
}

void close_history(struct fixture *f)
{
	history_close(f->history);
	f->history = NULL;
}

void reopen(struct fixture *f)
{
	close_history(f);
	assert_int_equal(history_open(f->db, &f->history, NULL), 0);
}

/* ---- writes ---- */

void on_done(void *data, int result)
{
	fixture.which[fixture.told] = (int)(intptr_t)data;
	fixture.results[fixture.told++] = result;
}

void *ask(void)
{
	return (void *)(intptr_t)fixture.asked++;
}

void wait_all(struct fixture *f)
{
	while (f->told < f->asked) {
		struct pollfd look = { .fd = history_fd(f->history), .events = POLLIN };

		assert_int_equal(poll(&look, 1, 20000), 1);
		history_dispatch(f->history);
	}
}

int wait_last(struct fixture *f)
{
	wait_all(f);
	return f->results[f->told - 1];
}

/* ---- records ---- */

struct run_record make(const char *run_id, const char *experiment, enum run_state state)
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

int insert(struct fixture *f, const char *run_id, const char *experiment, enum run_state state)
{
	struct run_record record = make(run_id, experiment, state);

	history_insert(f->history, &record, HISTORY_SOON, on_done, ask());
	return wait_last(f);
}

struct run_record full_record(void)
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

void free_made(struct run_record *record)
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

void assert_records(const struct run_record *a, const struct run_record *b)
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

void expect_list(struct fixture *f, struct history_query query, const char *ids)
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

/* ---- behind the history's back ---- */

void sabotage(struct fixture *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

char *value_of(struct fixture *f, const char *sql)
{
	sqlite3_stmt *statement;
	sqlite3 *db;
	char *value;

	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	value = mem_strdup((const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return value;
}
