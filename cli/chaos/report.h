/* SPDX-License-Identifier: MIT */
/*
 * report - what a chaos run says: a line while it runs, a table or one JSON object at the end
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/chaos/tally.h"

/* On a terminal's stderr; at most some times a second. */
void chaos_report_progress(const struct chaos_tally *tally, int64_t rounds);
/* On stdout. kept: the folder that was not removed, NULL when it was. early: by a signal. */
void chaos_report(const struct chaos_tally *tally, const char *kept, bool early, bool json);
