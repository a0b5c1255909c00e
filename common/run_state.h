/* SPDX-License-Identifier: MIT */
/*
 * run_state - the states of a run, what may follow what, and why runs end
 *
 * One table (run_state.c) holds the names users see and the edges; a test walks it. State and
 * result are two things: a run that is over has a cause, and the cause alone says which of the
 * three terminal states it is in and what error.code shows. Pure.
 */
#pragma once

#include <stdbool.h>

enum run_state {
	RUN_NOT_STARTED, /* accepted, its snapshot not yet taken; never in history */
	RUN_QUEUED,
	RUN_PREPARING,
	RUN_STARTING,
	RUN_RUNNING,
	RUN_FINALIZING,
	RUN_CANCEL_REQUESTED, /* asked to stop, its processes not yet gone */
	RUN_COMPLETED,
	RUN_FAILED,
	RUN_CANCELED,
	RUN_STATE_COUNT,
};

/* Why a run is over. */
enum run_cause {
	RUN_CAUSE_NONE, /* it is not over, or nothing went wrong */
	RUN_CAUSE_OUTPUT_ERROR,
	RUN_CAUSE_USER_ERROR,
	RUN_CAUSE_KILLED,
	RUN_CAUSE_OUT_OF_MEMORY,
	RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED,
	RUN_CAUSE_CANCELED_BY_USER,
	RUN_CAUSE_SETUP_ERROR,
	RUN_CAUSE_LOST,
	RUN_CAUSE_COUNT,
};

/* "Queued"; never NULL. */
const char *run_state_name(enum run_state state);
/* -EINVAL; case matters. */
int run_state_parse(const char *name, enum run_state *ret);
bool run_state_is_terminal(enum run_state state);
/* May a run go from one to the other? A state does not follow itself. */
bool run_state_may_follow(enum run_state from, enum run_state to);

/* "MaxRunDurationExceeded"; NULL for RUN_CAUSE_NONE. */
const char *run_cause_name(enum run_cause cause);
int run_cause_parse(const char *name, enum run_cause *ret);
/* The terminal state that this cause leads to. */
enum run_state run_cause_state(enum run_cause cause);
