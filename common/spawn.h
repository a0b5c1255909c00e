/* SPDX-License-Identifier: MIT */
/*
 * spawn - what every program we start has in common: no signal blocked, none ignored
 *
 * A daemon ignores SIGPIPE and its threads block signals; posix_spawn() hands both on unless told
 * otherwise.
 *
 * Threads: any. Errors: a positive errno, as posix_spawn's own calls have it; spawn_reset_signals()
 * cannot fail. Part of the supervisor: no heap.
 */
#pragma once

#include <spawn.h>

/* Set these flags (POSIX_SPAWN_SETSID, POSIX_SPAWN_SETPGROUP: a group of its own) and the signals.
 */
int spawn_set_attributes(posix_spawnattr_t *attributes, short flags);

/* The same, by the child itself, where it was made by fork() and not by posix_spawn(). */
void spawn_reset_signals(void);
