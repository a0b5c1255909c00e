/* SPDX-License-Identifier: MIT */
/*
 * history_internal - what the files of this folder share
 *
 *	history.c         open and close, the queue, the writer thread
 *	history_write.c   what a queued write does to the database
 *	history_read.c    reads of runs and artifacts
 *	history_count.c   what is counted: states, experiments, use
 *	history_list.c    the list with its filters
 *	history_viewer.c  who sees what; the user that a name means
 *	history_schema.c  opening a connection; the schema and its versions
 *	history_sql.c     sqlite3's ways: statements, values, errors
 *	history_fields.c  the columns of a run: one table for reading and writing
 *
 * A connection (`struct history_db`) is used by one thread at a time and keeps its statements
 * prepared. Statements are named by the address of their text, so that text must live as long as
 *the connection: string literals, and those that are made from the table of fields.
 */
#pragma once

#include <pthread.h>
#include <sqlite3.h>

#include "history/history.h"
#include "common/strbuf.h"

#define HISTORY_STATEMENTS_MAX 32

struct history_db {
	sqlite3 *handle;
	struct {
		const char *sql;
		sqlite3_stmt *statement;
	} cache[HISTORY_STATEMENTS_MAX];
};

enum history_write_kind {
	HISTORY_WRITE_INSERT,
	HISTORY_WRITE_UPDATE, /* and artifacts, if there are any */
	HISTORY_WRITE_PUT_ARTIFACTS,
	HISTORY_WRITE_PATCH,
	HISTORY_WRITE_DELETE,
};

/* One queued write: all it needs, copied. */
struct history_write {
	struct history_write *next;
	enum history_write_kind kind;
	enum history_durability durability;
	struct run_record record; /* insert, update; of the others only run_id */
	struct artifacts artifacts;
	struct pairs tags;   /* patch: what to set */
	char **removed_tags; /* patch */
	char *display_name;  /* patch; NULL leaves it */
	bool share_given;    /* patch: record.shared is to be set */
	history_done done;
	void *data;
	int result;
};

struct history_writes {
	struct history_write *first, *last;
};

struct history {
	struct history_db reader;                             /* the caller's thread */
	struct history_db writer;                             /* the writer thread */
	char *insert_sql, *update_sql, *select_sql, *get_sql; /* from the table of fields */
	int synchronous; /* the writer connection's: 1 normal, 2 full */
	char *path;
	bool is_new;  /* there was none, or an empty file */
	int event_fd; /* told: `finished` is not empty */
	pthread_t thread;
	bool running;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t wake;
	struct history_writes queued;
	struct history_writes finished;
	bool stopping;
};

/* history_sql.c */
/* What a result code of SQLite means; errno was 0 before the call that gave it. */
int history_errno(int code);
/* A statement ready to be bound, owned by db; end its use with statement_donep(). */
int history_prepare(struct history_db *db, const char *sql, sqlite3_stmt **ret);
/* A statement of a text that is made anew each time; the caller finalizes it. */
int history_prepare_once(struct history_db *db, const char *sql, sqlite3_stmt **ret);
/* 1: a row; 0: done; else a negative errno. */
int history_step(sqlite3_stmt *statement);
/* Step a statement that gives no rows. */
int history_run(sqlite3_stmt *statement);
int history_exec(struct history_db *db, const char *sql);
void history_db_close(struct history_db *db);
static inline void history_finalizep(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}
static inline void statement_donep(sqlite3_stmt **statement)
{
	sqlite3_reset(*statement);
}
/* NULL becomes NULL. Not copied: text must stay until the statement has been stepped. */
void history_bind_text(sqlite3_stmt *statement, int index, const char *text);
void history_bind_bytes(sqlite3_stmt *statement, int index, const char *text);
/* malloc'ed, NULL for NULL. */
char *history_column_text(sqlite3_stmt *statement, int index);
/* -ENOENT */
int history_seq(struct history_db *db, const char *run_id, int64_t *ret);
/* The smallest text that is larger than all that begin with prefix; NULL when there is none. */
char *history_prefix_end(const char *prefix);

/* history_schema.c */
/* -EBADMSG, with what SQLite says last and what to do. */
int history_damaged(const char *path, sqlite3 *handle, struct error *err);
int history_schema_open(const char *path, struct history *history, struct error *err);

/* history_fields.c */
void history_fields_sql(struct history *history);
void history_fields_bind_insert(sqlite3_stmt *statement, const struct run_record *record);
/* Returns the index of the parameter after them: seq. */
int history_fields_bind_update(sqlite3_stmt *statement, const struct run_record *record);
/* -EBADMSG for a name this build does not know. */
int history_fields_read(sqlite3_stmt *statement, struct run_record *ret);

/* history_write.c */
int history_write_apply(struct history *history, const struct history_write *write);

/*
 * history_viewer.c: a viewer as SQL.
 *
 * What he sees comes in parts that an index has in the order of seq and that do not overlap: his
 * own runs, those that are shared with everybody, those of each group of his with which runs are
 * shared at all. Parts are numbered from 0; `all` has none, nothing is to be left out then.
 */
struct visible {
	bool all;
	uid_t uid;
	int64_t *gids;
	size_t gid_count;
};

enum visible_kind { VISIBLE_OWN, VISIBLE_SHARED, VISIBLE_GROUP };

int history_visible_init(
	struct history *history, const struct history_viewer *viewer, struct visible *ret);
void history_visible_release(struct visible *visible);
size_t history_visible_parts(const struct visible *visible);
enum visible_kind history_visible_kind(size_t part);
/* The index that has the part by seq. */
const char *history_visible_index(size_t part);
/* "owner = 5": to be put after WHERE, with an index of that part. */
void history_visible_add_part(struct strbuf *sql, const struct visible *visible, size_t part);
/* "(owner = 5 OR shared = 1 ...)": of any row of runs. */
void history_visible_add_condition(struct strbuf *sql, const struct visible *visible);
/* history_seq() of a run that he sees. */
int history_visible_seq(struct history *history, const struct history_viewer *viewer,
	const char *run_id, int64_t *ret);

/* history_read.c: step a SELECT of select_sql's columns to its end. */
int history_read_rows(
	struct history *history, sqlite3_stmt *statement, struct run_record_list *ret);
