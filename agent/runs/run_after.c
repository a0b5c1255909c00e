/* SPDX-License-Identifier: MIT */
/*
 * run_after - runs that are to begin when others are over; see run_manager.h
 *
 * While the other one lives, it keeps a list of those who follow it. What its end means to them is
 * told one step at a time: a follower that ends for it does so through its own commit, and its own
 * followers are told when that has come back. So a chain of any length goes its way without
 * recursion.
 */
#include <string.h>

#include "common/mem.h"
#include "runs/run_live.h"

#define AFTER_OK "afterok:"
#define AFTER_ANY "afterany:"

static const char *parse_after(const char *text, bool *ret_any)
{
	*ret_any = !strncmp(text, AFTER_ANY, strlen(AFTER_ANY));
	return strchr(text, ':') + 1;
}

char **run_after_format(const struct run_request *request)
{
	char **list = NULL;

	for (size_t i = 0; i < request->after_count; i++)
		strv_addf(&list, "%s%s", request->after[i].any ? AFTER_ANY : AFTER_OK,
			request->after[i].run_id);
	return list;
}

int run_after_check(
	struct run_manager *manager, const struct run_request *request, struct error *err)
{
	for (size_t i = 0; i < request->after_count; i++) {
		const char *run_id = request->after[i].run_id;
		struct run_record record;
		int r = run_manager_get(manager, run_id, &record);

		if (r == -ENOENT)
			return error_set(err, -EINVAL, "after", "after: no run \"%s\"", run_id);
		if (r < 0)
			return error_errno(err, r, NULL, "cannot read the run history");
		run_record_release(&record);
	}
	return 0;
}

/* ---- the lists ---- */

static void follow(struct run_live *follower, struct run_live *leader, bool any)
{
	struct run_follow *follow = NEW(struct run_follow);

	*follow = (struct run_follow){ .follower = follower, .leader = leader, .any = any };
	TAILQ_INSERT_TAIL(&follower->leaders, follow, of_follower);
	TAILQ_INSERT_TAIL(&leader->followers, follow, of_leader);
}

static void unfollow(struct run_follow *follow)
{
	TAILQ_REMOVE(&follow->follower->leaders, follow, of_follower);
	TAILQ_REMOVE(&follow->leader->followers, follow, of_leader);
	free(follow);
}

void run_live_unfollow(struct run_live *run)
{
	struct run_follow *each;

	while ((each = TAILQ_FIRST(&run->leaders)))
		unfollow(each);
}

/* ---- a delete ---- */

/* What is queued, and what a restart may queue again, looks up then how the other one ended. */
static bool needs(const struct run_live *run, const char *run_id)
{
	enum run_state state = run->record.state;
	bool any;

	if (run->ending || (state != RUN_QUEUED && state != RUN_PREPARING && state != RUN_STARTING))
		return false;
	for (char **entry = run->record.after; entry && *entry; entry++)
		if (!strcmp(parse_after(*entry, &any), run_id) && !any)
			return true;
	return false;
}

int run_after_check_delete(
	const struct run_manager *manager, const char *run_id, uid_t owner, struct error *err)
{
	const struct run_live *run;

	/* One of somebody else keeps nobody from deleting what is his. */
	TAILQ_FOREACH(run, &manager->all, all)
	if (run->record.owner == owner && needs(run, run_id))
		return error_set(err, -EBUSY, "run_id",
			"%s is to begin after %s (afterok): delete this when that one runs, or "
			"cancel that one first",
			run->record.run_id, run_id);
	return 0;
}

/* ---- what the end of one means ---- */

static void end_for_want(struct run_live *run, const char *run_id, const char *what)
{
	_cleanup_(freep) char *message = mem_printf(
		"it was to begin after %s had completed (afterok), and that %s", run_id, what);

	if (!run->ending)
		run_live_end(run, RUN_CAUSE_SETUP_ERROR, message);
}

/* Who may not see the run any more (it was shared) is not told how it ended. */
static char *end_words(const struct run_live *follower, const struct run_record *record)
{
	const char *cause = run_cause_name(record->cause);

	if (record->owner != follower->record.owner && !record->shared)
		return mem_strdup("did not complete");
	return mem_printf("ended as %s%s%s%s", run_state_name(record->state), cause ? " (" : "",
		cause ? cause : "", cause ? ")" : "");
}

void run_live_lead_on(struct run_live *run)
{
	bool completed = run->record.state == RUN_COMPLETED;
	struct run_follow *each;
	bool any_follows = !TAILQ_EMPTY(&run->followers);

	while ((each = TAILQ_FIRST(&run->followers))) {
		struct run_live *follower = each->follower;
		_cleanup_(freep) char *how = end_words(follower, &run->record);
		bool any = each->any;

		unfollow(each);
		if (run->manager->stopping)
			continue;
		if (completed || any)
			run_live_park(follower);
		else
			end_for_want(follower, run->record.run_id, how);
	}
	if (any_follows)
		run_live_schedule(run->manager);
}

/* One that is over already, or gone. */
static void follow_ended(struct run_live *run, const char *run_id)
{
	_cleanup_(freep) char *how = NULL;
	struct run_record record;
	int r = history_get(run->manager->options.history, run_id, &record);

	if (r == -ENOENT) {
		end_for_want(run, run_id, "is gone: it has been deleted");
	} else if (r < 0) {
		run_live_owe(
			run, OWED_FOLLOW, "what became of the run it follows cannot be read", r);
	} else {
		how = end_words(run, &record);
		if (record.state != RUN_COMPLETED)
			end_for_want(run, run_id, how);
		run_record_release(&record);
	}
}

void run_live_follow(struct run_live *run)
{
	if (!run_live_is_queued(run) || run->ending)
		return;
	run_live_unfollow(run);
	for (size_t i = 0; run->record.after && run->record.after[i] && !run->ending; i++) {
		bool any;
		const char *run_id = parse_after(run->record.after[i], &any);
		struct run_live *leader = run_live_find(run->manager, run_id);

		if (leader)
			follow(run, leader, any);
		else if (!any)
			follow_ended(run, run_id);
	}
	run_live_park(run);
}

char *run_live_follow_words(const struct run_live *run)
{
	const struct run_follow *first = TAILQ_FIRST(&run->leaders), *each;
	_cleanup_(freep) char *more = NULL;
	size_t count = 0;

	TAILQ_FOREACH(each, &run->leaders, of_follower)
	count++;
	if (count > 1)
		more = mem_printf(", and %zu more", count - 1);
	return mem_printf("waits until %s %s%s", first->leader->record.run_id,
		first->any ? "is over" : "has completed", more ? more : "");
}
