/* SPDX-License-Identifier: MIT */
/* history_check - a look at the database that changes nothing; see history.h */
#include "history/history_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"

#define FAULTS_MAX "100"
#define BUSY_MS 5000

struct history_check {
	struct history_db db;
	int format;
};

static bool is_beside(const char *path, const char *suffix)
{
	_cleanup_(freep) char *name = mem_printf("%s%s", path, suffix);

	return access(name, F_OK) == 0;
}

static char *make_uri(const char *path, bool immutable)
{
	struct strbuf uri = STRBUF_INIT;

	strbuf_adds(&uri, path[0] == '/' ? "file://" : "file:");
	for (; *path; path++)
		strbuf_addf(&uri, strchr("?#%", *path) ? "%%%02X" : "%c", *path);
	strbuf_adds(&uri, immutable ? "?immutable=1" : "?mode=ro");
	return strbuf_steal(&uri);
}

/*
 * In use: as any reader, by way of the shared memory that is there. Else neither the file nor a log
 * that a daemon left beside it has an owner: no locks ("unix-none"), and the index of the log in
 * our own memory (locking_mode), so that SQLite makes no file and writes to none.
 */
static int open_readonly(struct history_db *db, const char *path, bool in_use)
{
	bool alone = !in_use && !is_beside(path, "-wal") && !is_beside(path, "-journal");
	_cleanup_(freep) char *uri = make_uri(path, alone);
	int code;

	errno = 0;
	code = sqlite3_open_v2(uri, &db->handle,
		SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX |
			SQLITE_OPEN_EXRESCODE,
		in_use || alone ? NULL : "unix-none");
	if (code != SQLITE_OK)
		return history_errno(code);
	sqlite3_busy_timeout(db->handle, BUSY_MS);
	/* The last one out of a database takes the log in. Not we. */
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (in_use || alone)
		return history_exec(db, "PRAGMA trusted_schema = OFF");
	return history_exec(db, "PRAGMA trusted_schema = OFF; PRAGMA locking_mode = EXCLUSIVE");
}

/* One number, of a statement without parameters. */
static int query_number(struct history_db *db, const char *sql, int64_t *ret)
{
	sqlite3_stmt *statement;
	int r = history_prepare_once(db, sql, &statement);

	if (r < 0)
		return r;
	r = history_step(statement);
	if (r > 0)
		*ret = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return r < 0 ? r : 0;
}

static int read_format(struct history_check *check)
{
	int64_t format = 0;
	int64_t objects = 0;
	int r = history_exec(&check->db, "BEGIN");

	if (r == 0)
		r = query_number(&check->db, "PRAGMA user_version", &format);
	if (r == 0)
		r = query_number(&check->db, "SELECT count(*) FROM sqlite_master", &objects);
	if (r < 0)
		return r;
	check->format = (int)format;
	return format < 0 || (format == 0 && objects > 0) ? -EMEDIUMTYPE : 0;
}

static int explain(struct history_check *check, int r, const char *path, struct error *err)
{
	if (r == -EMEDIUMTYPE)
		return error_set(err, -EBADMSG, path, "%s is a database, but no run history", path);
	if (r == -EBADMSG)
		return error_set(err, r, path, "the run history %s is damaged: %s", path,
			sqlite3_errmsg(check->db.handle));
	if (r == -EROFS)
		return error_set(err, -EAGAIN, path,
			"a change of %s was interrupted, and to take it back is to write: start a "
			"daemon, then look again",
			path);
	return error_errno(err, r, path, "cannot read the run history %s", path);
}

int history_check_open(const char *path, bool in_use, struct history_check **ret, struct error *err)
{
	_cleanup_(history_check_closep) struct history_check *check = NULL;
	int r;

	if (access(path, F_OK) < 0 && errno == ENOENT)
		return error_set(err, -ENOENT, path, "there is no run history %s", path);
	check = NEW(struct history_check);
	r = open_readonly(&check->db, path, in_use);
	if (r == 0)
		r = read_format(check);
	if (r < 0) /* it was there: what is missing is a file of SQLite's */
		return explain(check, r == -ENOENT ? -EIO : r, path, err);
	*ret = TAKE(check);
	return 0;
}

void history_check_close(struct history_check *check)
{
	if (!check)
		return;
	history_db_close(&check->db);
	free(check);
}

int history_check_format(const struct history_check *check)
{
	return check->format;
}

