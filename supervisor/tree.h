/* SPDX-License-Identifier: MIT */
/*
 * tree - all processes of the run: find them, signal them
 *
 * We are their subreaper, so whatever they do (setsid, double fork, a parent that ends) the chain
 * of parents leads to us. One pass over /proc finds them (no /proc/PID/task/TID/children: it is
 * optional in the kernel and not exact either); no heap, the table is static and its pages are
 * untouched until the first pass.
 *
 * Signals go to process groups: the kernel delivers one to a whole group at a single instant, so
 * that a group that forks faster than we can look does not escape. A group belongs to the run as a
 * whole as soon as one living member is a descendant, since the command began a session of its own
 * and a group lies within one session. Membership is proved again (start times along the chain of
 * parents) just before the signal; the number of a group is not given away while it has members, nor
 * soon after.
 *
 *	tree_begin();
 *	do
 *		... wait for the children that have ended: a zombie takes a pid ...
 *	while (tree_signal(signals, count) > 0);
 *
 * Errors: 0 or more, or a negative errno when /proc cannot be read.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* More processes on a machine than this are not seen in one pass; the next one finds what is left.
 */
#define TREE_MAX 65536

/* Before the command is started: what the passes need. */
int tree_open(void);

/* Of a child that was not waited for: when it began, as process.h has it; 0: it cannot be told. */
int64_t tree_child_start(pid_t child);

/* How many processes of the tree live (zombies do not). */
int tree_count(void);

/* Is it a descendant of ours, now? Also true of one that has ended. Without a look. */
bool tree_holds(pid_t pid);

/* Nobody has had the signals yet. */
void tree_begin(void);

/* Send the signals to the group of a child of ours that was not waited for, without a look. */
void tree_signal_child(pid_t child, const int *signals, size_t count);

/*
 * Send them to those of our own children that were made last. A process that does nothing but fork
 * its successor and end leaves a trail of zombies; with some dozens of them a whole look takes
 * longer than they stay where it will find them, but the living are always the newest. Returns the
 * number of groups.
 */
int tree_signal_newest(const int *signals, size_t count);

/* Look, and send the signals, one after the other, to every group of the tree that has not had
 * them. The look is broken off at until_us (of clock_boot()): processes that are not being stopped
 * by it can make it as long as they like. Returns the number of groups. */
int tree_signal(const int *signals, size_t count, int64_t until_us);
