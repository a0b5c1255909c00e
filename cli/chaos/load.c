/* SPDX-License-Identifier: MIT */
/* load - submits, cancels, deletes in flight; see load.h */
#include "cli/chaos/load.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "cli/chaos/call.h"
#include "cli/chaos/content.h"
#include "cli/record.h"
#include "common/clock.h"
#include "common/mem.h"

#define STEP_US 3000  /* how often the witness is read for jobs that are to be canceled */
#define CALLS_USUAL 3 /* in flight at a time; the others are for a burst */
#define LIST_TARGET "/v1/runs?limit=1000"

void load_init(struct soak *soak)
{
	for (size_t i = 0; i < CHAOS_CALLS; i++)
		client_init(&soak->calls[i].client, &soak->endpoint);
}

void load_release(struct soak *soak)
{
	for (size_t i = 0; i < CHAOS_CALLS; i++) {
		client_release(&soak->calls[i].client);
		soak->calls[i].type = CHAOS_CALL_NONE;
	}
}

/* ---- what is due ---- */

static bool wants_cancel(struct soak *soak, const struct chaos_job *job)
{
	if (job->phase != CHAOS_LIVE || job->cancel_sent || job->cancel_answered)
		return false;
	return job->plan.kind == CHAOS_JOB_CANCEL_AT_ONCE ||
	       (job->plan.kind == CHAOS_JOB_CANCEL &&
		       chaos_place_witnessed(soak->place, job->plan.number)->said_all);
}

static struct chaos_job *find_to_cancel(struct soak *soak)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		if (wants_cancel(soak, &soak->jobs[i]))
			return &soak->jobs[i];
	return NULL;
}

/* The oldest goes. */
static struct chaos_job *find_to_delete(struct soak *soak)
{
	struct chaos_job *oldest = NULL;

	if (soak_count(soak, CHAOS_ENDED) <= CHAOS_KEPT)
		return NULL;
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		if (soak->jobs[i].phase == CHAOS_ENDED &&
			(!oldest || soak->jobs[i].plan.number < oldest->plan.number))
			oldest = &soak->jobs[i];
	return oldest;
}

static int send_what_is_due(struct soak *soak, struct chaos_call *call, struct error *err)
{
	struct chaos_job *cancel = find_to_cancel(soak);
	struct chaos_job *delete = cancel ? NULL : find_to_delete(soak);

	if (cancel)
		return call_cancel(call, cancel, err);
	if (delete)
		return call_delete(call, delete, err);
	if ((int64_t)soak_count_open(soak) < soak->live_target)
		return call_submit(soak, call, err);
	return 0;
}

/* ---- the loop ---- */

static int send_all(struct soak *soak, struct error *err)
{
	for (size_t i = 0; i < CALLS_USUAL; i++) {
		struct chaos_call *call = &soak->calls[i];
		struct error why = ERROR_INIT;
		int r = call->type ? 0 : send_what_is_due(soak, call, &why);

		if (r == -EINTR)
			return error_set(err, r, NULL, "interrupted");
		if (r < 0)
			call_cut_off(soak, call);
	}
	return 0;
}

/* Wait for answers, take those that are there. */
static int receive_all(struct soak *soak, int64_t wait_us, struct error *err)
{
	struct pollfd polls[CHAOS_CALLS];
	struct timespec wait = { wait_us / USEC_PER_SEC, wait_us % USEC_PER_SEC * 1000 };
	int r = 0;

	for (size_t i = 0; i < CHAOS_CALLS; i++)
		polls[i] = (struct pollfd){ soak->calls[i].type ? soak->calls[i].client.fd : -1,
			POLLIN, 0 };
	if (ppoll(polls, CHAOS_CALLS, &wait, NULL) < 0)
		return soak_check_interrupt(err);
	for (size_t i = 0; i < CHAOS_CALLS && r >= 0; i++)
		if (polls[i].revents)
			r = call_receive(soak, &soak->calls[i], err);
	return r;
}

