/* SPDX-License-Identifier: MIT */
/*
 * load - the requests that change something: submits, cancels, deletes, in flight at a time
 *
 * Sent without waiting for answers, so that a kill finds them under way. A submit counts from its
 * 201. What is cut off is settled after the restart, by looking: a submit by its name in the list,
 * a delete by asking for the run, a cancel by sending it again.
 */
#pragma once

#include "cli/chaos/soak.h"

void load_init(struct soak *soak);
void load_release(struct soak *soak);
/* Send and receive until then (clock_boot()). Stops early when the daemon ends. */
int load_until(struct soak *soak, int64_t end_us, struct error *err);
/* Send up to so many submits, without waiting for any answer. */
int load_burst(struct soak *soak, int64_t count, struct error *err);
/* The daemon is dead: take the answers that it had sent, and note what was cut off. */
int load_settle(struct soak *soak, struct error *err);
/* Take all answers that are due of a daemon that lives. */
int load_drain(struct soak *soak, struct error *err);
/* A new daemon is there: what became of what was cut off? */
int load_resolve(struct soak *soak, struct error *err);
