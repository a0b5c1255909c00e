/* SPDX-License-Identifier: MIT */
/*
 * waiting - what a run in the queue waits for, in words, for those who wait for it
 *
 * The reason is the daemon's own sentence (`waiting_for` of the record) and the place in the queue
 * its number (`queue_position`); either may be missing.
 */
#pragma once

#include <stdbool.h>

#include "common/json.h"

/* "3rd in the queue: 1 GPU (none of 2 is free)"; NULL when it does not wait. malloc'ed. */
char *waiting_text(const struct json *record);
/* For a column of that name: "3rd: 1 GPU (none of 2 is free)"; NULL when it does not wait. */
char *waiting_column(const struct json *record);
/* "1st", "2nd", "11th"; malloc'ed. */
char *ordinal(int64_t number);

/* Telling somebody who waits: on a terminal a line that changes with what it says, else one line
 * once there is a reason to tell. A zeroed one to begin with. */
struct waiting {
	bool asked;
	bool queued; /* at the last look */
	bool said;
};

void waiting_tell(struct waiting *waiting, const struct json *record);
/* Is there more to tell? Otherwise asking again is idle. */
bool waiting_is_told(const struct waiting *waiting);
/* For how many seconds the next request should wait for the run's end, when it has nothing else to
 * tell for up to `most`. */
int waiting_pause(const struct waiting *waiting, int most);
