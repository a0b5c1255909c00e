/* SPDX-License-Identifier: MIT */
/* history_read - runs and artifacts from the database; see history.h */
#include "history/history_internal.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

/* A read of more rows than this gives the pages it went through back at once. */
#define MANY_ROWS 200

static void after_rows(struct history *history, size_t count)
{
	if (count > MANY_ROWS)
		sqlite3_db_release_memory(history->reader.handle);
}

static int read_pairs(struct history_db *db, const char *sql, int64_t seq, struct pairs *ret)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(db, sql, &statement);

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, seq);
	while ((r = history_step(statement)) > 0) {
		GROW(ret->items, ret->count, ret->room);
		ret->items[ret->count++] = (struct pair){
			history_column_text(statement, 0),
			history_column_text(statement, 1),
		};
	}
	return r;
}

/* The row at which the statement stands, with its tags and properties. */
static int read_record(struct history_db *db, sqlite3_stmt *statement, struct run_record *ret)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	int64_t seq = sqlite3_column_int64(statement, 0);
	int r = history_fields_read(statement, &record);

	if (r == 0)
		r = read_pairs(db, "SELECT key, value FROM tags WHERE seq = ?1 ORDER BY key", seq,
			&record.tags);
	if (r == 0)
		r = read_pairs(db, "SELECT key, value FROM properties WHERE seq = ?1 ORDER BY key",
			seq, &record.properties);
	if (r < 0)
		return r;
	*ret = record;
	record = (struct run_record){ 0 };
	return 0;
}

int history_read_rows(struct history *history, sqlite3_stmt *statement, struct run_record_list *ret)
{
	_cleanup_(run_record_list_release) struct run_record_list list = { 0 };
	int r;

	while ((r = history_step(statement)) > 0) {
		GROW(list.items, list.count, list.room);
		r = read_record(&history->reader, statement, &list.items[list.count]);
		if (r < 0)
			return r;
		list.count++;
	}
	if (r < 0)
		return r;
	after_rows(history, list.count);
	*ret = list;
	list = (struct run_record_list){ 0 };
	return 0;
}

int history_get(struct history *history, const char *run_id, struct run_record *ret)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(&history->reader, history->get_sql, &statement);

	if (r < 0)
		return r;
	history_bind_text(statement, 1, run_id);
	r = history_step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return read_record(&history->reader, statement, ret);
}

/* The run ids that this statement gives: one, none or several. */
static int read_only_id(sqlite3_stmt *statement, char **ret_run_id)
{
	_cleanup_(freep) char *run_id = NULL;
	int r = history_step(statement);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	run_id = history_column_text(statement, 0);
	r = history_step(statement);
	if (r)
		return r < 0 ? r : -ENOTUNIQ;
	*ret_run_id = TAKE(run_id);
	return 0;
}

static int run_id_once(struct history_db *db, const char *sql, const char *first, const char *end,
	char **ret_run_id)
{
	_cleanup_(history_finalizep) sqlite3_stmt *statement = NULL;
	int r = history_prepare_once(db, sql, &statement);

	if (r < 0)
		return r;
	history_bind_text(statement, 1, first);
	history_bind_text(statement, 2, end);
	return read_only_id(statement, ret_run_id);
}

/* Two of each part are enough to know whether there is one. */
static int resolve_prefix(
	struct history_db *db, const struct visible *visible, const char *prefix, char **ret_run_id)
{
	static const char *const indexes[] = {
		[VISIBLE_OWN] = "runs_by_owner_id",
		[VISIBLE_SHARED] = "runs_shared_id",
		[VISIBLE_GROUP] = "runs_by_group_id",
	};
	_cleanup_(freep) char *end = history_prefix_end(prefix);
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;

	if (!end)
		return -ENOENT; /* "", or bytes that no run id has */
	for (size_t i = 0; i < history_visible_parts(visible); i++) {
		strbuf_addf(&sql,
			"%sSELECT * FROM (SELECT run_id FROM runs INDEXED BY %s"
			" WHERE run_id >= ?1 AND run_id < ?2 AND ",
			i ? " UNION ALL " : "", indexes[history_visible_kind(i)]);
		history_visible_add_part(&sql, visible, i);
		strbuf_adds(&sql, " LIMIT 2)");
	}
	if (visible->all)
		strbuf_adds(
			&sql, "SELECT run_id FROM runs WHERE run_id >= ?1 AND run_id < ?2 LIMIT 2");
	return run_id_once(db, sql.data, prefix, end, ret_run_id);
}

static int resolve_own_latest(struct history_db *db, uid_t uid, char **ret_run_id)
{
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;

	strbuf_addf(&sql,
		"SELECT run_id FROM runs INDEXED BY runs_by_owner WHERE owner = %u"
		" ORDER BY seq DESC LIMIT 1",
		(unsigned)uid);
	return run_id_once(db, sql.data, NULL, NULL, ret_run_id);
}

