/* SPDX-License-Identifier: MIT */
/* soak - one state folder's life: rounds of kills under load; see soak.h */
#include "cli/chaos/soak.h"

#include <signal.h>
#include <string.h>

#include "cli/chaos/check.h"
#include "cli/chaos/draw.h"
#include "cli/chaos/kept.h"
#include "cli/chaos/kill.h"
#include "cli/chaos/left_over.h"
#include "cli/chaos/load.h"
#include "cli/interrupt.h"
#include "cli/record.h"
#include "common/clock.h"
#include "common/mem.h"

#define MOMENT_US 30000  /* a kill comes within this of an answer, or of the last look */
#define ANSWER_US 100000 /* and an answer is waited for so long */
#define ANSWER_STEP_US 2000
#define LOOK_ONE_OF 4
#define TARGET_MIN 8
#define DRAIN_STEP_US 20000

struct chaos_job *soak_find(struct soak *soak, enum chaos_phase phase)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		if (soak->jobs[i].phase == phase)
			return &soak->jobs[i];
	return NULL;
}

size_t soak_count(const struct soak *soak, enum chaos_phase phase)
{
	size_t count = 0;

	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		count += soak->jobs[i].phase == phase;
	return count;
}

size_t soak_count_open(const struct soak *soak)
{
	return soak_count(soak, CHAOS_SUBMITTED) + soak_count(soak, CHAOS_UNSURE) +
	       soak_count(soak, CHAOS_LIVE);
}

void soak_forget(struct soak *soak, struct chaos_job *job)
{
	(void)soak;
	follower_kill(&job->follower);
	free(job->run_id);
	free(job->cgroup);
	free(job->final);
	*job = (struct chaos_job){ 0 };
}

void soak_release(struct soak *soak)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		soak_forget(soak, &soak->jobs[i]);
	for (size_t i = 0; i < CHAOS_KEPT; i++) {
		free(soak->deleted[i]);
		soak->deleted[i] = NULL;
	}
	load_release(soak);
	client_release(&soak->client);
	endpoint_release(&soak->endpoint);
}

int soak_check_interrupt(struct error *err)
{
	return interrupt_caught() ? error_set(err, -EINTR, NULL, "interrupted") : 0;
}

/* ---- asking ---- */

static int read_body(struct client *client, struct strbuf *ret, struct error *err)
{
	const char *piece = NULL;
	ssize_t n;

	while ((n = client_body(client, &piece, err)) > 0)
		if (ret)
			strbuf_add(ret, piece, (size_t)n);
	return (int)n;
}

int soak_ask(struct soak *soak, const char *method, const char *target, struct strbuf *ret,
	struct error *err)
{
	struct client *client = &soak->client;
	struct error why = ERROR_INIT;
	int r = client_send(client, method, target, NULL, &why);

	if (r >= 0)
		r = client_head(client, &why);
	if (r == -EREMOTEIO)
		return client->message.status;
	if (r >= 0)
		r = read_body(client, ret, &why);
	/* It has died before it could be asked, or it hangs. */
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ETIMEDOUT)
		r = -ECONNRESET;
	return r < 0 ? error_set(err, r, NULL, "%s: %s", target, why.message)
		     : client->message.status;
}

int soak_ask_json(struct soak *soak, const char *target, struct json **ret, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf answer = STRBUF_INIT;
	int status = soak_ask(soak, "GET", target, &answer, err);
	int r;

	if (status < 0 || status >= 300)
		return status;
	r = json_parse(answer.data ? answer.data : "", answer.size, ret, err);
	return r < 0 ? r : status;
}

/* ---- trouble ---- */

/* The daemon broke off, and it was not us: that is a fault, and the soak goes on. */
static int go_on_without(struct soak *soak, struct error *err)
{
	_cleanup_(freep) char *how = NULL;

	chaos_daemon_reap(soak->daemon);
	if (soak->daemon->pid) {
		chaos_tally_fault(soak->tally, CHAOS_STUCK, NULL,
			"amlagentd lives and does not answer: %s", err->message);
		*err = (struct error)ERROR_INIT;
		chaos_daemon_end(soak->daemon, SIGKILL, err);
	} else {
		how = chaos_daemon_how(soak->daemon);
		chaos_tally_fault(
			soak->tally, CHAOS_DAEMON, NULL, "amlagentd ended by itself: %s", how);
	}
	*err = (struct error)ERROR_INIT;
	if (load_settle(soak, err) < 0 || kill_start_again(soak, err) < 0)
		return err->code;
	return load_resolve(soak, err);
}

static void tell_what_is_stuck(struct soak *soak)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++) {
		const struct chaos_job *job = &soak->jobs[i];
		_cleanup_(freep) char *target =
			job->run_id ? run_target(job->run_id, "%s", "") : NULL;
		_cleanup_(json_freep) struct json *record = NULL;

		if (job->phase != CHAOS_LIVE)
			continue;
		if (soak_ask_json(soak, target, &record, NULL) < 0)
			record = NULL;
		chaos_tally_fault(soak->tally, CHAOS_STUCK, job->run_id,
			"run %lld (%s) is %s and goes no further%s", (long long)job->plan.number,
			chaos_job_kind_name(job->plan.kind),
			record ? record_status(record) : "not to be asked for",
			chaos_place_witnessed(soak->place, job->plan.number)->starts
				? ""
				: "; it was never started");
	}
}

