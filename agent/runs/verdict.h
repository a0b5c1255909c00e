/* SPDX-License-Identifier: MIT */
/*
 * verdict - why a run ended, in one sentence with its evidence
 *
 * Pure: from the supervisor's exit record (or its absence) to cause, exit code, signal and message.
 * When evidence is missing the message says so; an exit status is never invented.
 */
#pragma once

#include "common/run_dir.h"
#include "common/run_state.h"

struct verdict {
	enum run_cause cause;
	int exit_code; /* -1: none */
	int signal;    /* 0: none */
	char *message; /* malloc'ed; NULL when all is well */
};

struct verdict_facts {
	const struct run_exit *exit; /* NULL: lost */
	int64_t seen_us;       /* of a lost one: when it was last known to live, UTC; 0: unknown */
	bool rebooted;         /* of a lost one: the machine was restarted since */
	int64_t limit_seconds; /* 0: none */
	const char *canceled_by; /* user name; NULL: unknown */
	const char *program;     /* what was executed */
	const char *log_tail;    /* the last lines of the log; NULL or "": none */
};

void verdict_of(const struct verdict_facts *facts, struct verdict *ret);

/* The last whole lines of a log's end, at most 10 lines and 1,500 bytes, as valid UTF-8 (a progress
 * bar's carriage returns folded). malloc'ed. */
char *verdict_log_tail(const char *data, size_t size);
