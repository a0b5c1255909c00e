/* SPDX-License-Identifier: MIT */
/* history_viewer - who sees what, and the user that a name means; see history_internal.h */
#include "history/history_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

/* SQLite joins 500 parts of a query, some of which are others' than groups. */
#define GROUPS_MAX 400

static bool is_member(const struct history_viewer *viewer, int64_t gid)
{
	for (size_t i = 0; i < viewer->group_count; i++)
		if (viewer->groups[i] == gid)
			return true;
	return false;
}

static bool sees(const struct history_viewer *viewer, uid_t owner, bool shared, int64_t gid)
{
	if (!viewer || viewer->all || viewer->uid == owner || shared)
		return true;
	return gid > 0 && is_member(viewer, gid);
}

bool history_viewer_sees(const struct history_viewer *viewer, const struct run_record *record)
{
	return sees(viewer, record->owner, record->shared, record->shared_gid);
}

int history_visible_seq(struct history *history, const struct history_viewer *viewer,
	const char *run_id, int64_t *ret)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(&history->reader,
		"SELECT seq, owner, shared, shared_gid FROM runs WHERE run_id = ?1", &statement);

	if (r < 0)
		return r;
	history_bind_text(statement, 1, run_id);
	r = history_step(statement);
	if (r < 0)
		return r;
	if (!r ||
		!sees(viewer, (uid_t)sqlite3_column_int64(statement, 1),
			sqlite3_column_int(statement, 2) != 0, sqlite3_column_int64(statement, 3)))
		return -ENOENT;
	*ret = sqlite3_column_int64(statement, 0);
	return 0;
}

/* Runs are shared with few groups, and a user may be in many: those in use are looked up, each with
 * one step of the index. */
static int find_groups(
	struct history *history, const struct history_viewer *viewer, struct visible *visible)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	size_t room = 0;
	int r = history_prepare(&history->reader,
		"WITH RECURSIVE used (gid) AS (SELECT min(shared_gid) FROM runs WHERE shared_gid > 0"
		" UNION ALL SELECT (SELECT min(shared_gid) FROM runs WHERE shared_gid > 0 AND"
		" shared_gid > gid) FROM used WHERE gid IS NOT NULL)"
		" SELECT gid FROM used WHERE gid IS NOT NULL",
		&statement);

	if (r < 0)
		return r;
	while (visible->gid_count < GROUPS_MAX && (r = history_step(statement)) > 0) {
		int64_t gid = sqlite3_column_int64(statement, 0);

		if (!is_member(viewer, gid))
			continue;
		GROW(visible->gids, visible->gid_count, room);
		visible->gids[visible->gid_count++] = gid;
	}
	return r < 0 ? r : 0;
}

int history_visible_init(
	struct history *history, const struct history_viewer *viewer, struct visible *ret)
{
	struct visible visible = { .all = !viewer || viewer->all };
	int r;

	if (!visible.all) {
		visible.uid = viewer->uid;
		r = find_groups(history, viewer, &visible);
		if (r < 0) {
			history_visible_release(&visible);
			return r;
		}
	}
	*ret = visible;
	return 0;
}

void history_visible_release(struct visible *visible)
{
	free(visible->gids);
	*visible = (struct visible){ 0 };
}

size_t history_visible_parts(const struct visible *visible)
{
	return visible->all ? 0 : VISIBLE_GROUP + visible->gid_count;
}

enum visible_kind history_visible_kind(size_t part)
{
	return part < VISIBLE_GROUP ? (enum visible_kind)part : VISIBLE_GROUP;
}

const char *history_visible_index(size_t part)
{
	static const char *const indexes[] = {
		[VISIBLE_OWN] = "runs_by_owner",
		[VISIBLE_SHARED] = "runs_shared",
		[VISIBLE_GROUP] = "runs_by_group",
	};

	return indexes[history_visible_kind(part)];
}

void history_visible_add_part(struct strbuf *sql, const struct visible *visible, size_t part)
{
	unsigned uid = visible->uid;

	switch (history_visible_kind(part)) {
	case VISIBLE_OWN:
		strbuf_addf(sql, "owner = %u", uid);
		break;
	case VISIBLE_SHARED:
		strbuf_addf(sql, "shared = 1 AND owner <> %u", uid);
		break;
	case VISIBLE_GROUP:
		strbuf_addf(sql,
			"shared_gid > 0 AND shared_gid = %lld AND shared = 0 AND owner <> %u",
			(long long)visible->gids[part - VISIBLE_GROUP], uid);
		break;
	}
}

void history_visible_add_condition(struct strbuf *sql, const struct visible *visible)
{
	strbuf_addf(sql, "(owner = %u OR shared = 1", (unsigned)visible->uid);
	for (size_t i = 0; i < visible->gid_count; i++)
		strbuf_addf(sql, " OR shared_gid = %lld", (long long)visible->gids[i]);
	strbuf_addc(sql, ')');
}

/* Each owner is one step of the index, and so is his newest run. */
static int user_by_name(struct history *history, const char *name, uid_t *ret)
{
	_cleanup_(statement_donep) sqlite3_stmt *statement = NULL;
	int r = history_prepare(&history->reader,
		"WITH RECURSIVE owners (uid) AS (SELECT min(owner) FROM runs UNION ALL"
		" SELECT (SELECT min(owner) FROM runs WHERE owner > uid) FROM owners"
		" WHERE uid IS NOT NULL)"
		" SELECT owner FROM owners JOIN runs"
		" ON runs.seq = (SELECT max(seq) FROM runs WHERE owner = uid)"
		" WHERE submitted_by = ?1 ORDER BY runs.seq DESC LIMIT 1",
		&statement);

	if (r < 0)
		return r;
	history_bind_text(statement, 1, name);
	r = history_step(statement);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret = (uid_t)sqlite3_column_int64(statement, 0);
	return 0;
}

int history_user(struct history *history, const char *name, uid_t *ret)
{
	unsigned long long number;
	int r = user_by_name(history, name, ret);

	if (r != -ENOENT || !name[0] || name[strspn(name, "0123456789")])
		return r;
	errno = 0;
	number = strtoull(name, NULL, 10);
	if (errno || number >= (uid_t)-1)
		return -ENOENT;
	*ret = (uid_t)number;
	return 0;
}
