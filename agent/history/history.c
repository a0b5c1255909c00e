/* SPDX-License-Identifier: MIT */
/* history - the memory of runs: queue and writer thread; see history.h and history_internal.h */
#include "history/history_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "common/cleanup.h"
#include "common/fail_point.h"
#include "common/mem.h"

static void push(struct history_writes *list, struct history_write *write)
{
	if (list->last)
		list->last->next = write;
	else
		list->first = write;
	list->last = write;
}

static void append(struct history_writes *list, const struct history_writes *more)
{
	if (list->last)
		list->last->next = more->first;
	else
		list->first = more->first;
	if (more->last)
		list->last = more->last;
}

static struct history_write *pop(struct history_writes *list)
{
	struct history_write *write = list->first;

	if (!write)
		return NULL;
	list->first = write->next;
	if (!list->first)
		list->last = NULL;
	write->next = NULL;
	return write;
}

static struct history_writes take_all(struct history_writes *list)
{
	struct history_writes all = *list;

	*list = (struct history_writes){ 0 };
	return all;
}

static void write_free(struct history_write *write)
{
	run_record_release(&write->record);
	artifacts_release(&write->artifacts);
	pairs_release(&write->tags);
	strv_free(write->removed_tags);
	free(write->display_name);
	free(write);
}

/* --- the writer thread --- */

/* Alone in its group or not, a write that fails leaves nothing behind and does not touch the
 * others. */
static int carry_out_one(struct history *history, const struct history_write *write)
{
	struct history_db *db = &history->writer;
	sqlite3_stmt *statement;
	int r, undone;

	r = history_prepare(db, "SAVEPOINT one", &statement);
	if (r == 0)
		r = history_run(statement);
	if (r < 0)
		return r;
	r = history_write_apply(history, write);
	if (r < 0) {
		undone = history_prepare(db, "ROLLBACK TO one", &statement);
		if (undone == 0)
			history_run(statement);
	}
	undone = history_prepare(db, "RELEASE one", &statement);
	if (undone == 0)
		undone = history_run(statement);
	return r < 0 ? r : undone;
}

