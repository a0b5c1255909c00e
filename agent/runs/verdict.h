/* SPDX-License-Identifier: MIT */
/*
 * verdict - why a run ended, in one sentence with its evidence
 *
 * Pure: from the supervisor's exit record (or its absence) and the end of the log to cause, exit
 * code, signal and message. The message's first line is one sentence of about VERDICT_SENTENCE_MAX
 * bytes; the lines after it, if any, are the end of the log. When evidence is missing the message
 * says so or is silent; an exit status, a sender, a reason is never invented.
 *
 * Warnings tell what is worth knowing of any end, a good one too: processes that had to be stopped
 * after the command, out-of-memory kills, a full disk, limits that nobody enforced.
 *
 * Who frees: verdict_release().
 */
#pragma once

#include "common/run_dir.h"
#include "common/run_state.h"
#include "runs/log_tail.h"

#define VERDICT_SENTENCE_MAX 200

struct verdict {
	enum run_cause cause;
	int exit_code;   /* -1: none */
	int signal;      /* 0: none */
	char *message;   /* NULL when all is well */
	char **warnings; /* strv */
};

struct verdict_facts {
	const struct run_exit *exit; /* NULL: lost */
	int64_t seen_us;  /* of a lost one: when it was last known to live, UTC; 0: unknown */
	bool rebooted;    /* of a lost one: the machine was restarted since */
	bool folder_gone; /* of a lost one: so what it told is gone */
	const char *
		damaged; /* of a lost one: what can be read of its exit record; NULL: it left none */
	bool swept;      /* of a lost one: its processes were looked for, and none is left */
	int64_t limit_seconds;           /* 0: none */
	int64_t grace_us;                /* between SIGTERM and SIGKILL; 0: unknown */
	int64_t memory_bytes;            /* that it asked for; 0: none, or unknown */
	const char *canceled_by;         /* user name; NULL: unknown */
	const char *program;             /* what was executed */
	bool shell;                      /* ... a shell, with a command line */
	const struct log_tail *log_tail; /* NULL: it could not be read */
};

void verdict_of(const struct verdict_facts *facts, struct verdict *ret);
void verdict_release(struct verdict *verdict);
