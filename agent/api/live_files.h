/* SPDX-License-Identifier: MIT */
/*
 * live_files - what is in the folders of a run now, looked at with its owner's rights
 *
 * All below work/ is the owner's, and may hang: the look is on a work thread, and of another user's
 * run in a process that is he (capture/user_files.h). Of each such user there is one at a time, the
 * others wait in order: his files cost nobody else a thread. The run's own log is ours and needs
 * none of this.
 *
 * Threads: the loop's. `done` is called once, from the loop; the call has not been answered.
 */
#pragma once

#include "api/api_internal.h"
#include "common/artifact.h"

/* Is this file of the call's run opened by us, and does that not block? */
bool live_files_are_ours(struct call *call, const char *path);

/* result: 0, or a negative errno. list: valid for the call, may be taken (and zeroed); fd is done's to close. */
typedef void (*live_files_listed)(struct call *call, int result, struct artifacts *list);
typedef void (*live_files_opened)(struct call *call, int result, int fd);

void live_files_list(struct call *call, live_files_listed done);
/* path: as in collect_open_live(). */
void live_files_open(struct call *call, const char *path, live_files_opened done);
