/* SPDX-License-Identifier: MIT */
/*
 * autostart - start the per-user daemon when none answers
 *
 * Under a lock beside the socket (<socket>.start), so that ten amlctl at once start one daemon: who
 * gets the lock second finds a daemon that answers. The daemon is detached (its own session, no
 * descriptors of ours, "/" as its folder), writes to <state>/amlagentd.log, says when it is ready
 * through a pipe (--ready-fd), and ends by itself when it has had nothing to do for a while.
 *
 * The daemon before it may still be ending (ten seconds at most) and have the state folder: what the
 * new one says of that is said on stderr after a second.
 */
#pragma once

#include "common/error.h"

#define AUTOSTART_READY_SECONDS 25 /* more than that, and its own start */
#define AUTOSTART_IDLE_SECONDS "900"

/*
 * A descriptor connected to the daemon at socket, or a negative errno with err holding the daemon's
 * own last words where there are some. state_dir and config may be NULL: the user's.
 */
int autostart(const char *socket, const char *state_dir, const char *config, struct error *err);
