/* SPDX-License-Identifier: MIT */
/*
 * supervisor_sweep - what is left of runs whose supervisors are dead; see supervisor_internal.h
 *
 * All runs at once, since each look goes over all processes.
 */
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "runs/run_folder.h"
#include "runs/strays.h"
#include "runs/supervisor_internal.h"
#include "runs/work.h"

#define STRAYS_MAX_MS 1000
#define LOST_MAX 64 /* at a time */
/* Nobody is between two programs for so long: such a one holds no slot. */
#define DOUBT_MAX_US (10 * USEC_PER_SEC)

struct sweep {
	struct supervisor_executor *owner;
	struct supervised *runs[LOST_MAX];
	struct stray_run strays[LOST_MAX];
	size_t count;
	int result;
	struct work work;
};

/* Not believed of another boot, and of a build that did not write down when it began. */
static pid_t child_of(const struct supervisor_executor *owner, const struct run_status *status)
{
	return status->child_start && !strcmp(status->boot_id, owner->boot_id)
		       ? (pid_t)status->child_pid
		       : 0;
}

/* One whose cgroup cannot be read just now has its turn later. */
static void sweep_add(struct sweep *sweep, struct supervised *run)
{
	struct run_status status = { 0 };
	int r = run_folder_status(run->dirfd, &status);

	if (r < 0 && r != -ENOENT && r != -EBADMSG && run->dirfd >= 0)
		return;
	sweep->runs[sweep->count] = run;
	sweep->strays[sweep->count++] = (struct stray_run){
		.run_dir = mem_strdup(run->dir),
		.cgroup = mem_strdup(status.cgroup),
		.uid = run->uid,
		.child = child_of(sweep->owner, &status),
		.child_start = (uint64_t)status.child_start,
	};
	run_status_release(&status);
}

static void sweep_free(struct sweep *sweep)
{
	for (size_t i = 0; i < sweep->count; i++) {
		free((char *)(uintptr_t)sweep->strays[i].run_dir);
		free((char *)(uintptr_t)sweep->strays[i].cgroup);
	}
	free(sweep);
}

static void sweep_on_thread(struct work *work)
{
	struct sweep *sweep = container_of(work, struct sweep, work);

	sweep->result = strays_kill(sweep->strays, sweep->count);
}

static bool is_gone(struct supervised *run, const struct stray_run *stray)
{
	if (stray->found || !stray->in_doubt) {
		run->doubt_us = 0;
		return !stray->found;
	}
	if (!run->doubt_us)
		run->doubt_us = clock_boot();
	return clock_boot() - run->doubt_us >= DOUBT_MAX_US;
}

/* The slot is free only when nothing of the run is left. */
static void sweep_done(struct work *work)
{
	struct sweep *sweep = container_of(work, struct sweep, work);
	struct supervisor_executor *owner = sweep->owner;

	owner->sweep = NULL;
	if (owner->closing) { /* the runs are forgotten */
		sweep_free(sweep);
		supervisor_handle_closed(owner);
		return;
	}
	owner->sweep_ms *= 2;
	for (size_t i = 0; i < sweep->count; i++) {
		struct supervised *run = sweep->runs[i];

		if (sweep->result == 0 && is_gone(run, &sweep->strays[i])) {
			owner->sweep_ms = STRAYS_MS;
			supervised_end(run, NULL, run->seen_us);
		} else { /* the others have their turn first */
			TAILQ_REMOVE(&owner->runs, run, all);
			TAILQ_INSERT_TAIL(&owner->runs, run, all);
		}
	}
	sweep_free(sweep);
	if (owner->sweep_ms > STRAYS_MAX_MS)
		owner->sweep_ms = STRAYS_MAX_MS;
	supervisor_look_within(owner, owner->sweep_ms);
}

void supervisor_sweep(struct supervisor_executor *owner)
{
	struct supervised *run;
	struct sweep *sweep = owner->sweep ? NULL : NEW(struct sweep);

	if (!sweep)
		return;
	sweep->owner = owner;
	TAILQ_FOREACH(run, &owner->runs, all)
	if (run->stage == EXECUTOR_LOST && sweep->count < LOST_MAX)
		sweep_add(sweep, run);
	if (!sweep->count) {
		sweep_free(sweep);
		owner->sweep_ms = STRAYS_MS;
		return;
	}
	owner->sweep = sweep;
	work_queue(owner->loop, &sweep->work, sweep_on_thread, sweep_done);
}
