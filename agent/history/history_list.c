/* SPDX-License-Identifier: MIT */
/*
 * history_list - the list of runs, newest first, with its filters; see history.h
 *
 * A query is made of parts that an index answers already in order, newest first, so that the limit
 * ends it: the cost is that of the rows shown, not of all that match.
 *
 *	no filter            the table itself
 *	experiment, states   one part per state, at most `limit` rows of each, merged
 *	user                 the same, of his runs
 *	viewer               the same of his own runs, and a part for each way of sharing
 *	tag                  the tag's index
 *
 * Of several the one that costs least leads; each of its rows is looked up in the others, until
 * there are enough.
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

struct plan {
	const struct history_query *query;
	struct visible visible; /* all: also when the query asks for nothing but his own */
	bool has_owner;
	uid_t owner;
	int64_t before;
};

/* What a part has said of its rows already. */
enum said { SAID_EXPERIMENT = 1, SAID_STATE = 2, SAID_OWNER = 4, SAID_VISIBLE = 8 };

static void add_tag(struct strbuf *sql, const struct history_query *query)
{
	strbuf_addf(sql,
		" AND EXISTS (SELECT 1 FROM tags WHERE tags.seq = runs.seq AND key = ?2%s)",
		query->tag_value ? " AND value = ?3" : "");
}

static void add_states(struct strbuf *sql, size_t count)
{
	strbuf_adds(sql, " AND state IN (");
	for (size_t i = 0; i < count; i++)
		strbuf_addf(sql, "%s?%zu", i ? ", " : "", PARAM_STATES + i);
	strbuf_addc(sql, ')');
}

/* All that is wanted of a row of runs, but for the tag and what was said. */
static void add_rest(struct strbuf *sql, const struct plan *plan, unsigned said)
{
	const struct history_query *query = plan->query;

	if (query->experiment_name && !(said & SAID_EXPERIMENT))
		strbuf_adds(sql, " AND experiment_name = ?1");
	if (query->states && !(said & SAID_STATE))
		add_states(sql, strv_length(query->states));
	if (plan->has_owner && !(said & SAID_OWNER))
		strbuf_addf(sql, " AND owner = %u", (unsigned)plan->owner);
	if (!plan->visible.all && !(said & SAID_VISIBLE)) {
		strbuf_adds(sql, " AND ");
		history_visible_add_condition(sql, &plan->visible);
	}
}

/* "(SELECT ...) UNION ALL (SELECT ...)" */
struct parts {
	struct strbuf sql;
	size_t count;
	bool rest; /* else the rows of the index are only counted */
};

static void parts_release(struct parts *parts)
{
	strbuf_release(&parts->sql);
}

static void begin_part(struct parts *parts, const char *index)
{
	strbuf_addf(&parts->sql, "%sSELECT * FROM (SELECT seq FROM runs%s%s WHERE seq < ?4",
		parts->count++ ? " UNION ALL " : "", index ? " INDEXED BY " : "",
		index ? index : "");
}

static void end_part(struct parts *parts, const struct plan *plan, unsigned said)
{
	if (parts->rest)
		add_rest(&parts->sql, plan, said);
	if (parts->rest && plan->query->tag_key)
		add_tag(&parts->sql, plan->query);
	strbuf_adds(&parts->sql, NEWEST ")");
}

static size_t state_parts(const struct plan *plan)
{
	return plan->query->states ? strv_length(plan->query->states) : 1;
}

/* ---- what may lead ---- */

static bool runs_lead(const struct plan *plan)
{
	return plan->query->experiment_name || plan->query->states;
}

/* Without a filter it is the table itself. */
static void add_runs(struct parts *parts, const struct plan *plan)
{
	for (size_t i = 0; i < state_parts(plan); i++) {
		begin_part(parts, NULL);
		if (plan->query->experiment_name)
			strbuf_adds(&parts->sql, " AND experiment_name = ?1");
		if (plan->query->states)
			strbuf_addf(&parts->sql, " AND state = ?%zu", PARAM_STATES + i);
		end_part(parts, plan, SAID_EXPERIMENT | SAID_STATE);
	}
}

