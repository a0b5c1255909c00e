/* SPDX-License-Identifier: MIT */
/*
 * fake_executor - executor.h without processes: the test says what happens to a run and when
 *
 * By hand: fake_executor_started() and _ended(), called from the test between two turns of the
 * loop. By timer: after fake_executor_go() every run that it holds takes a step at each tick:
 * started, then ended.
 *
 * Runs are named by their id, the last part of their directory. Failures abort the test (cmocka).
 *
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "runs/executor.h"

struct fake_executor;

struct executor *fake_executor_new(
	uv_loop_t *loop, const struct executor_events *events, struct fake_executor **ret);

/* Results of the next calls of start and stop; 0: they work. */
void fake_executor_fail(struct fake_executor *fake, int start_result, int stop_result);
/* The same of look and reattach. */
void fake_executor_fail_look(struct fake_executor *fake, int look_result, int reattach_result);
/* What look() will find; without a word it was never started. */
void fake_executor_will_find(
	struct fake_executor *fake, const char *run_id, enum executor_found found);

void fake_executor_started(struct fake_executor *fake, const char *run_id, int64_t start_us);
/* exit NULL: lost. */
void fake_executor_ended(struct fake_executor *fake, const char *run_id,
	const struct run_exit *exit, int64_t seen_us);
void fake_executor_not_started(struct fake_executor *fake, const char *run_id, int error);
/* All runs, from now on, by timer; they end like this. */
void fake_executor_go(struct fake_executor *fake, const struct run_exit *exit);

/* How often it was started by start(), and asked to stop. */
int fake_executor_starts(const struct fake_executor *fake, const char *run_id);
int fake_executor_stops(const struct fake_executor *fake, const char *run_id);
/* Does it hold the run now? */
bool fake_executor_holds(const struct fake_executor *fake, const char *run_id);
/* The most runs that it held at one time. */
int fake_executor_most(const struct fake_executor *fake);
/* The id of the n-th run that was started, from 0; NULL when there were not so many. */
const char *fake_executor_nth(const struct fake_executor *fake, int n);
