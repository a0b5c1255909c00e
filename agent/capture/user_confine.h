/* SPDX-License-Identifier: MIT */
/*
 * user_confine - become a user in a process whose end is the end of all that it has started
 *
 * amlagent-user-helper lets a user's own programs run (an interpreter, a shim, activation scripts)
 * beside the daemon, not in a run: none of them is to outlive the question. A process group is no
 * bound, and the user may kill whatever has his uid; so, still as root, the helper makes a pid
 * namespace whose first process becomes the user, and waits for it. Whoever kills the waiting one
 * (child_process.h does, after its time) ends the first, with which the kernel ends all the others.
 * The first has executed nothing since it was root, so that the user cannot trace it.
 *
 * Where no namespace can be made there is just the user: the process group is the bound then.
 *
 * Threads: one, the caller's. No descriptors.
 */
#pragma once

#include <sys/types.h>

#include "common/identity.h"

/* 0: we are the user, and in the new process if there is one; the old one ends with its exit status
 * (128 plus the signal, if one ended it) and does not return. A negative errno: we are nobody in
 * particular and must end. */
int user_confine(const struct identity *as);

/* Be killed when the thread that started us ends, and so the daemon. A change of the user takes it
 * back: ask for it after. */
int user_die_with_parent(void);

/* For the first process: wait for that child of ours, and for whatever else is handed to us. The exit
 * status, as above. */
int user_confine_wait(pid_t child);
