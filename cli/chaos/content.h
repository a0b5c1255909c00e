/* SPDX-License-Identifier: MIT */
/*
 * content - the bytes of one run that has ended: its log, its output, what a follower saw
 *
 * Held against what the job must have printed and written; a job that was ended from outside before
 * it had said all may have less, never anything else. Faults go into the tally; the result is an
 * error of asking only.
 */
#pragma once

#include "cli/chaos/soak.h"

/* report NULL: nobody followed. */
int check_content(struct soak *soak, struct chaos_job *job, const struct follower_report *report,
	struct error *err);