static void add_owner(struct parts *parts, const struct plan *plan, uid_t owner, unsigned said)
{
	const struct history_query *query = plan->query;
	bool by_state = query->states && !query->experiment_name;
	size_t count = by_state ? state_parts(plan) : 1;
	const char *index = query->experiment_name ? "runs_by_owner_experiment"
			    : by_state             ? "runs_by_owner_state"
						   : "runs_by_owner";

	said |= SAID_OWNER | SAID_EXPERIMENT | (by_state ? SAID_STATE : 0);
	for (size_t i = 0; i < count; i++) {
		begin_part(parts, index);
		strbuf_addf(&parts->sql, " AND owner = %u", (unsigned)owner);
		if (query->experiment_name)
			strbuf_adds(&parts->sql, " AND experiment_name = ?1");
		if (by_state)
			strbuf_addf(&parts->sql, " AND state = ?%zu", PARAM_STATES + i);
		end_part(parts, plan, said);
	}
}

static bool user_leads(const struct plan *plan)
{
	return plan->has_owner;
}

static void add_user(struct parts *parts, const struct plan *plan)
{
	add_owner(parts, plan, plan->owner, 0);
}

static bool visible_leads(const struct plan *plan)
{
	return !plan->visible.all;
}

/* Of another user's runs none are the viewer's own. */
static void add_visible(struct parts *parts, const struct plan *plan)
{
	for (size_t i = 0; i < history_visible_parts(&plan->visible); i++) {
		bool own = history_visible_kind(i) == VISIBLE_OWN;

		if (own && plan->has_owner)
			continue;
		if (own) {
			add_owner(parts, plan, plan->visible.uid, SAID_VISIBLE);
			continue;
		}
		begin_part(parts, history_visible_index(i));
		strbuf_adds(&parts->sql, " AND ");
		history_visible_add_part(&parts->sql, &plan->visible, i);
		end_part(parts, plan, SAID_VISIBLE);
	}
}

static bool tag_leads(const struct plan *plan)
{
	return plan->query->tag_key != NULL;
}

static void add_tagged(struct parts *parts, const struct plan *plan)
{
	const struct history_query *query = plan->query;

	strbuf_addf(&parts->sql,
		"SELECT * FROM (SELECT seq FROM tags INDEXED BY %s"
		" WHERE key = ?2%s AND seq < ?4",
		query->tag_value ? "tags_by_value" : "tags_by_key",
		query->tag_value ? " AND value = ?3" : "");
	if (parts->rest) {
		strbuf_adds(
			&parts->sql, " AND EXISTS (SELECT 1 FROM runs WHERE runs.seq = tags.seq");
		add_rest(&parts->sql, plan, 0);
		strbuf_addc(&parts->sql, ')');
	}
	strbuf_adds(&parts->sql, NEWEST ")");
}

/* cost of a row: to look it up, or to find all that is asked of it in the index. */
static const struct lead {
	bool (*can)(const struct plan *plan);
	void (*add)(struct parts *parts, const struct plan *plan);
	int64_t cost;
} leads[] = {
	{ tag_leads, add_tagged, 10 },
	{ runs_lead, add_runs, 10 },
	{ user_leads, add_user, 10 },
	{ visible_leads, add_visible, 1 },
};

static const struct lead table_leads = { NULL, add_runs, 1 };

/* ---- the query ---- */

/* Parameters that the text does not have are not bound: SQLite says so, and it does not matter. */
static int prepare(struct history *history, const char *sql, const struct plan *plan, int64_t limit,
	sqlite3_stmt **ret)
{
	const struct history_query *query = plan->query;
	int r = history_prepare_once(&history->reader, sql, ret);

	if (r < 0)
		return r;
	history_bind_text(*ret, PARAM_EXPERIMENT, query->experiment_name);
	history_bind_text(*ret, PARAM_TAG_KEY, query->tag_key);
	history_bind_text(*ret, PARAM_TAG_VALUE, query->tag_value);
	sqlite3_bind_int64(*ret, PARAM_BEFORE, plan->before);
	sqlite3_bind_int64(*ret, PARAM_LIMIT, limit);
	for (size_t i = 0; query->states && query->states[i]; i++)
		history_bind_text(*ret, PARAM_STATES + (int)i, query->states[i]);
	return 0;
}

