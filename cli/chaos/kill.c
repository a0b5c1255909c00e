/* SPDX-License-Identifier: MIT */
/* kill - the kinds of kills; see kill.h */
#include "cli/chaos/kill.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>

#include "cli/chaos/draw.h"
#include "cli/chaos/load.h"
#include "cli/chaos/process.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"

#define STARTS_MAX 3
#define GAP_ONE_OF 4 /* kills, after which there is no daemon for a while */
#define GAP_MS 20
#define BURST_MS 4
#define START_MS 10
#define SUPERVISOR_WAIT_US 4000
#define SUPERVISOR_TRIES 20

static uint64_t draw(const struct soak *soak, enum chaos_stream stream, uint64_t below)
{
	return chaos_draw(soak->tally->seed, stream, soak->tally->rounds, below);
}

/* Microseconds of the round's own, up to so many milliseconds. */
static void pause_up_to(const struct soak *soak, enum chaos_stream stream, unsigned ms)
{
	uint64_t us = draw(soak, stream, ms * 1000u);
	struct timespec wait = { 0, (long)us * 1000 };

	ppoll(NULL, 0, &wait, NULL);
}

/* ---- after a kill ---- */

static int start_once(struct soak *soak, struct error *err)
{
	int64_t us = 0;
	int r = chaos_daemon_start(soak->daemon, err);

	if (r >= 0)
		r = chaos_daemon_await_ready(soak->daemon, &us, err);
	if (r >= 0)
		chaos_samples_add(&soak->tally->recoveries, us);
	return r;
}

int kill_start_again(struct soak *soak, struct error *err)
{
	for (int i = 0; i < STARTS_MAX; i++) {
		_cleanup_(freep) char *how = NULL;
		struct error why = ERROR_INIT;
		int r = start_once(soak, &why);

		if (r >= 0)
			return 0;
		chaos_daemon_end(soak->daemon, SIGKILL, NULL);
		if (r != -ECHILD && r != -ETIMEDOUT)
			return error_set(err, r, NULL, "%s", why.message);
		how = chaos_daemon_how(soak->daemon);
		chaos_tally_fault(soak->tally, CHAOS_DAEMON, NULL, "%s: %s", why.message, how);
	}
	return error_set(err, -ECHILD, NULL, "amlagentd does not start any more");
}

static int after_death(struct soak *soak, struct error *err)
{
	int r = load_settle(soak, err);

	chaos_daemon_reap(soak->daemon);
	if (r >= 0 && draw(soak, CHAOS_DRAW_GAP, GAP_ONE_OF) == 0)
		pause_up_to(soak, CHAOS_DRAW_GAP, GAP_MS);
	if (r >= 0)
		r = kill_start_again(soak, err);
	return r < 0 ? r : load_resolve(soak, err);
}

/* ---- before a kill ---- */

static char *path_of(const struct soak *soak, const struct chaos_job *job, const char *name)
{
	return mem_printf("%s/runs/%s/%s", soak->place->state, job->run_id, name);
}

/* By its folder: that it has ended need not have been told yet. */
static bool is_in_flight(const struct soak *soak, const struct chaos_job *job)
{
	_cleanup_(freep) char *dir = path_of(soak, job, "");
	_cleanup_(freep) char *exit = path_of(soak, job, RUN_DIR_EXIT);

	return access(dir, F_OK) == 0 && access(exit, F_OK) < 0;
}

static void count_in_flight(struct soak *soak)
{
	int64_t count = 0;

	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		count += soak->jobs[i].phase == CHAOS_LIVE && is_in_flight(soak, &soak->jobs[i]);
	chaos_samples_add(&soak->tally->in_flight, count);
}

/* ---- the daemon ---- */

static int kill_daemon(struct soak *soak, struct error *err)
{
	int r;

	count_in_flight(soak);
	r = chaos_daemon_end(soak->daemon, SIGKILL, err);
	return r < 0 ? r : after_death(soak, err);
}

static int kill_in_mid_submit(struct soak *soak, struct error *err)
{
	int r = load_burst(soak, 1 + (int64_t)draw(soak, CHAOS_DRAW_BURST, CHAOS_CALLS), err);

	pause_up_to(soak, CHAOS_DRAW_ORDER, BURST_MS);
	return r < 0 ? r : kill_daemon(soak, err);
}

static int kill_while_it_starts(struct soak *soak, struct error *err)
{
	int r = chaos_daemon_end(soak->daemon, SIGKILL, err);

	if (r >= 0)
		r = load_settle(soak, err);
	if (r >= 0)
		r = chaos_daemon_start(soak->daemon, err);
	if (r < 0)
		return r;
	pause_up_to(soak, CHAOS_DRAW_ORDER, START_MS);
	return kill_daemon(soak, err);
}

int kill_end_well(struct soak *soak, struct error *err)
{
	struct error why = ERROR_INIT;
	int r = chaos_daemon_end(soak->daemon, SIGTERM, &why);
	_cleanup_(freep) char *how = NULL;

	if (r < 0 && r != -ETIMEDOUT)
		return error_set(err, r, NULL, "%s", why.message);
	if (r == -ETIMEDOUT || soak->daemon->status != 0) {
		how = chaos_daemon_how(soak->daemon);
		chaos_tally_fault(soak->tally, CHAOS_DAEMON, NULL, "on SIGTERM amlagentd %s%s%s",
			r < 0 ? "did not end" : how, r < 0 ? ": " : "", r < 0 ? why.message : "");
	}
	return load_settle(soak, err);
}

static int restart(struct soak *soak, struct error *err)
{
	int r;

	count_in_flight(soak);
	r = kill_end_well(soak, err);
	return r < 0 ? r : after_death(soak, err);
}

/* ---- supervisors ---- */

