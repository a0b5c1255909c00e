/* SPDX-License-Identifier: MIT */
/*
 * tally - what was tried, what became of it, and every fault with its evidence
 *
 * Counts only; who prints them is report.h. Owns its lists. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/chaos/job.h"

/* More say nothing new: the soak ends early. */
#define CHAOS_FAULTS_MAX 100

enum chaos_kill {
	CHAOS_KILL_DAEMON,
	CHAOS_KILL_SUBMIT, /* the daemon, submits being in flight */
	CHAOS_KILL_START,  /* the daemon, before it was ready */
	CHAOS_KILL_TERM,   /* SIGTERM: a restart */
	CHAOS_KILL_SUPERVISOR,
	CHAOS_KILL_BOTH,
	CHAOS_KILL_COUNT,
};

enum chaos_fault {
	CHAOS_LOST,     /* acknowledged and gone, or called lost without a reason */
	CHAOS_WRONG,    /* another verdict than the true one, or one that changed */
	CHAOS_TWICE,    /* started twice, or started though it must not */
	CHAOS_LEFTOVER, /* a process after the end */
	CHAOS_LOG,      /* bytes of a log that are missing, repeated or others */
	CHAOS_OUTPUT,   /* the same of an output */
	CHAOS_SLOT,     /* held by nobody */
	CHAOS_STUCK,    /* no progress */
	CHAOS_DAEMON,   /* it ended by itself, or did not start */
	CHAOS_STATE,    /* amlagentd --check-state is not content */
	CHAOS_FAULT_COUNT,
};

/* What runs ended with. */
enum chaos_verdict {
	CHAOS_COMPLETED,
	CHAOS_FAILED,
	CHAOS_CANCELED,
	CHAOS_SUPERVISOR_KILLED, /* Failed, Lost: as it must be */
	CHAOS_BAD,               /* something was wrong with it */
	CHAOS_VERDICT_COUNT,
};

struct chaos_fault_entry {
	enum chaos_fault fault;
	char *run_id; /* NULL: of no run */
	char *evidence;
};

struct chaos_samples {
	int64_t *values;
	size_t count;
	size_t room;
};

struct chaos_tally {
	uint64_t seed;
	int64_t rounds; /* done */
	int64_t started_us;
	int64_t kills[CHAOS_KILL_COUNT];
	int64_t acknowledged;
	int64_t unanswered;      /* submits whose answer the kill cut off */
	int64_t unanswered_kept; /* of these, runs that are there after all */
	int64_t refused;
	int64_t deleted;
	int64_t followed; /* logs that were streamed through kills and compared */
	int64_t looks;    /* at all processes */
	int64_t verdicts[CHAOS_JOB_KINDS][CHAOS_VERDICT_COUNT];
	int64_t faults[CHAOS_FAULT_COUNT];
	struct chaos_fault_entry *entries;
	size_t entry_count;
	size_t entry_room;
	struct chaos_samples recoveries; /* microseconds from the start of the program to READY */
	struct chaos_samples in_flight;  /* runs that waited or ran, at each kill */
	int64_t state_checks; /* by amlagentd --check-state; 0: this amlagentd has none */
};

void chaos_tally_release(struct chaos_tally *tally);
/* run_id NULL: none. */
void chaos_tally_fault(struct chaos_tally *tally, enum chaos_fault fault, const char *run_id,
	const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool chaos_tally_is_clean(const struct chaos_tally *tally);
bool chaos_tally_is_full(const struct chaos_tally *tally);
void chaos_samples_add(struct chaos_samples *samples, int64_t value);
/* 0 when there was none. */
int64_t chaos_samples_median(const struct chaos_samples *samples);
int64_t chaos_samples_max(const struct chaos_samples *samples);
int64_t chaos_tally_kills(const struct chaos_tally *tally);
/* "daemon", "in mid-submit", ...; and as keys of JSON. */
const char *chaos_kill_name(enum chaos_kill kill);
const char *chaos_kill_key(enum chaos_kill kill);
const char *chaos_fault_name(enum chaos_fault fault);
const char *chaos_fault_key(enum chaos_fault fault);
const char *chaos_verdict_name(enum chaos_verdict verdict);
const char *chaos_verdict_key(enum chaos_verdict verdict);
