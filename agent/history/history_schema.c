/* SPDX-License-Identifier: MIT */
/* history_schema - connections, the schema and its versions; see history_internal.h */
#include "history/history_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fail_point.h"
#include "common/mem.h"

/*
 * migrations[n] leads from version n to n + 1. They are never changed once released, only added to.
 *
 * A list is newest first with a limit, so each index ends with seq: it gives the rows already in
 * order. Tags and properties are rows, not JSON, for the same reason.
 */
static const char *const migrations[] = {
	"CREATE TABLE runs ("
	"	seq INTEGER PRIMARY KEY AUTOINCREMENT," /* order of insertion, never given again */
	"	run_id TEXT NOT NULL UNIQUE,"
	"	experiment_name TEXT NOT NULL,"
	"	display_name TEXT,"
	"	target TEXT,"
	"	submitted_by TEXT,"
	"	owner INTEGER NOT NULL,"
	"	state TEXT NOT NULL,"
	"	cause TEXT,"
	"	error_message TEXT,"
	"	created_us INTEGER NOT NULL,"
	"	queued_us INTEGER NOT NULL,"
	"	start_us INTEGER NOT NULL,"
	"	end_us INTEGER NOT NULL,"
	"	exit_code INTEGER NOT NULL,"
	"	signal INTEGER NOT NULL,"
	"	warnings BLOB,"
	"	snapshot_id TEXT,"
	"	definition TEXT,"
	"	used_known INTEGER NOT NULL,"
	"	wall_us INTEGER NOT NULL,"
	"	user_us INTEGER NOT NULL,"
	"	system_us INTEGER NOT NULL,"
	"	peak_bytes INTEGER NOT NULL,"
	"	interpreter_path TEXT,"
	"	interpreter_version TEXT,"
	"	parent_run_id TEXT,"
	"	boot_id TEXT);"
	"CREATE INDEX runs_by_experiment ON runs (experiment_name, seq);"
	"CREATE INDEX runs_by_state ON runs (state, seq);"
	"CREATE INDEX runs_by_experiment_state ON runs (experiment_name, state, seq);"
	"CREATE TABLE tags ("
	"	seq INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,"
	"	key TEXT NOT NULL,"
	"	value TEXT NOT NULL,"
	"	PRIMARY KEY (seq, key)) WITHOUT ROWID;"
	"CREATE INDEX tags_by_key ON tags (key, seq);"
	"CREATE INDEX tags_by_value ON tags (key, value, seq);"
	"CREATE TABLE properties ("
	"	seq INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,"
	"	key TEXT NOT NULL,"
	"	value TEXT NOT NULL,"
	"	PRIMARY KEY (seq, key)) WITHOUT ROWID;"
	"CREATE TABLE artifacts ("
	"	seq INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,"
	"	path BLOB NOT NULL,"
	"	size INTEGER NOT NULL,"
	"	digest BLOB NOT NULL,"
	"	modified_us INTEGER NOT NULL,"
	"	PRIMARY KEY (seq, path)) WITHOUT ROWID;",

	"ALTER TABLE runs ADD COLUMN canceled_by TEXT;",

	/* Many users. What a run asked for was in its definition alone until now. Of what a viewer
	 * sees each part has its index: for lists (by seq), for names (by run_id), and with what is
	 * counted in it. */
	"ALTER TABLE runs ADD COLUMN cpus INTEGER NOT NULL DEFAULT 1;"
	"ALTER TABLE runs ADD COLUMN gpus INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE runs ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE runs ADD COLUMN shared INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE runs ADD COLUMN shared_gid INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE runs ADD COLUMN held_by TEXT;"
	"ALTER TABLE runs ADD COLUMN after BLOB;"
	"ALTER TABLE runs ADD COLUMN gpu_ids BLOB;"
	"UPDATE runs SET"
	"	cpus = coalesce(json_extract(definition, '$.resources.cpus'), 1),"
	"	gpus = coalesce(json_extract(definition, '$.resources.gpus'), 0),"
	"	memory_bytes = coalesce(json_extract(definition, '$.resources.memory_bytes'), 0),"
	"	priority = coalesce(json_extract(definition, '$.priority'), 0)"
	"	WHERE json_valid(definition);"
	"CREATE INDEX runs_by_owner ON runs (owner, seq);"
	"CREATE INDEX runs_by_owner_state ON runs (owner, state, seq);"
	"CREATE INDEX runs_by_owner_experiment ON runs (owner, experiment_name, seq);"
	"CREATE INDEX runs_by_owner_id ON runs (owner, run_id);"
	"CREATE INDEX runs_shared ON runs (seq, owner, state, experiment_name) WHERE shared = 1;"
	"CREATE INDEX runs_shared_id ON runs (run_id, owner) WHERE shared = 1;"
	"CREATE INDEX runs_by_group ON runs (shared_gid, seq, shared, owner, state, experiment_name)"
	"	WHERE shared_gid > 0;"
	"CREATE INDEX runs_by_group_id ON runs (shared_gid, run_id, shared, owner)"
	"	WHERE shared_gid > 0;"
	"CREATE INDEX runs_by_end ON runs (end_us, start_us, owner, cpus, gpus)"
	"	WHERE end_us > 0 AND start_us > 0;",
};

#define VERSION ((int)ARRAY_SIZE(migrations))

