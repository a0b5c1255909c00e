/* SPDX-License-Identifier: MIT */
/*
 * job - the runs that a chaos run submits: what each does, and what must become of it
 *
 * Every job has a number; all of it follows from the number and the seed: its kind, exit code or
 * signal, the lines it prints, the output it writes. The command is one shell script (job.sh in the
 * source folder) that tells a witness, a file which only the jobs write to, two things: "s NUMBER"
 * when it starts, "p NUMBER" once all is printed and written. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/json.h"
#include "common/strbuf.h"

/* In the environment of all processes of a chaos run: its folder, "#" and the job's number. */
#define CHAOS_VARIABLE "AMLAGENT_CHAOS"
#define CHAOS_OUTPUT_PATH "outputs/result.txt"
#define CHAOS_JOB_SCRIPT "job.sh"

extern const char chaos_job_script[];

enum chaos_job_kind {
	CHAOS_JOB_EXIT_0,
	CHAOS_JOB_EXIT_N,
	CHAOS_JOB_SIGNAL,
	CHAOS_JOB_LIMIT,          /* its time limit ends it, its processes ignore SIGTERM */
	CHAOS_JOB_CANCEL,         /* canceled while it runs */
	CHAOS_JOB_CANCEL_AT_ONCE, /* mostly while it waits in the queue */
	CHAOS_JOB_LEFTOVERS,      /* leaves processes of other sessions behind */
	CHAOS_JOB_LOUD,
	CHAOS_JOB_LONG, /* lives through several kills */
	CHAOS_JOB_KINDS,
};

struct chaos_job_plan {
	enum chaos_job_kind kind;
	int64_t number;
	int64_t lines;
	int64_t value; /* exit code, signal, later lines, or a variant: by kind */
};

void chaos_job_draw(uint64_t seed, int64_t number, struct chaos_job_plan *ret);
/* "exit 0": for the table. */
const char *chaos_job_kind_name(enum chaos_job_kind kind);
/* The body of POST /v1/runs. */
struct json *chaos_job_request(const struct chaos_job_plan *plan, const char *folder,
	const char *source, const char *witness);
/* "chaos 17": how a run without an answer is found again. */
char *chaos_job_name(int64_t number);
/* The number of a run by its display name; -1: none of ours. */
int64_t chaos_job_number(const char *name);

/* All that it prints, and all that it writes, when nothing ends it before. */
void chaos_job_log(const struct chaos_job_plan *plan, struct strbuf *ret);
void chaos_job_output(const struct chaos_job_plan *plan, struct strbuf *ret);

/* How it must end. */
struct chaos_job_end {
	const char *status;
	const char *code; /* error.code; NULL: no error */
	int exit_code;    /* -1: null */
	int signal;       /* 0: null */
	bool may_differ; /* it is ended from outside, perhaps before it began: by signal 15 or 9, or
			    none */
};

void chaos_job_expect(
	const struct chaos_job_plan *plan, bool supervisor_killed, struct chaos_job_end *ret);
