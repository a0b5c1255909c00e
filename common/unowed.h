/* SPDX-License-Identifier: MIT */
/*
 * unowed - a run folder that says itself that it is owed to nobody
 *
 * A folder below runs/ of which history knows nothing is a submission that was never accepted, or
 * what is left of a deleted run; or history is not the one that it belongs to: it was lost, or an
 * older copy was put in its place, and then the folder is all that is left of a run. So the first
 * two say what they are: a submission marks its folder until it is accepted, a delete does before
 * the record goes. Without the mark nothing is removed.
 *
 * The mark counts only when history does not know the run: a crash may leave it behind.
 *
 * Threads: any; calls block. Errors: negative errno.
 */
#pragma once

#include <stdbool.h>

#define UNOWED_MARK "unowed"

/* Durably. A folder that is not there, or goes while we are at it, needs none: 0. */
int unowed_mark(const char *run_dir);
int unowed_unmark(const char *run_dir);
/* The mark may hold what the run needs once it is owed: it takes that name, so that at every moment, also
 * of a loss of power, there is either the mark or the file. One that holds nothing, or where the file is
 * there already, only goes. */
int unowed_become(const char *run_dir, const char *name);

/* Of the folder `name` below runs_fd: 1 when it is marked, or nothing is in it (a submission that
 * had just made it); else 0. -ENOENT, -ENOTDIR (a link too): there is no such folder.
 * While a daemon goes on, 0 says: at some moment history knew the run, or it is nobody's. Who does not
 * find it in history after that looks once more: a delete has marked it by then. */
int unowed_look(int runs_fd, const char *name);

/* As tree_remove(), of a run's folder: the mark goes when all else has gone, and durably so. Somebody
 * else may mark or remove it meanwhile. */
int unowed_remove(const char *run_dir);
