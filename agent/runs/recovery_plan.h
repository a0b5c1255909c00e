/* SPDX-License-Identifier: MIT */
/*
 * recovery_plan - what is still owed to a run that a new daemon finds
 *
 * A run that is not over is owed something: a slot, an eye on its supervisor, a verdict, its outputs
 * in the store, its folder's end. What history says is the last that an earlier daemon knew; what
 * the run directory says is the truth, as far as it goes. The table takes both:
 *
 *	the directory says        then
 *	lives, ended, lost        it was started: watch it, whatever history says
 *	never started             history decides (below)
 *	cannot be told just now   ask again
 *
 * Never started, and the machine has not been restarted since: the directory is believed, and what
 * was being started is started again. After a restart what was not flushed is gone, `status` among
 * it: what may have run is lost and not run a second time.
 *
 * Pure. tests/unit/test_recovery_plan.c walks all of it.
 */
#pragma once

#include "history/history.h"
#include "runs/executor.h"

enum recovery_plan {
	RECOVERY_QUEUE,       /* owed a slot: its place in the queue, as before */
	RECOVERY_QUEUE_AGAIN, /* the same, and history is told */
	RECOVERY_REATTACH,    /* owed a watch, a verdict, its outputs: the executor has news */
	RECOVERY_CANCEL,      /* owed the end that was asked for: nothing of it was started */
	RECOVERY_LOSE,        /* owed an end: it may have run and nothing tells how it ended */
	RECOVERY_COUNT,
};

enum recovery_plan recovery_plan(
	const struct run_record *record, enum executor_found found, bool same_boot);
