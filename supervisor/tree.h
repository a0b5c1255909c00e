/* SPDX-License-Identifier: MIT */
/*
 * tree - all processes of the run: find them, signal them
 *
 * We are their subreaper, so whatever they do (setsid, double fork, a parent that ends) the chain of
 * parents leads to us. One pass over /proc finds them (no /proc/PID/task/TID/children: it is optional
 * in the kernel and not exact either); no heap, the table is static and its pages are untouched until
 * the first pass.
 *
 * Signals go to process groups: the kernel delivers one to a whole group at a single instant, so that
 * a group that forks faster than we can look does not escape. A group belongs to the run as a whole as
 * soon as one living member is a descendant, since the command began a session of its own and a group
 * lies within one session. Membership is proved again (start times along the chain of parents) with
 * the process held by a pidfd, just before the signal.
 *
 * Errors: 0 or more, or a negative errno when /proc cannot be read.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* More processes on a machine than this are not seen in one pass; the next one finds what is left. */
#define TREE_MAX 65536

/* Before the command is started: what the passes need. */
int tree_open(void);

/* How many processes of the tree live (zombies do not). */
int tree_count(void);

/*
 * Send the signals, one after the other, to every group of the tree; look again until there is no new
 * one (or too often). `leader`: a child of ours that was not waited for, 0 for none: its group is
 * served first, without a look. Returns the number of groups reached.
 */
int tree_signal(pid_t leader, const int *signals, size_t count);