int load_until(struct soak *soak, int64_t end_us, struct error *err)
{
	int r = 0;

	for (int64_t now = clock_boot(); r >= 0 && now < end_us && soak->daemon->pid;
		now = clock_boot()) {
		r = chaos_place_read_witness(soak->place, err);
		if (r >= 0)
			r = send_all(soak, err);
		if (r >= 0)
			r = receive_all(soak, end_us - now < STEP_US ? end_us - now : STEP_US, err);
		if (r >= 0)
			r = soak_check_interrupt(err);
		chaos_daemon_reap(soak->daemon);
	}
	return r;
}

int load_burst(struct soak *soak, int64_t count, struct error *err)
{
	for (size_t i = 0; i < CHAOS_CALLS && count > 0; i++) {
		struct chaos_call *call = &soak->calls[i];
		struct error why = ERROR_INIT;

		if (call->type || soak_count_open(soak) >= CHAOS_LIVE_MAX)
			continue;
		if (call_submit(soak, call, &why) < 0)
			call_cut_off(soak, call);
		count--;
	}
	return soak_check_interrupt(err);
}

static bool is_busy(const struct soak *soak)
{
	for (size_t i = 0; i < CHAOS_CALLS; i++)
		if (soak->calls[i].type)
			return true;
	return false;
}

int load_settle(struct soak *soak, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < CHAOS_CALLS && r >= 0; i++) {
		if (soak->calls[i].type)
			r = call_receive(soak, &soak->calls[i], err);
		client_release(&soak->calls[i].client);
		client_init(&soak->calls[i].client, &soak->endpoint);
	}
	client_release(&soak->client);
	client_init(&soak->client, &soak->endpoint);
	return r;
}

int load_drain(struct soak *soak, struct error *err)
{
	int64_t end = clock_boot() + CHAOS_STUCK_SECONDS * USEC_PER_SEC;
	int r = 0;

	while (r >= 0 && is_busy(soak) && clock_boot() < end && soak->daemon->pid) {
		r = receive_all(soak, STEP_US, err);
		chaos_daemon_reap(soak->daemon);
	}
	if (r >= 0 && is_busy(soak) && soak->daemon->pid)
		chaos_tally_fault(soak->tally, CHAOS_STUCK, NULL,
			"amlagentd has not answered a request for %d s", CHAOS_STUCK_SECONDS);
	return r;
}

/* ---- what was cut off ---- */

static const struct json *find_record(const struct json *list, int64_t number)
{
	for (const struct json *m = json_first(list); m; m = json_next(m))
		if (chaos_job_number(json_string(json_get(m, "display_name"))) == number)
			return m;
	return NULL;
}

static int resolve_submit(
	struct soak *soak, struct chaos_job *job, const struct json *list, struct error *err)
{
	const struct json *record = find_record(list, job->plan.number);

	if (!record) {
		soak_forget(soak, job);
		return 0;
	}
	soak->tally->unanswered_kept++;
	return call_accepted(soak, job, record, err);
}

static int resolve_submits(struct soak *soak, struct error *err)
{
	_cleanup_(json_freep) struct json *list = NULL;
	int r = 0;

	if (!soak_find(soak, CHAOS_UNSURE))
		return 0;
	r = soak_ask_json(soak, LIST_TARGET, &list, err);
	for (size_t i = 0; i < CHAOS_JOBS_MAX && r >= 0 && list; i++)
		if (soak->jobs[i].phase == CHAOS_UNSURE)
			r = resolve_submit(soak, &soak->jobs[i], list, err);
	return r < 0 ? r : 0;
}

/* One that is still there must be whole. */
static int resolve_delete(struct soak *soak, struct chaos_job *job, struct error *err)
{
	_cleanup_(freep) char *target = run_target(job->run_id, "%s", "");
	int status = soak_ask(soak, "GET", target, NULL, err);

	if (status < 0)
		return status;
	if (status == 404) {
		call_deleted(soak, job);
		return 0;
	}
	job->phase = CHAOS_ENDED;
	return check_content(soak, job, NULL, err);
}

int load_resolve(struct soak *soak, struct error *err)
{
	int r = resolve_submits(soak, err);

	for (size_t i = 0; i < CHAOS_JOBS_MAX && r >= 0; i++)
		if (soak->jobs[i].phase == CHAOS_DELETING)
			r = resolve_delete(soak, &soak->jobs[i], err);
	return r;
}
