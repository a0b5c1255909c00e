/* SPDX-License-Identifier: MIT */
/*
 * history_list - the list of runs, newest first, with its filters; see history.h
 *
 * A query is made of parts that an index answers already in order, newest first, so that the limit
 * ends it: the cost is that of the rows shown, not of all that match.
 *
 *	no filter            the table itself
 *	experiment, states   one part per state, at most `limit` rows of each, merged
 *	tag                  the tag's index
 *
 * A tag together with the others: the index with fewer rows leads, each of its rows is looked up in
 * the other, until there are enough.
 */
#include "history/history_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"

/* Parameters by number, the same in every part. */
enum {
	PARAM_EXPERIMENT = 1,
	PARAM_TAG_KEY,
	PARAM_TAG_VALUE,
	PARAM_BEFORE,
	PARAM_LIMIT,
	PARAM_STATES, /* and all after it */
};

#define NEWEST " ORDER BY seq DESC LIMIT ?5"

/* How far the rows of an index are counted to find the one that leads. */
#define COUNT_MAX 5000

static void statement_finalizep(sqlite3_stmt **statement)
{
	sqlite3_finalize(*statement);
}

static void add_runs_part(
	struct strbuf *sql, const struct history_query *query, bool tagged, size_t state)
{
	strbuf_adds(sql, "SELECT * FROM (SELECT seq FROM runs WHERE seq < ?4");
	if (query->experiment_name)
		strbuf_adds(sql, " AND experiment_name = ?1");
	if (query->states)
		strbuf_addf(sql, " AND state = ?%zu", PARAM_STATES + state);
	if (tagged)
		strbuf_addf(sql,
			" AND EXISTS (SELECT 1 FROM tags WHERE tags.seq = runs.seq AND key = ?2%s)",
			query->tag_value ? " AND value = ?3" : "");
	strbuf_adds(sql, NEWEST ")");
}

/* Led by the runs; tagged: of those that have the tag. */
static void add_runs(struct strbuf *sql, const struct history_query *query, bool tagged)
{
	size_t parts = query->states ? strv_length(query->states) : 1;

	for (size_t i = 0; i < parts; i++) {
		strbuf_adds(sql, i ? " UNION ALL " : "");
		add_runs_part(sql, query, tagged, i);
	}
	if (!parts)
		strbuf_adds(sql, "SELECT seq FROM runs WHERE 0");
}

static void add_states(struct strbuf *sql, size_t count)
{
	strbuf_adds(sql, " AND state IN (");
	for (size_t i = 0; i < count; i++)
		strbuf_addf(sql, "%s?%zu", i ? ", " : "", PARAM_STATES + i);
	strbuf_addc(sql, ')');
}

/* Led by the tag; filtered: of those that are as the query wants the run to be. */
static void add_tags(struct strbuf *sql, const struct history_query *query, bool filtered)
{
	strbuf_addf(sql,
		"SELECT * FROM (SELECT seq FROM tags INDEXED BY %s"
		" WHERE key = ?2%s AND seq < ?4",
		query->tag_value ? "tags_by_value" : "tags_by_key",
		query->tag_value ? " AND value = ?3" : "");
	if (filtered) {
		strbuf_adds(sql, " AND EXISTS (SELECT 1 FROM runs WHERE runs.seq = tags.seq");
		strbuf_adds(sql, query->experiment_name ? " AND experiment_name = ?1" : "");
		if (query->states)
			add_states(sql, strv_length(query->states));
		strbuf_addc(sql, ')');
	}
	strbuf_adds(sql, NEWEST ")");
}

/* Parameters that the text does not have are not bound: SQLite says so, and it does not matter. */
static int prepare(struct history *history, const char *sql, const struct history_query *query,
	int64_t before, int64_t limit, sqlite3_stmt **ret)
{
	int r = history_prepare_once(&history->reader, sql, ret);

	if (r < 0)
		return r;
	history_bind_text(*ret, PARAM_EXPERIMENT, query->experiment_name);
	history_bind_text(*ret, PARAM_TAG_KEY, query->tag_key);
	history_bind_text(*ret, PARAM_TAG_VALUE, query->tag_value);
	sqlite3_bind_int64(*ret, PARAM_BEFORE, before);
	sqlite3_bind_int64(*ret, PARAM_LIMIT, limit);
	for (size_t i = 0; query->states && query->states[i]; i++)
		history_bind_text(*ret, PARAM_STATES + (int)i, query->states[i]);
	return 0;
}

/* A negative errno, or how many rows there are, counted up to COUNT_MAX of each part. */
static int64_t count(struct history *history, const struct history_query *query, int64_t before,
	void (*add)(struct strbuf *sql, const struct history_query *query, bool filtered))
{
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
	int r;

	strbuf_adds(&sql, "SELECT count(*) FROM (");
	add(&sql, query, false);
	strbuf_adds(&sql, ")");
	r = prepare(history, sql.data, query, before, COUNT_MAX, &statement);
	if (r == 0)
		r = history_step(statement);
	return r < 0 ? r : sqlite3_column_int64(statement, 0);
}

static int tag_leads(
	struct history *history, const struct history_query *query, int64_t before, bool *ret)
{
	bool filtered = query->experiment_name || query->states;
	int64_t tags, runs;

	if (!query->tag_key || !filtered) {
		*ret = query->tag_key != NULL;
		return 0;
	}
	tags = count(history, query, before, add_tags);
	if (tags < 0)
		return (int)tags;
	runs = count(history, query, before, add_runs);
	if (runs < 0)
		return (int)runs;
	*ret = tags <= runs;
	return 0;
}

int history_list(
	struct history *history, const struct history_query *query, struct run_record_list *ret)
{
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
	int64_t before = INT64_MAX;
	bool by_tag = false;
	int r = query->before ? history_seq(&history->reader, query->before, &before) : 0;

	if (r == 0)
		r = tag_leads(history, query, before, &by_tag);
	if (r < 0)
		return r;
	strbuf_addf(&sql, "%s WHERE seq IN (", history->select_sql);
	if (by_tag)
		add_tags(&sql, query, query->experiment_name || query->states);
	else
		add_runs(&sql, query, query->tag_key != NULL);
	strbuf_adds(&sql, ")" NEWEST);
	r = prepare(history, sql.data, query, before, query->limit, &statement);
	return r < 0 ? r : history_read_rows(history, statement, ret);
}

int history_list_live(struct history *history, struct run_record_list *ret)
{
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
	int r;

	strbuf_addf(&sql, "%s WHERE state IN (''", history->select_sql);
	for (int state = 0; state < RUN_STATE_COUNT; state++)
		if (!run_state_is_terminal((enum run_state)state))
			strbuf_addf(&sql, ", '%s'", run_state_name((enum run_state)state));
	strbuf_adds(&sql, ") ORDER BY seq");
	r = history_prepare_once(&history->reader, sql.data, &statement);
	return r < 0 ? r : history_read_rows(history, statement, ret);
}