static int resolve_latest(struct history_db *db, const struct visible *visible, char **ret_run_id)
{
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;

	strbuf_adds(&sql, "SELECT run_id FROM runs WHERE seq = (SELECT max(seq) FROM (");
	for (size_t i = 0; i < history_visible_parts(visible); i++) {
		strbuf_addf(&sql, "%sSELECT * FROM (SELECT seq FROM runs INDEXED BY %s WHERE ",
			i ? " UNION ALL " : "", history_visible_index(i));
		history_visible_add_part(&sql, visible, i);
		strbuf_adds(&sql, " ORDER BY seq DESC LIMIT 1)");
	}
	if (visible->all)
		strbuf_adds(&sql, "SELECT max(seq) AS seq FROM runs");
	strbuf_adds(&sql, "))");
	return run_id_once(db, sql.data, NULL, NULL, ret_run_id);
}

int history_resolve(struct history *history, const struct history_viewer *viewer, const char *name,
	char **ret_run_id)
{
	_cleanup_(history_visible_release) struct visible visible = { 0 };
	int64_t seq;
	int r = history_visible_seq(history, viewer, name, &seq);

	if (r == 0)
		*ret_run_id = mem_strdup(name);
	if (r != -ENOENT)
		return r;
	r = history_visible_init(history, viewer, &visible);
	if (r < 0)
		return r;
	if (!strcmp(name, "latest") && viewer && viewer->own_latest)
		return resolve_own_latest(&history->reader, viewer->uid, ret_run_id);
	if (!strcmp(name, "latest"))
		return resolve_latest(&history->reader, &visible, ret_run_id);
	return resolve_prefix(&history->reader, &visible, name, ret_run_id);
}

static void read_artifact(sqlite3_stmt *statement, struct artifact *ret)
{
	*ret = (struct artifact){
		.path = history_column_text(statement, 0),
		.size = (uint64_t)sqlite3_column_int64(statement, 1),
		.modified_us = sqlite3_column_int64(statement, 3),
	};
	if (sqlite3_column_bytes(statement, 2) == DIGEST_SIZE)
		memcpy(ret->digest.bytes, sqlite3_column_blob(statement, 2), DIGEST_SIZE);
}

#define ARTIFACTS "SELECT path, size, digest, modified_us FROM artifacts WHERE seq = ?1"

#define PAGE_OF_ARTIFACTS " AND path <> ?4 ORDER BY path LIMIT ?5"

/* Those that begin with prefix: a range, which the primary key gives in order. It begins where the page
 * before ended. */
static int select_artifacts(struct history_db *db, const char *prefix, const char *end,
	const struct history_page *page, sqlite3_stmt **ret)
{
	const char *after = page && page->after ? page->after : "";
	int r = history_prepare(db,
		end ? ARTIFACTS " AND path >= ?2 AND path < ?3" PAGE_OF_ARTIFACTS
		    : ARTIFACTS " AND path >= ?2" PAGE_OF_ARTIFACTS,
		ret);

	if (r < 0)
		return r;
	history_bind_bytes(*ret, 2, after[0] ? after : prefix);
	if (end)
		history_bind_bytes(*ret, 3, end);
	history_bind_bytes(*ret, 4, after);
	sqlite3_bind_int64(*ret, 5, page ? page->limit : -1);
	return 0;
}

int history_artifacts_list(struct history *history, const char *run_id, const char *prefix,
	const struct history_page *page, struct artifacts *ret)
{
	_cleanup_(artifacts_release) struct artifacts list = { 0 };
	_cleanup_(freep) char *end = history_prefix_end(prefix ? prefix : "");
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int64_t seq;
	int r = history_seq(&history->reader, run_id, &seq);

	if (r == 0)
		r = select_artifacts(&history->reader, prefix ? prefix : "", end, page, &statement);
	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, seq);
	while ((r = history_step(statement)) > 0) {
		GROW(list.items, list.count, list.room);
		read_artifact(statement, &list.items[list.count++]);
	}
	if (r < 0)
		return r;
	after_rows(history, list.count);
	*ret = list;
	list = (struct artifacts){ 0 };
	return 0;
}

int history_artifact_get(
	struct history *history, const char *run_id, const char *path, struct artifact *ret)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int64_t seq;
	int r = history_seq(&history->reader, run_id, &seq);

	if (r < 0)
		return r;
	r = history_prepare(&history->reader, ARTIFACTS " AND path = ?2", &statement);
	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, seq);
	history_bind_bytes(statement, 2, path);
	r = history_step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	read_artifact(statement, ret);
	return 0;
}
