/* SPDX-License-Identifier: MIT */
/*
 * state_lock - one daemon per state folder: <state>/lock
 *
 * The lock is flock()'s, which the kernel gives back with its holder's last descriptor. Beside it the
 * holder has a record lock (fcntl) on the file, that says who he is and whether he is ending: whoever
 * comes meanwhile waits for that, as long as it may take (ending.h), and says so. One that serves is
 * waited for no longer than a moment: it may have been killed just now.
 *
 * Threads: any; state_lock_take() blocks.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"

/* The descriptor that holds it; to be closed. -EBUSY: another daemon has it. */
int state_lock_take(const char *state_dir, struct error *err);
/* By another process. Taken for a moment when nobody has it: a daemon that starts just then tries again. */
bool state_lock_is_held(const char *state_dir);
/* The holder ends: from now on it is waited for. */
void state_lock_ending(int fd);
