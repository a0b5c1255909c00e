/* SPDX-License-Identifier: MIT */
/*
 * queue_words - why a run waits in line, as one plain sentence
 *
 *	waits for 1 GPU: 2 of 2 are held (ana 1, bob 1)
 *	2 runs before it wait for CPUs
 *	ana has 4 runs going, the limit per user is 4 (max_running_runs_per_user)
 *
 * Its place in the queue is not in it: that is a number of its own (queue_position). Of others it
 * tells names and numbers, which everybody may know, and nothing of their runs.
 *
 * Pure: what it needs beside the scheduler's figures it asks for through struct queue_names. Who
 * frees: the caller.
 */
#pragma once

#include "runs/scheduler.h"

struct queue_names {
	/* NULL: not known; the number is said then. */
	const char *(*user)(void *data, uid_t uid);
	/* Why this GPU is set aside. malloc'ed. */
	char *(*aside)(void *data, size_t gpu);
	void *data;
};

/* run->wait is of a scheduler_explain() just now, and it is not parked. malloc'ed. */
char *queue_words(const struct scheduler *scheduler, const struct scheduler_run *run,
	const struct queue_names *names);
