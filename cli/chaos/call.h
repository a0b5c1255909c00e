/* SPDX-License-Identifier: MIT */
/*
 * call - one request that changes something, under way, and what its answer means for a job
 *
 * Sent without waiting for the answer. When sending fails the caller calls call_cut_off(): the
 * daemon has died.
 */
#pragma once

#include "cli/chaos/soak.h"

/* The next job. Nothing is sent when as many are known as can be. */
int call_submit(struct soak *soak, struct chaos_call *call, struct error *err);
int call_cancel(struct chaos_call *call, struct chaos_job *job, struct error *err);
int call_delete(struct chaos_call *call, struct chaos_job *job, struct error *err);
/* Its answer is there, or the connection has broken (that is no error): take what it says. */
int call_receive(struct soak *soak, struct chaos_call *call, struct error *err);
/* There is no answer and will be none. */
void call_cut_off(struct soak *soak, struct chaos_call *call);

/* The daemon has this run: it counts from now on. */
int call_accepted(
	struct soak *soak, struct chaos_job *job, const struct json *record, struct error *err);
/* The daemon has deleted it, and it must stay so. Forgets the job. */
void call_deleted(struct soak *soak, struct chaos_job *job);
