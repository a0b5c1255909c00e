/* SPDX-License-Identifier: MIT */
/* history_sql - sqlite3's statements, values and errors in our words; see history_internal.h */
#include "history/history_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

static const struct {
	int code;
	int error;
} errors[] = {
	{ SQLITE_FULL, -ENOSPC },
	{ SQLITE_IOERR, -EIO },
	{ SQLITE_CORRUPT, -EBADMSG },
	{ SQLITE_NOTADB, -EBADMSG },
	{ SQLITE_CONSTRAINT, -EEXIST },
	{ SQLITE_BUSY, -EAGAIN }, /* somebody else's lock, for longer than we wait */
	{ SQLITE_LOCKED, -EAGAIN },
	{ SQLITE_NOMEM, -ENOMEM },
	{ SQLITE_PERM, -EACCES },
	{ SQLITE_AUTH, -EACCES },
	{ SQLITE_READONLY, -EROFS },
	{ SQLITE_CANTOPEN, -EACCES },
	{ SQLITE_TOOBIG, -EFBIG },
	{ SQLITE_INTERRUPT, -EINTR },
	{ SQLITE_MISUSE, -EINVAL },
};

/* SQLite tells a full disk, but not a full quota or what a sync says, nor why a file cannot be
 * opened: errno does, when it was 0 before the call. */
int history_errno(int code)
{
	int primary = code & 0xff;

	if (primary == SQLITE_IOERR && (errno == ENOSPC || errno == EDQUOT))
		return -ENOSPC;
	if (primary == SQLITE_CANTOPEN && errno)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (errors[i].code == primary)
			return errors[i].error;
	return -EIO;
}

int history_prepare(struct history_db *db, const char *sql, sqlite3_stmt **ret)
{
	int code;
	size_t i = 0;

	while (i < HISTORY_STATEMENTS_MAX && db->cache[i].sql && db->cache[i].sql != sql)
		i++;
	if (i == HISTORY_STATEMENTS_MAX)
		abort(); /* one more statement in the code than there is room for */
	if (!db->cache[i].sql) {
		errno = 0;
		code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
			&db->cache[i].statement, NULL);
		if (code != SQLITE_OK)
			return history_errno(code);
		db->cache[i].sql = sql;
	}
	*ret = db->cache[i].statement;
	sqlite3_clear_bindings(*ret);
	return 0;
}

int history_prepare_once(struct history_db *db, const char *sql, sqlite3_stmt **ret)
{
	int code;

	errno = 0;
	code = sqlite3_prepare_v2(db->handle, sql, -1, ret, NULL);
	return code == SQLITE_OK ? 0 : history_errno(code);
}

int history_step(sqlite3_stmt *statement)
{
	int code;

	errno = 0;
	code = sqlite3_step(statement);
	if (code == SQLITE_ROW)
		return 1;
	return code == SQLITE_DONE ? 0 : history_errno(code);
}

int history_run(sqlite3_stmt *statement)
{
	int r = history_step(statement);

	sqlite3_reset(statement);
	return r < 0 ? r : 0;
}

int history_exec(struct history_db *db, const char *sql)
{
	int code;

	errno = 0;
	code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? 0 : history_errno(code);
}

void history_db_close(struct history_db *db)
{
	for (size_t i = 0; i < HISTORY_STATEMENTS_MAX; i++)
		sqlite3_finalize(db->cache[i].statement);
	sqlite3_close(db->handle);
	*db = (struct history_db){ 0 };
}

void history_bind_text(sqlite3_stmt *statement, int index, const char *text)
{
	sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC);
}

void history_bind_bytes(sqlite3_stmt *statement, int index, const char *text)
{
	sqlite3_bind_blob(statement, index, text, text ? (int)strlen(text) : 0, SQLITE_STATIC);
}

char *history_column_text(sqlite3_stmt *statement, int index)
{
	const void *bytes;

	if (sqlite3_column_type(statement, index) == SQLITE_NULL)
		return NULL;
	bytes = sqlite3_column_blob(statement, index);
	return mem_strndup(bytes ? bytes : "", (size_t)sqlite3_column_bytes(statement, index));
}

int history_seq(struct history_db *db, const char *run_id, int64_t *ret)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(db, "SELECT seq FROM runs WHERE run_id = ?1", &statement);

	if (r < 0)
		return r;
	history_bind_text(statement, 1, run_id);
	r = history_step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret = sqlite3_column_int64(statement, 0);
	return 0;
}

char *history_prefix_end(const char *prefix)
{
	_cleanup_(freep) char *end = mem_strdup(prefix);
	size_t size = strlen(end);

	while (size && (unsigned char)end[size - 1] == 0xff)
		size--;
	if (!size)
		return NULL;
	end[size] = '\0';
	end[size - 1] = (char)((unsigned char)end[size - 1] + 1);
	return TAKE(end);
}
