/* SPDX-License-Identifier: MIT */
/* history_count - runs by state and by experiment, and what users have used; see history.h */
#include "history/history_internal.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

/* "SELECT COLUMNS FROM runs WHERE CONDITION" of all that he sees. own_index has those columns of his own runs; the
 * indexes of what is shared have them all. */
static void add_rows(struct strbuf *sql, const struct visible *visible, const char *columns,
	const char *condition, const char *own_index)
{
	if (visible->all)
		strbuf_addf(sql, "SELECT %s FROM runs WHERE %s", columns, condition);
	for (size_t i = 0; i < history_visible_parts(visible); i++) {
		strbuf_addf(sql, "%sSELECT %s FROM runs INDEXED BY %s WHERE %s AND ",
			i ? " UNION ALL " : "", columns,
			history_visible_kind(i) == VISIBLE_OWN ? own_index
							       : history_visible_index(i),
			condition);
		history_visible_add_part(sql, visible, i);
	}
}

static int read_states(sqlite3_stmt *statement, int64_t ret[static RUN_STATE_COUNT])
{
	int64_t counts[RUN_STATE_COUNT] = { 0 };
	int r;

	while ((r = history_step(statement)) > 0) {
		const char *name = (const char *)sqlite3_column_text(statement, 0);
		enum run_state state;

		if (run_state_parse(name ? name : "", &state) < 0)
			return -EBADMSG;
		counts[state] = sqlite3_column_int64(statement, 1);
	}
	if (r == 0)
		memcpy(ret, counts, sizeof(counts));
	return r;
}

int history_count_states(struct history *history, const struct history_viewer *viewer,
	int64_t ret[static RUN_STATE_COUNT])
{
	_cleanup_(history_visible_release) struct visible visible = { 0 };
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(history_finalizep) sqlite3_stmt *statement = NULL;
	int r = history_visible_init(history, viewer, &visible);

	if (r < 0)
		return r;
	strbuf_adds(&sql, "SELECT state, count(*) FROM (");
	add_rows(&sql, &visible, "state", "true", "runs_by_owner_state");
	strbuf_adds(&sql, ") GROUP BY state");
	r = history_prepare_once(&history->reader, sql.data, &statement);
	return r < 0 ? r : read_states(statement, ret);
}

static int read_experiments(sqlite3_stmt *statement, struct history_experiments *ret)
{
	_cleanup_(history_experiments_release) struct history_experiments list = { 0 };
	int r;

	while ((r = history_step(statement)) > 0) {
		GROW(list.items, list.count, list.room);
		list.items[list.count++] = (struct history_experiment){
			.name = history_column_text(statement, 0),
			.runs = sqlite3_column_int64(statement, 1),
			.last_created_us = sqlite3_column_int64(statement, 2),
		};
	}
	if (r < 0)
		return r;
	*ret = list;
	list = (struct history_experiments){ 0 };
	return 0;
}

int history_experiments_list(struct history *history, const struct history_viewer *viewer,
	const struct history_page *page, struct history_experiments *ret)
{
	_cleanup_(history_visible_release) struct visible visible = { 0 };
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(history_finalizep) sqlite3_stmt *statement = NULL;
	int r = history_visible_init(history, viewer, &visible);

	if (r < 0)
		return r;
	strbuf_adds(&sql,
		"SELECT e.name, e.runs, runs.created_us FROM"
		" (SELECT experiment_name AS name, count(*) AS runs, max(seq) AS last FROM (");
	add_rows(&sql, &visible, "experiment_name, seq", "experiment_name > ?1",
		"runs_by_owner_experiment");
	strbuf_adds(&sql, ") GROUP BY experiment_name ORDER BY experiment_name LIMIT ?2) AS e"
			  " JOIN runs ON runs.seq = e.last ORDER BY e.name");
	r = history_prepare_once(&history->reader, sql.data, &statement);
	if (r < 0)
		return r;
	history_bind_text(statement, 1, page && page->after ? page->after : "");
	sqlite3_bind_int64(statement, 2, page ? page->limit : -1);
	return read_experiments(statement, ret);
}

int history_each_usage(struct history *history, int64_t since_us,
	void (*tell)(void *data, const struct history_usage *usage), void *data)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(&history->reader,
		"SELECT owner, start_us, end_us, cpus, gpus FROM runs INDEXED BY runs_by_end"
		" WHERE end_us > 0 AND start_us > 0 AND end_us >= ?1 ORDER BY end_us",
		&statement);

	if (r < 0)
		return r;
	sqlite3_bind_int64(statement, 1, since_us);
	while ((r = history_step(statement)) > 0)
		tell(data, &(struct history_usage){
				   .owner = (uid_t)sqlite3_column_int64(statement, 0),
				   .start_us = sqlite3_column_int64(statement, 1),
				   .end_us = sqlite3_column_int64(statement, 2),
				   .cpus = sqlite3_column_int64(statement, 3),
				   .gpus = sqlite3_column_int64(statement, 4),
			   });
	return r;
}
