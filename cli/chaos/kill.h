/* SPDX-License-Identifier: MIT */
/*
 * kill - the kinds of kills, and the start of the daemon after them
 *
 * A supervisor is stopped first, looked at, and killed then: so that it is known whether it had
 * written how its run ended (the true verdict must be told) or not (it must be Lost).
 */
#pragma once

#include "cli/chaos/soak.h"

/* One kill, of a kind that was drawn for this round, and all that is due after it: the daemon is
 * there again, and no request is under way. */
int kill_something(struct soak *soak, struct error *err);
/* Start the daemon, trying again when it does not start (a fault, each time). -ECHILD: it does not
 * start at all. */
int kill_start_again(struct soak *soak, struct error *err);
/* SIGTERM, and it must end well. */
int kill_end_well(struct soak *soak, struct error *err);