static int open_db(struct history_db *db, const char *path, int flags)
{
	int code, r;

	errno = 0;
	code = sqlite3_open_v2(
		path, &db->handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	r = code == SQLITE_OK ? 0 : history_errno(code);
	if (r < 0)
		history_db_close(db);
	else
		sqlite3_busy_timeout(db->handle, 5000);
	return r;
}

/* A statement without parameters that gives one number. */
static int query_int(struct history_db *db, const char *sql, int *ret)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(db, sql, &statement);

	if (r < 0)
		return r;
	r = history_step(statement);
	if (r < 0)
		return r;
	*ret = r ? sqlite3_column_int(statement, 0) : 0;
	return 0;
}

int history_damaged(const char *path, sqlite3 *handle, struct error *err)
{
	return error_set(err, -EBADMSG, NULL,
		"the run history %s is damaged (%s); restore it from a copy, or move it away to "
		"begin a new one (the folders of runs that it does not know stay in runs/)",
		path, sqlite3_errmsg(handle));
}

static int read_version(struct history_db *db, const char *path, int *ret, struct error *err)
{
	int version, objects;
	int r = query_int(db, "PRAGMA user_version", &version);

	if (r == 0)
		r = query_int(db, "SELECT count(*) FROM sqlite_master", &objects);
	if (r == -EBADMSG)
		return history_damaged(path, db->handle, err);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot read the run history %s", path);
	if (version > VERSION)
		return error_set(err, -EPROTONOSUPPORT, NULL,
			"the run history %s was made by a newer version (format %d, this one knows "
			"%d); install that version again, or use another --state-dir",
			path, version, VERSION);
	if (version < 0 || (version == 0 && objects > 0))
		return error_set(err, -EBADMSG, NULL,
			"%s is a database, but no run history; use another --state-dir", path);
	*ret = version;
	return 0;
}

static bool has_beside(const char *path, const char *suffix)
{
	_cleanup_(freep) char *name = mem_printf("%s%s", path, suffix);

	return access(name, F_OK) == 0;
}

/* With no log beside it the file is all there is. SQLite is told so and makes no files of its own.
 */
static char *check_uri(const char *path)
{
	struct strbuf uri = STRBUF_INIT;
	bool alone = !has_beside(path, "-wal") && !has_beside(path, "-journal");

	strbuf_adds(&uri, path[0] == '/' ? "file://" : "file:");
	for (; *path; path++)
		strbuf_addf(&uri, strchr("?#%", *path) ? "%%%02X" : "%c", *path);
	strbuf_adds(&uri, alone ? "?immutable=1" : "");
	return strbuf_steal(&uri);
}

/* Look before anything is written: a file that is refused stays as it is, byte for byte. But for a
 * journal that a crash has left: without being rolled back the file says nothing. */
static int check(const char *path, struct error *err)
{
	_cleanup_(freep) char *uri = check_uri(path);
	int mode = has_beside(path, "-journal") ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
	struct history_db db = { 0 };
	int version;
	int r = open_db(&db, uri, mode | SQLITE_OPEN_URI);

	if (r < 0)
		return error_errno(err, r, NULL, "cannot open the run history %s", path);
	r = read_version(&db, path, &version, err);
	history_db_close(&db);
	return r;
}

static int migrate(struct history_db *db, int version)
{
	int r = history_exec(db, "BEGIN IMMEDIATE");

	for (int i = version; r == 0 && i < VERSION; i++) {
		char pragma[64];

		snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", i + 1);
		r = history_exec(db, migrations[i]);
		if (r == 0)
			r = history_exec(db, pragma);
	}
	if (r == 0)
		r = FAIL_POINT(FAIL_HISTORY_MIGRATE, history_exec(db, "COMMIT"));
	if (r < 0 && !sqlite3_get_autocommit(db->handle))
		history_exec(db, "ROLLBACK");
	return r;
}

/* Small caches: the kernel has the file in its own. */
#define SETTINGS \
	"PRAGMA cache_size = -512; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;" \
	"PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"

static int open_writer(struct history *history, const char *path, struct error *err)
{
	struct history_db *db = &history->writer;
	int version;
	int r = open_db(db, path, SQLITE_OPEN_READWRITE);

	if (r == 0)
		r = history_exec(db,
			SETTINGS "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
				 "PRAGMA journal_size_limit = 16777216;");
	if (r < 0)
		return error_errno(err, r, NULL, "cannot open the run history %s", path);
	history->synchronous = 2;
	r = read_version(db, path, &version, err);
	if (r < 0)
		return r;
	history->is_new = version == 0;
	r = version == VERSION ? 0 : migrate(db, version);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot set up the run history %s", path);
	return 0;
}

int history_schema_open(const char *path, struct history *history, struct error *err)
{
	/* Made by us, for the mode: SQLite gives its other files the same. */
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return error_errno(err, -errno, NULL, "cannot open the run history %s", path);
	fd_close(fd);
	r = check(path, err);
	if (r < 0)
		return r;
	r = open_writer(history, path, err);
	if (r < 0)
		return r;
	r = open_db(&history->reader, path, SQLITE_OPEN_READWRITE);
	if (r == 0)
		r = history_exec(&history->reader, SETTINGS "PRAGMA query_only = ON;");
	if (r < 0)
		return error_errno(err, r, NULL, "cannot open the run history %s", path);
	return 0;
}

int history_format(void)
{
	return VERSION;
}