/* A negative errno, or how many rows it has, counted up to COUNT_MAX of each part. */
static int64_t count_rows(struct history *history, const struct plan *plan, const struct lead *lead)
{
	_cleanup_(parts_release) struct parts parts = { 0 };
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(history_finalizep) sqlite3_stmt *statement = NULL;
	int r;

	lead->add(&parts, plan);
	strbuf_addf(&sql, "SELECT count(*) FROM (%s)", parts.sql.data);
	r = prepare(history, sql.data, plan, COUNT_MAX, &statement);
	if (r == 0)
		r = history_step(statement);
	return r < 0 ? r : sqlite3_column_int64(statement, 0);
}

static int choose_lead(struct history *history, const struct plan *plan, const struct lead **ret)
{
	const struct lead *can[ARRAY_SIZE(leads)];
	const struct lead *best = &table_leads;
	int64_t least = INT64_MAX;
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(leads); i++)
		if (leads[i].can(plan))
			can[count++] = &leads[i];
	if (count == 1)
		best = can[0];
	for (size_t i = 0; count > 1 && i < count; i++) {
		int64_t rows = count_rows(history, plan, can[i]);

		if (rows < 0)
			return (int)rows;
		if (rows * can[i]->cost < least) {
			least = rows * can[i]->cost;
			best = can[i];
		}
	}
	*ret = best;
	return 0;
}

static int read_ids(sqlite3_stmt *statement, char ***ret)
{
	_cleanup_(strv_freep) char **ids = NULL;
	int r;

	while ((r = history_step(statement)) > 0)
		strv_take(&ids, history_column_text(statement, 0));
	if (r == 0)
		*ret = TAKE(ids);
	return r;
}

static int read_plan(struct history *history, const struct plan *plan, char ***ret)
{
	_cleanup_(parts_release) struct parts parts = { .rest = true };
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(history_finalizep) sqlite3_stmt *statement = NULL;
	const struct lead *lead = NULL;
	int r = choose_lead(history, plan, &lead);

	if (r < 0)
		return r;
	lead->add(&parts, plan);
	strbuf_addf(&sql, "SELECT run_id FROM runs WHERE seq IN (%s)" NEWEST, parts.sql.data);
	r = prepare(history, sql.data, plan, plan->query->limit, &statement);
	return r < 0 ? r : read_ids(statement, ret);
}

/* 1 when there cannot be a row. */
static int make_plan(struct history *history, const struct history_query *query, struct plan *plan)
{
	int r = 0;

	*plan = (struct plan){ .query = query, .before = INT64_MAX };
	if (query->before)
		r = history_visible_seq(history, query->viewer, query->before, &plan->before);
	if (r < 0)
		return r;
	if (query->user) {
		r = history_user(history, query->user, &plan->owner);
		if (r < 0)
			return r == -ENOENT ? 1 : r;
		plan->has_owner = true;
	}
	plan->visible.all = query->viewer && plan->has_owner && plan->owner == query->viewer->uid;
	if (!plan->visible.all)
		r = history_visible_init(history, query->viewer, &plan->visible);
	return r < 0 ? r : query->states && !query->states[0];
}

int history_list(struct history *history, const struct history_query *query, char ***ret_run_ids)
{
	struct plan plan;
	int r = make_plan(history, query, &plan);

	if (r == 0)
		r = read_plan(history, &plan, ret_run_ids);
	else if (r > 0)
		*ret_run_ids = NULL;
	history_visible_release(&plan.visible);
	return r < 0 ? r : 0;
}

int history_list_live(struct history *history, struct run_record_list *ret)
{
	_cleanup_(strbuf_release) struct strbuf sql = STRBUF_INIT;
	_cleanup_(history_finalizep) sqlite3_stmt *statement = NULL;
	int r;

	strbuf_addf(&sql, "%s WHERE state IN (''", history->select_sql);
	for (int state = 0; state < RUN_STATE_COUNT; state++)
		if (!run_state_is_terminal((enum run_state)state))
			strbuf_addf(&sql, ", '%s'", run_state_name((enum run_state)state));
	strbuf_adds(&sql, ") ORDER BY seq");
	r = history_prepare_once(&history->reader, sql.data, &statement);
	return r < 0 ? r : history_read_rows(history, statement, ret);
}