int history_check_renew(struct history_check *check)
{
	int r = 0;

	/* Over a page that is damaged SQLite may have ended the transaction itself. */
	if (!sqlite3_get_autocommit(check->db.handle))
		r = history_exec(&check->db, "COMMIT");
	return r < 0 ? r : history_exec(&check->db, "BEGIN");
}

/* A pragma that gives a row for each fault; `describe` makes a line of it, or NULL. */
static int collect_faults(struct history_check *check, const char *sql,
	char *(*describe)(sqlite3_stmt *statement), char ***faults)
{
	sqlite3_stmt *statement;
	int r = history_prepare_once(&check->db, sql, &statement);

	while (r >= 0 && (r = history_step(statement)) > 0) {
		char *fault = describe(statement);

		if (fault)
			strv_take(faults, fault);
	}
	if (r == -EBADMSG)
		strv_addf(faults, "%s", sqlite3_errmsg(check->db.handle));
	sqlite3_finalize(statement);
	return r == -EBADMSG ? 0 : r;
}

static char *describe_integrity(sqlite3_stmt *statement)
{
	_cleanup_(freep) char *text = history_column_text(statement, 0);

	return text && strcmp(text, "ok") != 0 ? TAKE(text) : NULL;
}

static char *describe_foreign_key(sqlite3_stmt *statement)
{
	_cleanup_(freep) char *table = history_column_text(statement, 0);
	_cleanup_(freep) char *parent = history_column_text(statement, 2);

	return mem_printf(
		"a row of %s belongs to no row of %s", table ? table : "?", parent ? parent : "?");
}

int history_check_integrity(struct history_check *check, char ***ret)
{
	_cleanup_(strv_freep) char **faults = NULL;
	int r = collect_faults(
		check, "PRAGMA integrity_check(" FAULTS_MAX ")", describe_integrity, &faults);

	if (r >= 0)
		r = collect_faults(
			check, "PRAGMA foreign_key_check", describe_foreign_key, &faults);
	if (r < 0)
		return r;
	*ret = TAKE(faults);
	return 0;
}

static void read_run(sqlite3_stmt *statement, struct history_check_run *ret)
{
	_cleanup_(freep) char *state = history_column_text(statement, 1);

	*ret = (struct history_check_run){
		.run_id = history_column_text(statement, 0),
		.snapshot_id = history_column_text(statement, 2),
		.created_us = sqlite3_column_int64(statement, 3),
	};
	ret->state_known = state && run_state_parse(state, &ret->state) == 0;
}

int history_check_runs(struct history_check *check,
	void (*tell)(void *data, const struct history_check_run *run), void *data)
{
	sqlite3_stmt *statement;
	int r = history_prepare_once(&check->db,
		"SELECT run_id, state, snapshot_id, created_us FROM runs ORDER BY seq", &statement);

	while (r >= 0 && (r = history_step(statement)) > 0) {
		struct history_check_run run;

		read_run(statement, &run);
		tell(data, &run);
		free(run.run_id);
		free(run.snapshot_id);
	}
	sqlite3_finalize(statement);
	return r;
}

int history_check_artifacts(struct history_check *check,
	void (*tell)(void *data, const char *run_id, const struct artifact *artifact), void *data)
{
	sqlite3_stmt *statement;
	int r = history_prepare_once(&check->db,
		"SELECT runs.run_id, path, size, digest FROM artifacts JOIN runs USING (seq)"
		" ORDER BY seq",
		&statement);

	while (r >= 0 && (r = history_step(statement)) > 0) {
		_cleanup_(freep) char *run_id = history_column_text(statement, 0);
		_cleanup_(freep) char *path = history_column_text(statement, 1);
		struct artifact artifact = {
			.path = path ? path : "",
			.size = (uint64_t)sqlite3_column_int64(statement, 2),
		};

		if (sqlite3_column_bytes(statement, 3) == DIGEST_SIZE)
			memcpy(artifact.digest.bytes, sqlite3_column_blob(statement, 3),
				DIGEST_SIZE);
		tell(data, run_id ? run_id : "", &artifact);
	}
	sqlite3_finalize(statement);
	return r;
}

int history_check_run_state(struct history_check *check, const char *run_id, enum run_state *ret)
{
	sqlite3_stmt *statement;
	int r = history_prepare_once(
		&check->db, "SELECT state FROM runs WHERE run_id = ?1", &statement);

	if (r < 0)
		return r;
	history_bind_text(statement, 1, run_id);
	r = history_step(statement);
	if (r > 0)
		r = run_state_parse((const char *)sqlite3_column_text(statement, 0), ret);
	else if (r == 0)
		r = -ENOENT;
	sqlite3_finalize(statement);
	return r;
}
