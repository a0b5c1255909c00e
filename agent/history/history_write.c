/* SPDX-License-Identifier: MIT */
/* history_write - what a queued write does to the database; see history_internal.h */
#include "history/history_internal.h"

#include <errno.h>

#include "common/cleanup.h"
#include "common/run_request.h"

static const char set_tag[] = "INSERT INTO tags (seq, key, value) VALUES (?1, ?2, ?3)"
			      " ON CONFLICT (seq, key) DO UPDATE SET value = excluded.value";
static const char add_property[] = "INSERT INTO properties (seq, key, value) VALUES (?1, ?2, ?3)"
				   " ON CONFLICT (seq, key) DO NOTHING";

static int write_pairs(
	struct history_db *db, const char *sql, int64_t seq, const struct pairs *pairs)
{
	sqlite3_stmt *statement;
	int r = 0;

	for (size_t i = 0; r == 0 && i < pairs->count; i++) {
		r = history_prepare(db, sql, &statement);
		if (r < 0)
			return r;
		sqlite3_bind_int64(statement, 1, seq);
		history_bind_text(statement, 2, pairs->items[i].key);
		history_bind_text(statement, 3, pairs->items[i].value);
		r = history_run(statement);
	}
	return r;
}

static int write_insert(struct history *history, const struct history_write *write)
{
	struct history_db *db = &history->writer;
	sqlite3_stmt *statement;
	int64_t seq;
	int r = history_prepare(db, history->insert_sql, &statement);

	if (r < 0)
		return r;
	history_fields_bind_insert(statement, &write->record);
	r = history_run(statement);
	if (r < 0)
		return r;
	seq = sqlite3_last_insert_rowid(db->handle);
	r = write_pairs(db, set_tag, seq, &write->record.tags);
	return r < 0 ? r : write_pairs(db, add_property, seq, &write->record.properties);
}

static int write_artifacts(struct history_db *db, int64_t seq, const struct artifacts *artifacts)
{
	sqlite3_stmt *statement;
	int r = 0;

	for (size_t i = 0; r == 0 && i < artifacts->count; i++) {
		const struct artifact *artifact = &artifacts->items[i];

		r = history_prepare(db,
			"INSERT OR REPLACE INTO artifacts (seq, path, size, digest, modified_us)"
			" VALUES (?1, ?2, ?3, ?4, ?5)",
			&statement);
		if (r < 0)
			return r;
		sqlite3_bind_int64(statement, 1, seq);
		history_bind_bytes(statement, 2, artifact->path);
		sqlite3_bind_int64(statement, 3, (sqlite3_int64)artifact->size);
		sqlite3_bind_blob(statement, 4, artifact->digest.bytes, DIGEST_SIZE, SQLITE_STATIC);
		sqlite3_bind_int64(statement, 5, artifact->modified_us);
		r = history_run(statement);
	}
	return r;
}

static int write_update(struct history *history, const struct history_write *write, int64_t seq)
{
	struct history_db *db = &history->writer;
	sqlite3_stmt *statement;
	int r = history_prepare(db, history->update_sql, &statement);

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, history_fields_bind_update(statement, &write->record), seq);
	r = history_run(statement);
	if (r == 0)
		r = write_pairs(db, add_property, seq, &write->record.properties);
	return r < 0 ? r : write_artifacts(db, seq, &write->artifacts);
}

static int remove_tags(struct history_db *db, int64_t seq, char *const *keys)
{
	sqlite3_stmt *statement;
	int r = 0;

	for (size_t i = 0; r == 0 && keys && keys[i]; i++) {
		r = history_prepare(db, "DELETE FROM tags WHERE seq = ?1 AND key = ?2", &statement);
		if (r < 0)
			return r;
		sqlite3_bind_int64(statement, 1, seq);
		history_bind_text(statement, 2, keys[i]);
		r = history_run(statement);
	}
	return r;
}

static int set_display_name(struct history_db *db, int64_t seq, const char *name)
{
	sqlite3_stmt *statement;
	int r = history_prepare(
		db, "UPDATE runs SET display_name = nullif(?1, '') WHERE seq = ?2", &statement);

	if (r < 0)
		return r;
	history_bind_text(statement, 1, name);
	sqlite3_bind_int64(statement, 2, seq);
	return history_run(statement);
}

static int set_shared(struct history_db *db, int64_t seq, bool shared)
{
	sqlite3_stmt *statement;
	int r = history_prepare(db, "UPDATE runs SET shared = ?1 WHERE seq = ?2", &statement);

	if (r < 0)
		return r;
	sqlite3_bind_int(statement, 1, shared);
	sqlite3_bind_int64(statement, 2, seq);
	return history_run(statement);
}

/* -E2BIG: the tags that were there and those that came are too many together. */
static int check_tags(struct history_db *db, int64_t seq)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(db,
		"SELECT count(*), sum(length(CAST(key AS BLOB)) + length(CAST(value AS BLOB)))"
		" FROM tags WHERE seq = ?1",
		&statement);

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, seq);
	r = history_step(statement);
	if (r < 0)
		return r;
	return run_tags_fit(sqlite3_column_int64(statement, 0), sqlite3_column_int64(statement, 1))
		       ? 0
		       : -E2BIG;
}

/* Who only removes tags may, however many an older build has let in. */
static int write_patch(struct history *history, const struct history_write *write, int64_t seq)
{
	struct history_db *db = &history->writer;
	int r = remove_tags(db, seq, write->removed_tags);

	if (r == 0)
		r = write_pairs(db, set_tag, seq, &write->tags);
	if (r == 0 && write->tags.count)
		r = check_tags(db, seq);
	if (r == 0 && write->display_name)
		r = set_display_name(db, seq, write->display_name);
	if (r == 0 && write->share_given)
		r = set_shared(db, seq, write->record.shared);
	return r;
}

static int write_put_artifacts(
	struct history *history, const struct history_write *write, int64_t seq)
{
	return write_artifacts(&history->writer, seq, &write->artifacts);
}

/* Tags, properties and artifacts go with it: their foreign keys cascade. */
static int write_delete(struct history *history, const struct history_write *write, int64_t seq)
{
	sqlite3_stmt *statement;
	int r = history_prepare(&history->writer, "DELETE FROM runs WHERE seq = ?1", &statement);

	(void)write;
	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, seq);
	return history_run(statement);
}

typedef int (*write_function)(
	struct history *history, const struct history_write *write, int64_t seq);

/* Those that change a run which must be there. */
static const write_function functions[] = {
	[HISTORY_WRITE_UPDATE] = write_update,
	[HISTORY_WRITE_PUT_ARTIFACTS] = write_put_artifacts,
	[HISTORY_WRITE_PATCH] = write_patch,
	[HISTORY_WRITE_DELETE] = write_delete,
};

int history_write_apply(struct history *history, const struct history_write *write)
{
	int64_t seq;
	int r;

	if (write->kind == HISTORY_WRITE_INSERT)
		return write_insert(history, write);
	r = history_seq(&history->writer, write->record.run_id, &seq);
	return r < 0 ? r : functions[write->kind](history, write, seq);
}
