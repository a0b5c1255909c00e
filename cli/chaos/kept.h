/* SPDX-License-Identifier: MIT */
/*
 * kept - what must stay as it is: runs that have ended, runs that were deleted, an idle
 * daemon
 *
 * Faults go into the tally; the results are errors of asking only.
 */
#pragma once

#include "cli/chaos/soak.h"

/* Are the ended runs as they were, and the deleted ones gone? One of each, by turns; all: all. */
int check_kept(struct soak *soak, bool all, struct error *err);
/* All runs have ended: does the list hold those that we know and no others, and is no slot held? */
int check_idle(struct soak *soak, struct error *err);
/* All is over: was anything started more often than it may? */
void check_starts(struct soak *soak, int64_t first_number);
