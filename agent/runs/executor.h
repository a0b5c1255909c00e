/* SPDX-License-Identifier: MIT */
/*
 * executor - how a run is started: an interface, so that queue, limits and recovery can be tested
 * without processes (tests/fake_executor.h is the other one)
 *
 * The calls return at once. What happens is told through the events, from the loop, never from
 * within a call: `started` at most once, then `ended` exactly once; or `not_started`, alone. After
 * one of these two the executor has forgotten the run.
 *
 * Threads: the loop's alone.
 */
#pragma once

#include <stdint.h>

#include "common/run_dir.h"

struct executor_events {
	/* The command runs; since when (UTC). */
	void (*started)(void *run, int64_t start_us);
	/* It is over and nothing of it is left. NULL: the supervisor is gone without a verdict;
	 * `seen_us` is when it was last known to live. */
	void (*ended)(void *run, const struct run_exit *exit, int64_t seen_us);
	/* Its supervisor has ended before it started anything: nothing of it ever ran. A negative
	 * errno (-EIO when it is not known) and what the supervisor said. */
	void (*not_started)(void *run, int error, const char *reason);
};

enum executor_found {
	EXECUTOR_LIVES, /* or may live: when in doubt */
	EXECUTOR_ENDED, /* it is over, and its record tells how */
	EXECUTOR_LOST,  /* it had been started and nobody knows how it ended */
	EXECUTOR_NEVER_STARTED,
	EXECUTOR_FOUND_COUNT,
};

struct executor;

struct executor_ops {
	/* run_dir holds `launch`. 0, or a negative errno: then no event comes. */
	int (*start)(struct executor *executor, const char *run_dir, void *run);
	/* What does a run directory say that an earlier daemon left? Changes nothing. 0, or a
	 * negative errno: it cannot be told just now; -EPROTONOSUPPORT: a newer version wrote it. */
	int (*look)(struct executor *executor, const char *run_dir, enum executor_found *ret);
	/* Take over one that was found in any way but EXECUTOR_NEVER_STARTED: its events will come.
	 * 0, or a negative errno: then no event comes. */
	int (*reattach)(struct executor *executor, const char *run_dir, void *run);
	/* The same for one whose directory tells nothing any more: what is left of it is ended,
	 * then `ended(NULL)` comes. */
	void (*lose)(struct executor *executor, const char *run_dir, void *run);
	/* Ask it to stop; a second time is fine. */
	int (*stop)(struct executor *executor, void *run, const struct run_stop *stop);
	/* Forget all runs, which go on. */
	void (*free)(struct executor *executor, void (*freed)(void *data), void *data);
};

struct executor {
	const struct executor_ops *ops;
	const struct executor_events *events;
};
