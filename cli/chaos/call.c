/* SPDX-License-Identifier: MIT */
/* call - one request that changes something, and its answer; see call.h */
#include "cli/chaos/call.h"

#include <string.h>

#include "cli/chaos/draw.h"
#include "cli/record.h"
#include "common/mem.h"

#define FOLLOW_ONE_OF 8 /* jobs */
#define FOLLOWERS_MAX 3

/* ---- sending ---- */

int call_submit(struct soak *soak, struct chaos_call *call, struct error *err)
{
	struct chaos_job *job = soak_find(soak, CHAOS_UNUSED);
	_cleanup_(json_freep) struct json *request = NULL;
	_cleanup_(freep) char *body = NULL;

	if (!job)
		return 0;
	*job = (struct chaos_job){ .phase = CHAOS_SUBMITTED };
	chaos_job_draw(soak->tally->seed, soak->next_number++, &job->plan);
	request = chaos_job_request(
		&job->plan, soak->place->folder, soak->place->source, soak->place->witness);
	body = json_print(request);
	call->type = CHAOS_CALL_SUBMIT;
	call->job = job;
	return client_send(&call->client, "POST", "/v1/runs", body, err);
}

int call_cancel(struct chaos_call *call, struct chaos_job *job, struct error *err)
{
	_cleanup_(freep) char *target = run_target(job->run_id, "/cancel");

	job->cancel_sent = true;
	call->type = CHAOS_CALL_CANCEL;
	call->job = job;
	return client_send(&call->client, "POST", target, "{}", err);
}

int call_delete(struct chaos_call *call, struct chaos_job *job, struct error *err)
{
	_cleanup_(freep) char *target = run_target(job->run_id, "%s", "");

	job->phase = CHAOS_DELETING;
	call->type = CHAOS_CALL_DELETE;
	call->job = job;
	return client_send(&call->client, "DELETE", target, NULL, err);
}

/* ---- answers ---- */

static int follow_some(struct soak *soak, struct chaos_job *job, struct error *err)
{
	bool drawn = chaos_draw(soak->tally->seed, CHAOS_DRAW_FOLLOW, job->plan.number,
			     FOLLOW_ONE_OF) == 0;
	size_t followers = 0;

	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		followers += soak->jobs[i].follower.pid != 0;
	if (followers >= FOLLOWERS_MAX || (!drawn && job->plan.kind != CHAOS_JOB_LONG))
		return 0;
	return follower_start(&job->follower, soak->place->socket, job->run_id, err);
}

int call_accepted(
	struct soak *soak, struct chaos_job *job, const struct json *record, struct error *err)
{
	job->phase = CHAOS_LIVE;
	chaos_place_witnessed(soak->place, job->plan.number)->may_start = 1;
	job->run_id = mem_strdup(record_id(record));
	return follow_some(soak, job, err);
}

static int submitted(
	struct soak *soak, struct chaos_job *job, const struct json *record, struct error *err)
{
	soak->tally->acknowledged++;
	return call_accepted(soak, job, record, err);
}

static int canceled(
	struct soak *soak, struct chaos_job *job, const struct json *record, struct error *err)
{
	(void)soak;
	(void)record;
	(void)err;
	job->cancel_answered = true;
	return 0;
}

void call_deleted(struct soak *soak, struct chaos_job *job)
{
	size_t at = soak->deleted_next++ % CHAOS_KEPT;

	soak->tally->deleted++;
	free(soak->deleted[at]);
	soak->deleted[at] = TAKE(job->run_id);
	soak_forget(soak, job);
}

static int deleted(
	struct soak *soak, struct chaos_job *job, const struct json *record, struct error *err)
{
	(void)record;
	(void)err;
	call_deleted(soak, job);
	return 0;
}

void call_cut_off(struct soak *soak, struct chaos_call *call)
{
	if (call->type == CHAOS_CALL_SUBMIT) {
		soak->tally->unanswered++;
		call->job->phase = CHAOS_UNSURE;
	} else if (call->type == CHAOS_CALL_CANCEL) {
		call->job->cancel_sent = false;
	}
	call->type = CHAOS_CALL_NONE;
}

/* A daemon that is about to end says 503: it has not taken it. */
static void refused(struct soak *soak, struct chaos_call *call, const struct error *why)
{
	static const char *const names[] = { [CHAOS_CALL_SUBMIT] = "submit",
		[CHAOS_CALL_CANCEL] = "cancel",
		[CHAOS_CALL_DELETE] = "delete" };
	int status = call->client.message.status;
	struct chaos_job *job = call->job;
	/* The supervisor was killed meanwhile: it has ended, and not by the cancel. */
	bool too_late = status == 409 && call->type == CHAOS_CALL_CANCEL && job->supervisor_killed;

	if (status != 503 && !too_late)
		chaos_tally_fault(soak->tally, CHAOS_WRONG, job->run_id,
			"run %lld: the %s was answered with %d: %s", (long long)job->plan.number,
			names[call->type], status, why->message);
	if (call->type == CHAOS_CALL_SUBMIT) {
		soak->tally->refused++;
		soak_forget(soak, job);
	} else if (call->type == CHAOS_CALL_CANCEL) {
		job->cancel_sent = false;
		job->cancel_answered = status != 503;
	} else {
		job->phase = CHAOS_ENDED;
	}
	call->type = CHAOS_CALL_NONE;
}

static int read_answer(struct client *client, struct strbuf *ret, struct error *err)
{
	const char *piece = NULL;
	ssize_t n;
	int r = client_head(client, err);

	if (r < 0)
		return r;
	while ((n = client_body(client, &piece, err)) > 0)
		strbuf_add(ret, piece, (size_t)n);
	return (int)n;
}

int call_receive(struct soak *soak, struct chaos_call *call, struct error *err)
{
	static int (*const took[])(struct soak * soak, struct chaos_job * job,
		const struct json *record, struct error *err) = {
		[CHAOS_CALL_SUBMIT] = submitted,
		[CHAOS_CALL_CANCEL] = canceled,
		[CHAOS_CALL_DELETE] = deleted,
	};
	_cleanup_(strbuf_release) struct strbuf answer = STRBUF_INIT;
	_cleanup_(json_freep) struct json *record = NULL;
	enum chaos_call_type type = call->type;
	struct error why = ERROR_INIT;
	int r = read_answer(&call->client, &answer, &why);

	if (r == -EREMOTEIO) {
		refused(soak, call, &why);
		return 0;
	}
	if (r < 0 && r != -EINTR) {
		call_cut_off(soak, call);
		return 0;
	}
	if (r >= 0 && answer.size)
		r = json_parse(answer.data, answer.size, &record, &why);
	if (r < 0)
		return error_set(err, r, NULL, "%s", why.message);
	call->type = CHAOS_CALL_NONE;
	soak->answers++;
	return took[type](soak, call->job, record, err);
}
