/* SPDX-License-Identifier: MIT */
/* kept - runs that have ended long ago, and an idle daemon; see kept.h */
#include "cli/chaos/kept.h"

#include <string.h>

#include "cli/chaos/check.h"
#include "cli/record.h"
#include "common/mem.h"

#define LIST_TARGET "/v1/runs?limit=1000"

/* ---- those that have ended ---- */

static int check_unchanged(struct soak *soak, struct chaos_job *job, struct error *err)
{
	_cleanup_(json_freep) struct json *record = NULL;
	_cleanup_(freep) char *now = NULL;
	int r = check_get_record(soak, job->run_id, &record, err);

	if (r < 0)
		return r;
	if (!record) {
		check_lose(soak, job, r);
		return 0;
	}
	now = json_print(record);
	if (!strcmp(now, job->final))
		return 0;
	chaos_tally_fault(soak->tally, CHAOS_WRONG, job->run_id,
		"run %lld: its record has changed after its end, from %s to %s",
		(long long)job->plan.number, job->final, now);
	free(job->final);
	job->final = TAKE(now);
	return 0;
}

static int check_deleted(struct soak *soak, const char *run_id, struct error *err)
{
	_cleanup_(json_freep) struct json *record = NULL;
	int r = check_get_record(soak, run_id, &record, err);

	if (r >= 0 && record)
		chaos_tally_fault(soak->tally, CHAOS_WRONG, run_id,
			"the deleted run %s is there again: %s", run_id, record_status(record));
	return r;
}

int check_kept(struct soak *soak, bool all, struct error *err)
{
	size_t turn = (size_t)soak->tally->rounds;
	int r = 0;

	for (size_t i = 0; i < CHAOS_JOBS_MAX && r >= 0; i++)
		if (soak->jobs[i].phase == CHAOS_ENDED && (all || i == turn % CHAOS_JOBS_MAX))
			r = check_unchanged(soak, &soak->jobs[i], err);
	for (size_t i = 0; i < CHAOS_KEPT && r >= 0; i++)
		if (soak->deleted[i] && (all || i == turn % CHAOS_KEPT))
			r = check_deleted(soak, soak->deleted[i], err);
	return r < 0 ? r : 0;
}

/* ---- an idle daemon ---- */

static bool is_known(const struct soak *soak, const char *run_id)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		if (soak->jobs[i].run_id && !strcmp(soak->jobs[i].run_id, run_id))
			return true;
	return false;
}

static int check_list(struct soak *soak, struct error *err)
{
	_cleanup_(json_freep) struct json *list = NULL;
	size_t known = soak_count(soak, CHAOS_ENDED);
	int r = soak_ask_json(soak, LIST_TARGET, &list, err);

	if (r < 0)
		return r;
	for (const struct json *m = json_first(list); m; m = json_next(m))
		if (!is_known(soak, record_id(m)))
			chaos_tally_fault(soak->tally, CHAOS_WRONG, record_id(m),
				"the history has a run that is not ours: %s (%s)", record_id(m),
				record_status(m));
	if (json_size(list) < known)
		chaos_tally_fault(soak->tally, CHAOS_LOST, NULL,
			"the list has %zu runs and must have %zu", json_size(list), known);
	return 0;
}

/* One that is missing is not 0. */
static int64_t count_of(const struct json *status, const char *key)
{
	const struct json *value = json_get(status, key);

	return json_is_number(value) ? json_int(value) : 1;
}

int check_idle(struct soak *soak, struct error *err)
{
	_cleanup_(json_freep) struct json *status = NULL;
	int r = check_list(soak, err);

	if (r >= 0)
		r = soak_ask_json(soak, "/v1/status", &status, err);
	if (r < 0)
		return r;
	for (int64_t i = count_of(status, "running"); i > 0; i--)
		chaos_tally_fault(soak->tally, CHAOS_SLOT, NULL,
			"all runs have ended, and a slot is still held");
	if (count_of(status, "queued"))
		chaos_tally_fault(soak->tally, CHAOS_SLOT, NULL,
			"all runs have ended, and %lld are still in the queue",
			(long long)count_of(status, "queued"));
	return 0;
}

/* ---- starts ---- */

void check_starts(struct soak *soak, int64_t first_number)
{
	for (int64_t i = first_number; i < soak->next_number; i++) {
		struct chaos_witnessed *seen = chaos_place_witnessed(soak->place, i);

		if (seen->starts > seen->may_start)
			chaos_tally_fault(soak->tally, CHAOS_TWICE, NULL,
				"run %lld was started %d times and may have been %d times",
				(long long)i, seen->starts, seen->may_start);
	}
}
