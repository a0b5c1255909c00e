/* SPDX-License-Identifier: MIT */
/* check - what became of the runs; see check.h */
#include "cli/chaos/check.h"

#include <signal.h>
#include <string.h>

#include "cli/chaos/content.h"
#include "cli/chaos/left_over.h"
#include "cli/record.h"
#include "common/clock.h"
#include "common/mem.h"

/* ---- the verdict ---- */

static char *say_end(const char *status, const char *code, int64_t exit_code, int64_t number)
{
	return mem_printf("%s, error.code %s, exit_code %lld, signal %lld", status,
		code ? code : "null", (long long)exit_code, (long long)number);
}

static int64_t number_or(const struct json *value, int64_t otherwise)
{
	return json_is_number(value) ? json_int(value) : otherwise;
}

/* One that is ended from outside dies of SIGTERM, of SIGKILL when that was not enough, or has not
 * begun. */
static bool is_signal_right(
	const struct chaos_job_end *must, const struct json *record, bool said_all)
{
	int64_t number = number_or(json_get(record, "signal"), 0);
	bool began = json_string(json_get(record, "start_time_utc")) != NULL;

	if (!must->may_differ || (said_all && must->signal == SIGKILL))
		return number == must->signal;
	return number == SIGTERM || number == SIGKILL || (number == 0 && (!began || !said_all));
}

static bool is_verdict_right(
	const struct chaos_job_end *must, const struct json *record, bool said_all)
{
	const char *code = record_error_code(record);
	bool same_code = code && must->code ? !strcmp(code, must->code) : code == must->code;

	return !strcmp(record_status(record), must->status) && same_code &&
	       number_or(json_get(record, "exit_code"), -1) == must->exit_code &&
	       is_signal_right(must, record, said_all);
}

static void check_verdict(struct soak *soak, struct chaos_job *job, const struct json *record)
{
	bool said_all = chaos_place_witnessed(soak->place, job->plan.number)->said_all;
	const char *code = record_error_code(record);
	_cleanup_(freep) char *expected = NULL;
	_cleanup_(freep) char *found = NULL;
	const char *message = json_string(json_get(json_get(record, "error"), "message"));
	struct chaos_job_end must;
	bool lost = code && (!strcmp(code, "Lost") || !strcmp(code, "SetupError"));

	chaos_job_expect(&job->plan, job->supervisor_killed, &must);
	if (is_verdict_right(&must, record, said_all))
		return;
	expected = say_end(must.status, must.code, must.exit_code, must.signal);
	found = say_end(record_status(record), code, number_or(json_get(record, "exit_code"), -1),
		number_or(json_get(record, "signal"), 0));
	chaos_tally_fault(soak->tally, lost ? CHAOS_LOST : CHAOS_WRONG, job->run_id,
		"run %lld (%s): ended with %s; must be %s%s%s", (long long)job->plan.number,
		chaos_job_kind_name(job->plan.kind), found, expected, message ? "; it says: " : "",
		message ? message : "");
}

/* ---- how often it was started ---- */

static void check_job_starts(struct soak *soak, struct chaos_job *job, const struct json *record)
{
	struct chaos_witnessed *seen = chaos_place_witnessed(soak->place, job->plan.number);
	bool began = json_string(json_get(record, "start_time_utc")) != NULL;
	struct chaos_job_end must;

	chaos_job_expect(&job->plan, job->supervisor_killed, &must);
	if (!began && !job->supervisor_killed)
		seen->may_start = 0;
	/* One that is ended from outside may not have come so far. */
	if (seen->starts == 0 && !must.may_differ && !job->supervisor_killed)
		chaos_tally_fault(soak->tally, CHAOS_WRONG, job->run_id,
			"run %lld (%s): it is over and was never started",
			(long long)job->plan.number, chaos_job_kind_name(job->plan.kind));
}

/* ---- one run ---- */

static enum chaos_verdict verdict_of(const struct chaos_job *job, const struct json *record)
{
	static const char *const names[] = { [CHAOS_COMPLETED] = "Completed",
		[CHAOS_FAILED] = "Failed",
		[CHAOS_CANCELED] = "Canceled" };

	if (job->supervisor_killed)
		return CHAOS_SUPERVISOR_KILLED;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(record_status(record), names[i]))
			return (enum chaos_verdict)i;
	return CHAOS_BAD;
}

/* 1: it has not said yet what it saw. */
static int await_follower(struct soak *soak, struct chaos_job *job, struct follower_report *ret)
{
	int r = job->follower.pid ? follower_end(&job->follower, 0, ret) : -ENOENT;
	bool late = clock_boot() - job->over_us > CHAOS_STUCK_SECONDS * USEC_PER_SEC;

	if ((r == -ETIMEDOUT || r == -EINTR) && !late)
		return 1;
	if (r != -ENOENT && r < 0) {
		chaos_tally_fault(soak->tally, CHAOS_LOG, job->run_id,
			"run %lld: whoever followed its log %s", (long long)job->plan.number,
			r == -ECHILD ? "died" : "was not told of its end");
		follower_kill(&job->follower);
	}
	return r;
}

/* It has ended. */
static int check_end(
	struct soak *soak, struct chaos_job *job, const struct json *record, struct error *err)
{
	size_t faults = soak->tally->entry_count;
	struct follower_report report;
	int follower;
	int r = chaos_place_read_witness(soak->place, err);

	if (r < 0)
		return r;
	if (!job->over_us)
		job->over_us = clock_boot();
	follower = await_follower(soak, job, &report);
	if (follower > 0)
		return 0;
	r = check_content(soak, job, follower == 0 ? &report : NULL, err);
	if (r < 0)
		return r;
	check_verdict(soak, job, record);
	check_job_starts(soak, job, record);
	soak->tally->verdicts[job->plan.kind][faults == soak->tally->entry_count
						      ? verdict_of(job, record)
						      : CHAOS_BAD]++;
	job->final = json_print(record);
	job->phase = CHAOS_ENDED;
	soak->progress_us = clock_boot();
	return 0;
}

int check_get_record(struct soak *soak, const char *run_id, struct json **ret, struct error *err)
{
	_cleanup_(freep) char *target = run_target(run_id, "%s", "");

	return soak_ask_json(soak, target, ret, err);
}

void check_lose(struct soak *soak, struct chaos_job *job, int status)
{
	chaos_tally_fault(soak->tally, CHAOS_LOST, job->run_id,
		"run %lld (%s) was acknowledged, and now GET answers %d",
		(long long)job->plan.number, chaos_job_kind_name(job->plan.kind), status);
	soak->tally->verdicts[job->plan.kind][CHAOS_BAD]++;
	soak_forget(soak, job);
}

int check_live(struct soak *soak, struct error *err)
{
	bool ended = false;
	int r = 0;

	for (size_t i = 0; i < CHAOS_JOBS_MAX && r >= 0; i++) {
		struct chaos_job *job = &soak->jobs[i];
		_cleanup_(json_freep) struct json *record = NULL;

		if (job->phase != CHAOS_LIVE)
			continue;
		r = check_get_record(soak, job->run_id, &record, err);
		if (r >= 0 && !record)
			check_lose(soak, job, r);
		else if (r >= 0 && record_is_over(record))
			r = check_end(soak, job, record, err);
		ended |= job->phase == CHAOS_ENDED;
	}
	return r >= 0 && ended ? check_left_over(soak, false, err) : r;
}
