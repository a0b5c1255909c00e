/* SPDX-License-Identifier: MIT */
/*
 * left_over - processes of runs that have ended
 *
 * A run whose end has been told has none: looked for at once, no moment is given. Faults go into
 * the tally; the results are errors of looking only.
 */
#pragma once

#include "cli/chaos/soak.h"

/* everybody: of all runs, the daemon and the supervisors too; and the kernel says that there is
 * none. */
int check_left_over(struct soak *soak, bool everybody, struct error *err);