/* Between transactions only. NORMAL does not fsync a commit; a FULL one after it fsyncs both. */
static int set_synchronous(struct history *history, bool durable)
{
	int wanted = durable ? 2 : 1;
	int r = 0;

	if (history->synchronous != wanted)
		r = history_exec(&history->writer,
			durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
	if (r == 0)
		history->synchronous = wanted;
	return r;
}

static int run_statement(struct history_db *db, const char *sql)
{
	sqlite3_stmt *statement;
	int r = history_prepare(db, sql, &statement);

	return r < 0 ? r : history_run(statement);
}

static enum fail_point point_of(const struct history_write *write)
{
	static const enum fail_point points[] = {
		[HISTORY_WRITE_INSERT] = FAIL_HISTORY_INSERT,
		[HISTORY_WRITE_UPDATE] = FAIL_HISTORY_UPDATE,
		[HISTORY_WRITE_PUT_ARTIFACTS] = FAIL_HISTORY_ARTIFACTS,
		[HISTORY_WRITE_PATCH] = FAIL_HISTORY_PATCH,
		[HISTORY_WRITE_DELETE] = FAIL_HISTORY_DELETE,
	};

	if (write->kind != HISTORY_WRITE_UPDATE)
		return points[write->kind];
	if (run_state_is_terminal(write->record.state))
		return FAIL_HISTORY_FINISH;
	return write->durability == HISTORY_DURABLE ? FAIL_HISTORY_PREPARE : FAIL_HISTORY_UPDATE;
}

/* Each write of the group has a say in how the commit goes. */
static int commit(struct history_db *db, const struct history_write *first)
{
	int r = 0;

	for (const struct history_write *w = first; r >= 0 && w; w = w->next)
		r = fail_point_enter(point_of(w));
	if (r >= 0)
		r = run_statement(db, "COMMIT");
	for (const struct history_write *w = first; w; w = w->next)
		fail_point_leave(point_of(w));
	return r;
}

/* One transaction. A full disk may make SQLite undo all of it on the way: then all have failed. */
static int carry_out(struct history *history, struct history_write *first)
{
	struct history_db *db = &history->writer;
	bool durable = false;
	int r;

	for (struct history_write *w = first; w; w = w->next)
		durable |= w->durability == HISTORY_DURABLE;
	r = set_synchronous(history, durable);
	if (r == 0)
		r = run_statement(db, "BEGIN IMMEDIATE");
	if (r < 0)
		return r;
	for (struct history_write *w = first; w; w = w->next) {
		w->result = carry_out_one(history, w);
		if (sqlite3_get_autocommit(db->handle))
			return w->result < 0 ? w->result : -EIO;
	}
	r = commit(db, first);
	if (r < 0 && !sqlite3_get_autocommit(db->handle))
		run_statement(db, "ROLLBACK");
	return r;
}

static void tell(struct history *history, const struct history_writes *group)
{
	uint64_t one = 1;
	ssize_t n;

	pthread_mutex_lock(&history->lock);
	append(&history->finished, group);
	pthread_mutex_unlock(&history->lock);
	do
		n = write(history->event_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

/* All that waits, once there is something; empty when there will be nothing more. */
static struct history_writes wait_for_writes(struct history *history)
{
	struct history_writes group;

	pthread_mutex_lock(&history->lock);
	while (!history->queued.first && !history->stopping)
		pthread_cond_wait(&history->wake, &history->lock);
	group = take_all(&history->queued);
	pthread_mutex_unlock(&history->lock);
	return group;
}

static void *writer_main(void *data)
{
	struct history *history = data;
	struct history_writes group;

	while ((group = wait_for_writes(history)).first) {
		int r = carry_out(history, group.first);

		for (struct history_write *w = group.first; r < 0 && w; w = w->next)
			if (w->result == 0)
				w->result = r;
		tell(history, &group);
	}
	return NULL;
}

/* --- the caller's thread --- */

/* Signals are the caller's business. */
static int start_writer(struct history *history)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&history->thread, NULL, writer_main, history);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	history->running = r == 0;
	return -r;
}

int history_open(const char *path, struct history **ret, struct error *err)
{
	struct history *history = NEW(struct history);
	int r;

	pthread_mutex_init(&history->lock, NULL);
	pthread_cond_init(&history->wake, NULL);
	history_fields_sql(history);
	history->path = mem_strdup(path);
	history->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = history->event_fd < 0 ? -errno : 0;
	if (r == 0)
		r = history_schema_open(path, history, err);
	if (r == 0)
		r = start_writer(history);
	if (r < 0) {
		history_close(history);
		return error_default(err, r, "cannot open the run history");
	}
	*ret = history;
	return 0;
}

static void stop_writer(struct history *history)
{
	if (!history->running)
		return;
	pthread_mutex_lock(&history->lock);
	history->stopping = true;
	pthread_cond_signal(&history->wake);
	pthread_mutex_unlock(&history->lock);
	pthread_join(history->thread, NULL);
}

/* The reader first: the last connection to close puts the log into the database and removes it. */
void history_close(struct history *history)
{
	struct history_write *write;

	if (!history)
		return;
	stop_writer(history);
	history_db_close(&history->reader);
	history_db_close(&history->writer);
	while ((write = pop(&history->finished)))
		write_free(write);
	fd_close(history->event_fd);
	pthread_cond_destroy(&history->wake);
	pthread_mutex_destroy(&history->lock);
	free(history->path);
	free(history->insert_sql);
	free(history->update_sql);
	free(history->select_sql);
	free(history->get_sql);
	free(history);
}

bool history_is_new(const struct history *history)
{
	return history->is_new;
}

int history_explain(const struct history *history, int r, struct error *err)
{
	if (r == -EBADMSG)
		return history_damaged(history->path, history->reader.handle, err);
	return error_errno(err, r, NULL, "cannot read the run history %s", history->path);
}

int history_fd(const struct history *history)
{
	return history->event_fd;
}

void history_dispatch(struct history *history)
{
	struct history_writes finished;
	struct history_write *write;
	uint64_t count;
	ssize_t n;

	do
		n = read(history->event_fd, &count, sizeof(count));
	while (n < 0 && errno == EINTR);
	pthread_mutex_lock(&history->lock);
	finished = take_all(&history->finished);
	pthread_mutex_unlock(&history->lock);
	while ((write = pop(&finished))) {
		if (write->done)
			write->done(write->data, write->result);
		write_free(write);
	}
}

static struct history_write *write_new(enum history_write_kind kind,
	enum history_durability durability, history_done done, void *data)
{
	struct history_write *write = NEW(struct history_write);

	write->kind = kind;
	write->durability = durability;
	write->done = done;
	write->data = data;
	return write;
}

static void enqueue(struct history *history, struct history_write *write)
{
	pthread_mutex_lock(&history->lock);
	push(&history->queued, write);
	pthread_cond_signal(&history->wake);
	pthread_mutex_unlock(&history->lock);
}

static void copy_artifacts(const struct artifacts *artifacts, struct artifacts *ret)
{
	for (size_t i = 0; i < artifacts->count; i++) {
		const struct artifact *a = &artifacts->items[i];

		artifacts_add(ret, a->path, a->size, &a->digest, a->modified_us);
	}
}

void history_insert(struct history *history, const struct run_record *record,
	enum history_durability durability, history_done done, void *data)
{
	struct history_write *write = write_new(HISTORY_WRITE_INSERT, durability, done, data);

	run_record_copy(record, &write->record);
	enqueue(history, write);
}

void history_update(struct history *history, const struct run_record *record,
	enum history_durability durability, history_done done, void *data)
{
	struct history_write *write = write_new(HISTORY_WRITE_UPDATE, durability, done, data);

	run_record_copy(record, &write->record);
	enqueue(history, write);
}

void history_finish(struct history *history, const struct run_record *record,
	const struct artifacts *artifacts, history_done done, void *data)
{
	struct history_write *write = write_new(HISTORY_WRITE_UPDATE, HISTORY_DURABLE, done, data);

	run_record_copy(record, &write->record);
	copy_artifacts(artifacts, &write->artifacts);
	enqueue(history, write);
}

void history_put_artifacts(struct history *history, const char *run_id,
	const struct artifacts *artifacts, history_done done, void *data)
{
	struct history_write *write =
		write_new(HISTORY_WRITE_PUT_ARTIFACTS, HISTORY_DURABLE, done, data);

	write->record.run_id = mem_strdup(run_id);
	copy_artifacts(artifacts, &write->artifacts);
	enqueue(history, write);
}

void history_patch(struct history *history, const char *run_id, const struct pairs *tags,
	const char *display_name, const bool *shared, history_done done, void *data)
{
	struct history_write *write = write_new(HISTORY_WRITE_PATCH, HISTORY_DURABLE, done, data);

	write->record.run_id = mem_strdup(run_id);
	write->share_given = shared != NULL;
	write->record.shared = shared && *shared;
	write->display_name = mem_strdup(display_name);
	for (size_t i = 0; tags && i < tags->count; i++) {
		if (tags->items[i].value)
			pairs_set(&write->tags, tags->items[i].key, tags->items[i].value);
		else
			strv_add(&write->removed_tags, tags->items[i].key);
	}
	enqueue(history, write);
}

void history_delete(struct history *history, const char *run_id, history_done done, void *data)
{
	struct history_write *write = write_new(HISTORY_WRITE_DELETE, HISTORY_DURABLE, done, data);

	write->record.run_id = mem_strdup(run_id);
	enqueue(history, write);
}
