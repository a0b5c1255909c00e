/* SPDX-License-Identifier: MIT */
/* left_over - processes of runs that have ended; see left_over.h */
#include "cli/chaos/left_over.h"

#include <poll.h>
#include <unistd.h>

#include "cli/chaos/process.h"
#include "common/clock.h"

#define SUPERVISORS_END_MS 2000 /* after the daemon's end; they have nothing left to do */

/* Is the run over, or none at all? */
static bool is_over(const struct soak *soak, int64_t number)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		if (soak->jobs[i].phase != CHAOS_UNUSED && soak->jobs[i].plan.number == number)
			return soak->jobs[i].phase == CHAOS_ENDED ||
			       soak->jobs[i].phase == CHAOS_DELETING;
	return true;
}

static const char *id_of(const struct soak *soak, int64_t number)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++)
		if (soak->jobs[i].phase != CHAOS_UNUSED && soak->jobs[i].plan.number == number)
			return soak->jobs[i].run_id;
	return NULL;
}

static void tell_left_over(struct soak *soak, const struct chaos_process *process)
{
	struct chaos_witnessed *seen;

	if (process->number < 0) {
		chaos_tally_fault(soak->tally, CHAOS_LEFTOVER, NULL,
			"all is over, and process %d is still there: %s", (int)process->pid,
			process->what);
		return;
	}
	seen = chaos_place_witnessed(soak->place, process->number);
	if (seen->left_over)
		return;
	seen->left_over = true;
	chaos_tally_fault(soak->tally, CHAOS_LEFTOVER, id_of(soak, process->number),
		"run %lld has ended, and its process %d is still there: %s",
		(long long)process->number, (int)process->pid, process->what);
}

/* Supervisors end just after the runs. Returns how many processes there are. */
static int look(struct soak *soak, bool everybody, struct chaos_processes *ret, struct error *err)
{
	int64_t end = clock_boot() + SUPERVISORS_END_MS * 1000;
	int r = chaos_processes_look(soak->place->folder, ret, err);

	while (r >= 0 && everybody && ret->count && clock_boot() < end) {
		poll(NULL, 0, 10);
		chaos_processes_release(ret);
		r = chaos_processes_look(soak->place->folder, ret, err);
	}
	return r;
}

static void check_cgroups(struct soak *soak)
{
	for (size_t i = 0; i < CHAOS_JOBS_MAX; i++) {
		const struct chaos_job *job = &soak->jobs[i];

		if (job->cgroup && access(job->cgroup, F_OK) == 0)
			chaos_tally_fault(soak->tally, CHAOS_LEFTOVER, job->run_id,
				"run %lld has ended, and its cgroup is still there: %s",
				(long long)job->plan.number, job->cgroup);
	}
}

int check_left_over(struct soak *soak, bool everybody, struct error *err)
{
	_cleanup_(chaos_processes_release) struct chaos_processes processes = { 0 };
	int r = look(soak, everybody, &processes, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < processes.count; i++)
		if (everybody || (processes.items[i].number >= 0 &&
					 is_over(soak, processes.items[i].number)))
			tell_left_over(soak, &processes.items[i]);
	soak->tally->looks++;
	if (everybody)
		check_cgroups(soak);
	if (everybody && chaos_daemon_reap(soak->daemon) && soak->alone && !processes.count)
		chaos_tally_fault(soak->tally, CHAOS_LEFTOVER, NULL,
			"all is over, and a process that has forgotten where it came from is still a child of ours");
	return 0;
}
