/* SPDX-License-Identifier: MIT */
/*
 * supervisor_pulse - supervisors that somebody has stopped; see supervisor_internal.h
 *
 * A supervisor that has had SIGSTOP holds no limit and hears no cancel, and its run holds its slot for
 * ever. Nobody has a reason to want that: it is told to go on. One that is stopped again and again
 * is not a supervisor any more: it is ended, and the run with it, as one whose supervisor died.
 */
#include "common/log.h"
#include "common/mem.h"
#include "runs/pid_watch.h"
#include "runs/supervisor_internal.h"

#define PULSE_MS 3000
#define STOPPED_MAX 3

static void feel(struct supervised *run)
{
	if (!run->supervisor || !pid_watch_is_stopped(run->supervisor)) {
		run->stopped = 0;
	} else if (run->stopped++ < STOPPED_MAX) {
		log_warning(
			"%s: somebody has stopped its supervisor (SIGSTOP): it goes on", run->dir);
		pid_watch_signal(run->supervisor, SIGCONT);
	} else {
		log_error("%s: its supervisor is stopped again and again: it is ended", run->dir);
		pid_watch_signal(run->supervisor, SIGKILL);
	}
}

static void on_pulse(uv_timer_t *timer)
{
	struct supervisor_executor *owner = container_of(timer, struct supervisor_executor, pulse);
	struct supervised *run;

	if (TAILQ_EMPTY(&owner->runs))
		uv_timer_stop(timer);
	TAILQ_FOREACH(run, &owner->runs, all)
	feel(run);
}

void supervisor_pulse_start(struct supervisor_executor *owner)
{
	if (!uv_is_active((uv_handle_t *)&owner->pulse))
		uv_timer_start(&owner->pulse, on_pulse, PULSE_MS, PULSE_MS);
}