struct victim {
	struct chaos_job *job;
	pid_t pid;
	int fd;
};

/* The supervisor's number, from the run's folder; 0 when there is none yet, or no more. The cgroup
 * is remembered. */
static pid_t supervisor_of(const struct soak *soak, struct chaos_job *job)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *path = path_of(soak, job, RUN_DIR_STATUS);
	struct run_status status;
	pid_t pid;

	if (file_read(AT_FDCWD, path, RUN_DIR_FILE_MAX, &text) < 0 ||
		run_status_parse(text.data ? text.data : "", text.size, &status) < 0)
		return 0;
	pid = (pid_t)status.supervisor_pid;
	if (!job->cgroup)
		job->cgroup = TAKE(status.cgroup);
	run_status_release(&status);
	return pid;
}

/* Stop it, if it lives and has not written how the run ended. */
static bool freeze(const struct soak *soak, struct chaos_job *job, struct victim *ret)
{
	_cleanup_(freep) char *dir = path_of(soak, job, "");
	_cleanup_(freep) char *exit = path_of(soak, job, RUN_DIR_EXIT);
	pid_t pid = supervisor_of(soak, job);
	_cleanup_(closep) int fd = -EBADF;

	if (pid <= 1)
		return false;
	dir[strlen(dir) - 1] = '\0'; /* as it stands on its command line */
	fd = chaos_process_open(pid, dir);
	if (fd < 0 || !chaos_process_freeze(pid, fd))
		return false;
	if (access(exit, F_OK) == 0 || access(dir, F_OK) < 0) {
		pidfd_send_signal(fd, SIGCONT, NULL, 0);
		return false;
	}
	*ret = (struct victim){ .job = job, .pid = pid, .fd = TAKE_FD(fd) };
	return true;
}

/* Those that live long would be nearly all of the victims. */
static bool lives_long(const struct chaos_job *job)
{
	return job->plan.kind == CHAOS_JOB_LIMIT || job->plan.kind == CHAOS_JOB_LONG;
}

static bool find_victim(struct soak *soak, bool any, struct victim *ret)
{
	size_t first = draw(soak, CHAOS_DRAW_VICTIM, CHAOS_JOBS_MAX);

	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++) {
		struct chaos_job *job = &soak->jobs[(first + i) % CHAOS_JOBS_MAX];

		if (job->phase == CHAOS_LIVE && (any || !lives_long(job)) && freeze(soak, job, ret))
			return true;
	}
	return false;
}

/* Go on with the load until there is one. */
static bool await_victim(struct soak *soak, struct victim *ret, struct error *err)
{
	for (int i = 0; i < SUPERVISOR_TRIES; i++) {
		if (find_victim(soak, i >= SUPERVISOR_TRIES / 2, ret))
			return true;
		if (load_until(soak, clock_boot() + SUPERVISOR_WAIT_US, err) < 0)
			return false;
	}
	return false;
}

/* Its end is waited for: what it holds is free then. */
static void kill_victim(struct victim *victim)
{
	struct pollfd wait = { victim->fd, POLLIN, 0 };

	victim->job->supervisor_killed = true;
	pidfd_send_signal(victim->fd, SIGKILL, NULL, 0);
	while (poll(&wait, 1, CHAOS_END_SECONDS * 1000) < 0 && errno == EINTR)
		continue;
	victim->fd = fd_close(victim->fd);
}

static int kill_supervisor(struct soak *soak, struct error *err)
{
	struct victim victim;

	if (!await_victim(soak, &victim, err))
		return err->code ? err->code : -EAGAIN;
	count_in_flight(soak);
	kill_victim(&victim);
	return load_drain(soak, err);
}

/* In either order: the daemon sees it, or the next one finds it. */
static int kill_both(struct soak *soak, struct error *err)
{
	bool supervisor_first = draw(soak, CHAOS_DRAW_ORDER, 2);
	struct victim victim;
	int r;

	if (!await_victim(soak, &victim, err))
		return err->code ? err->code : -EAGAIN;
	count_in_flight(soak);
	if (supervisor_first)
		kill_victim(&victim);
	r = chaos_daemon_end(soak->daemon, SIGKILL, err);
	if (!supervisor_first)
		kill_victim(&victim);
	return r < 0 ? r : after_death(soak, err);
}

/* ---- all of them ---- */

static const struct kind {
	unsigned weight;
	int (*kill)(struct soak *soak, struct error *err);
} kinds[CHAOS_KILL_COUNT] = {
	[CHAOS_KILL_DAEMON] = { 60, kill_daemon },
	[CHAOS_KILL_SUBMIT] = { 16, kill_in_mid_submit },
	[CHAOS_KILL_START] = { 8, kill_while_it_starts },
	[CHAOS_KILL_TERM] = { 5, restart },
	[CHAOS_KILL_SUPERVISOR] = { 7, kill_supervisor },
	[CHAOS_KILL_BOTH] = { 4, kill_both },
};

int kill_something(struct soak *soak, struct error *err)
{
	unsigned weights[CHAOS_KILL_COUNT];
	enum chaos_kill kind;
	int r;

	for (size_t i = 0; i < CHAOS_KILL_COUNT; i++)
		weights[i] = kinds[i].weight;
	kind = (enum chaos_kill)chaos_draw_weighted(
		soak->tally->seed, CHAOS_DRAW_KILL, soak->tally->rounds, weights, CHAOS_KILL_COUNT);
	r = kinds[kind].kill(soak, err);
	if (r == -EAGAIN) { /* no supervisor is to be had: the daemon then */
		kind = CHAOS_KILL_DAEMON;
		r = kill_daemon(soak, err);
	}
	soak->tally->kills[kind] += r >= 0;
	return r;
}