/* -ETIMEDOUT when no run has ended for too long. */
static int check_progress(struct soak *soak, struct error *err)
{
	if (!soak_count_open(soak))
		soak->progress_us = clock_boot();
	if (clock_boot() - soak->progress_us < CHAOS_STUCK_SECONDS * USEC_PER_SEC)
		return 0;
	tell_what_is_stuck(soak);
	return error_set(err, -ETIMEDOUT, NULL, "no run has ended for %d s", CHAOS_STUCK_SECONDS);
}

/* ---- rounds ---- */

static int look_round(struct soak *soak, struct error *err)
{
	int r = check_live(soak, err);

	return r < 0 ? r : check_kept(soak, false, err);
}

/* Load until an answer has come; in some rounds it is not waited for: so that kills come soon after
 * a start, too. */
static int await_answer(struct soak *soak, struct error *err)
{
	int64_t end = clock_boot() + ANSWER_US;
	int64_t before = soak->answers;
	int r = 0;

	if (chaos_draw(soak->tally->seed, CHAOS_DRAW_AFTER, soak->tally->rounds, LOOK_ONE_OF) == 0)
		return 0;
	while (r >= 0 && soak->answers == before && clock_boot() < end && soak->daemon->pid)
		r = load_until(soak, clock_boot() + ANSWER_STEP_US, err);
	return r;
}

static int carry_out(struct soak *soak, struct error *err)
{
	const struct chaos_tally *tally = soak->tally;
	int64_t moment =
		(int64_t)chaos_draw(tally->seed, CHAOS_DRAW_MOMENT, tally->rounds, MOMENT_US);
	int r;

	soak->live_target = TARGET_MIN + (int64_t)chaos_draw(tally->seed, CHAOS_DRAW_TARGET,
						 tally->rounds, CHAOS_LIVE_MAX - TARGET_MIN + 1);
	r = await_answer(soak, err);
	if (r >= 0)
		r = load_until(soak, clock_boot() + moment, err);
	if (r >= 0 && !soak->daemon->pid)
		return -ECONNRESET;
	if (r >= 0)
		r = kill_something(soak, err);
	return r < 0 ? r : look_round(soak, err);
}

static int round_of(struct soak *soak, struct error *err)
{
	int r = carry_out(soak, err);

	if (r == -ECONNRESET)
		r = go_on_without(soak, err);
	return r < 0 ? r : check_progress(soak, err);
}

/* ---- the end ---- */

static bool is_settled(const struct soak *soak)
{
	return !soak_count_open(soak) && !soak_count(soak, CHAOS_DELETING);
}

static int drain_step(struct soak *soak, struct error *err)
{
	int r = load_until(soak, clock_boot() + DRAIN_STEP_US, err);

	if (r >= 0 && !soak->daemon->pid)
		return -ECONNRESET;
	return r < 0 ? r : check_live(soak, err);
}

static int drain(struct soak *soak, struct error *err)
{
	int r = 0;

	soak->live_target = 0;
	soak->progress_us = clock_boot();
	while (r >= 0 && !is_settled(soak)) {
		r = drain_step(soak, err);
		if (r == -ECONNRESET)
			r = go_on_without(soak, err);
		if (r >= 0)
			r = check_progress(soak, err);
	}
	return r;
}

static int check_state(struct soak *soak, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	int r = chaos_daemon_check_state(soak->daemon, &text, err);

	if (r == -EOPNOTSUPP)
		return 0;
	if (r == 1)
		chaos_tally_fault(soak->tally, CHAOS_STATE, NULL,
			"amlagentd --check-state is not content: %s", text);
	soak->tally->state_checks += r >= 0;
	return r < 0 ? r : 0;
}

/* All runs have ended. */
static int last_look(struct soak *soak, int64_t first_number, struct error *err)
{
	int r = check_kept(soak, true, err);

	if (r >= 0)
		r = check_idle(soak, err);
	if (r >= 0)
		r = kill_end_well(soak, err);
	if (r >= 0)
		r = check_left_over(soak, true, err);
	if (r >= 0)
		r = chaos_place_read_witness(soak->place, err);
	if (r < 0)
		return r;
	check_starts(soak, first_number);
	return check_state(soak, err);
}

/* What was found is told as a fault already. */
static bool is_told(int r)
{
	return r == -ETIMEDOUT || r == -ECHILD;
}

static int open_soak(struct soak *soak, struct error *err)
{
	int64_t us;
	int r = chaos_place_next_state(soak->place, err);

	soak->endpoint = (struct endpoint){
		.socket = soak->place->socket, .no_autostart = true, .silence.quiet = true
	};
	client_init(&soak->client, &soak->endpoint);
	soak->client.patience_ms = CHAOS_STUCK_SECONDS * 1000;
	load_init(soak);
	soak->progress_us = clock_boot();
	if (r >= 0)
		r = chaos_daemon_start(soak->daemon, err);
	return r < 0 ? r : chaos_daemon_await_ready(soak->daemon, &us, err);
}

int soak_run(
	struct soak *soak, int64_t until, void (*tick)(void *data), void *data, struct error *err)
{
	int64_t first_number = soak->next_number;
	int r = open_soak(soak, err);

	if (r < 0)
		return r;
	for (; r >= 0 && soak->tally->rounds < until && !chaos_tally_is_full(soak->tally);
		soak->tally->rounds++) {
		r = round_of(soak, err);
		tick(data);
	}
	if (r >= 0)
		r = drain(soak, err);
	if (r >= 0)
		r = last_look(soak, first_number, err);
	if (r == -ECONNRESET) {
		r = go_on_without(soak, err);
		return r < 0 && !is_told(r) ? r : 0;
	}
	return is_told(r) ? 0 : r < 0 ? r : 0;
}
