/* SPDX-License-Identifier: MIT */
/*
 * run_limits - the resource limits (ulimit) of whoever submits a run, for the run
 *
 * run_limits_of_process() takes them from /proc at the submit, which needs no privilege and, while
 * the process lives, cannot be about another one. They are kept as text, in the run's folder
 * (RUN_LIMITS_FILE) and in `launch`; the child of the supervisor applies them before it becomes the
 * user and the command, hard ones too. A zeroed struct says nothing: the limits stay as they are.
 *
 * Text form: "nofile=1024:524288 core=0:unlimited ..." (soft:hard, as setrlimit(2) counts them, each
 * name once). Unknown names are skipped: another build may know more.
 *
 * Errors: negative errno. Threads: any. run_limits_apply() is part of the supervisor's child: no heap.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "common/strbuf.h"

/* In the run's folder, text form; absent: nothing is known of them. */
#define RUN_LIMITS_FILE "limits"
/* Longer texts are none of ours. */
#define RUN_LIMITS_TEXT_MAX 4096
#define RUN_LIMITS_COUNT 16

struct run_limits {
	uint32_t known; /* bit i: items[i] counts */
	struct rlimit items[RUN_LIMITS_COUNT];
};

/* -ESRCH: there is no such process (any more); -EPERM: it is another user's (by its effective
 * uid). */
int run_limits_of_process(pid_t pid, uid_t uid, struct run_limits *ret);

/* What /proc/PID/limits says; pure. -EBADMSG when there is none of our lines in it. */
int run_limits_parse_proc(const char *text, struct run_limits *ret);

/* Nothing is added where nothing is known. */
void run_limits_format(const struct run_limits *limits, struct strbuf *ret);
/* -EBADMSG; pure: fuzzed. */
int run_limits_parse(const char *text, struct run_limits *ret);

/* To ourselves. A hard limit that we may not raise stays what it is, and the soft one below it. */
void run_limits_apply(const struct run_limits *limits);
