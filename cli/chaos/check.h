/* SPDX-License-Identifier: MIT */
/*
 * check - what became of the runs, held against what must have become of them
 *
 * Faults go into the tally; the results are errors of asking only: -ECONNRESET when the daemon
 * broke off, -EINTR, ...
 */
#pragma once

#include "cli/chaos/soak.h"

/* Ask for all live runs; check those that have ended: verdict, log, outputs, starts, and that
 * nothing of them is left. */
int check_live(struct soak *soak, struct error *err);
/* The HTTP status; *ret stays NULL when there is no such run. */
int check_get_record(struct soak *soak, const char *run_id, struct json **ret, struct error *err);
/* It was acknowledged and is not there any more: a fault. Forgets the job. */
void check_lose(struct soak *soak, struct chaos_job *job, int status);
