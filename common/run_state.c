/* SPDX-License-Identifier: MIT */
/* run_state - the states of a run and why runs end; see run_state.h */
#include "common/run_state.h"

#include <errno.h>
#include <string.h>

#define TO(state) (1u << RUN_##state)
#define ENDS (TO(COMPLETED) | TO(FAILED) | TO(CANCELED))

/* clang-format off */
static const struct {
	const char *name;
	unsigned next;
} states[RUN_STATE_COUNT] = {
	[RUN_NOT_STARTED]      = { "NotStarted",      TO(QUEUED) | TO(FAILED) | TO(CANCELED) },
	[RUN_QUEUED]           = { "Queued",          TO(PREPARING) | TO(FAILED) | TO(CANCELED) },
	/* Back to Queued: a daemon that died while preparing starts afresh, nothing had run. */
	[RUN_PREPARING]        = { "Preparing",       TO(QUEUED) | TO(STARTING) | TO(FAILED) | TO(CANCELED) },
	[RUN_STARTING]         = { "Starting",        TO(QUEUED) | TO(RUNNING) | TO(CANCEL_REQUESTED) |
						      TO(FINALIZING) | TO(FAILED) | TO(CANCELED) },
	[RUN_RUNNING]          = { "Running",         TO(CANCEL_REQUESTED) | TO(FINALIZING) | TO(FAILED) },
	/* A cancel may come too late: the run ended as it ended. */
	[RUN_CANCEL_REQUESTED] = { "CancelRequested", TO(FINALIZING) | TO(FAILED) | TO(CANCELED) },
	[RUN_FINALIZING]       = { "Finalizing",      ENDS },
	[RUN_COMPLETED]        = { "Completed",       0 },
	[RUN_FAILED]           = { "Failed",          0 },
	[RUN_CANCELED]         = { "Canceled",        0 },
};

static const struct {
	const char *name;
	enum run_state state;
} causes[RUN_CAUSE_COUNT] = {
	[RUN_CAUSE_NONE]                      = { NULL,                     RUN_COMPLETED },
	[RUN_CAUSE_OUTPUT_ERROR]              = { "OutputError",            RUN_FAILED },
	[RUN_CAUSE_USER_ERROR]                = { "UserError",              RUN_FAILED },
	[RUN_CAUSE_KILLED]                    = { "Killed",                 RUN_FAILED },
	[RUN_CAUSE_OUT_OF_MEMORY]             = { "OutOfMemory",            RUN_FAILED },
	[RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED] = { "MaxRunDurationExceeded", RUN_CANCELED },
	[RUN_CAUSE_CANCELED_BY_USER]          = { "CanceledByUser",         RUN_CANCELED },
	[RUN_CAUSE_SETUP_ERROR]               = { "SetupError",             RUN_FAILED },
	[RUN_CAUSE_LOST]                      = { "Lost",                   RUN_FAILED },
};
/* clang-format on */

const char *run_state_name(enum run_state state)
{
	return states[state].name;
}

int run_state_parse(const char *name, enum run_state *ret)
{
	for (unsigned i = 0; i < RUN_STATE_COUNT; i++)
		if (!strcmp(states[i].name, name)) {
			*ret = (enum run_state)i;
			return 0;
		}
	return -EINVAL;
}

bool run_state_is_terminal(enum run_state state)
{
	return states[state].next == 0;
}

bool run_state_may_follow(enum run_state from, enum run_state to)
{
	return states[from].next & 1u << to;
}

const char *run_cause_name(enum run_cause cause)
{
	return causes[cause].name;
}

int run_cause_parse(const char *name, enum run_cause *ret)
{
	for (unsigned i = 0; i < RUN_CAUSE_COUNT; i++)
		if (causes[i].name && !strcmp(causes[i].name, name)) {
			*ret = (enum run_cause)i;
			return 0;
		}
	return -EINVAL;
}

enum run_state run_cause_state(enum run_cause cause)
{
	return causes[cause].state;
}
