/* SPDX-License-Identifier: MIT */
/*
 * orphans - what a lost supervisor left: the one case in which the daemon signals a run's processes
 *
 * With the supervisor gone its tree has become init's children, and nothing but the environment tells
 * that a process belonged to the run: the supervisor puts AMLAGENT_RUN_DIR=<run directory> there.
 * A process is killed only when that exact entry is in its environment, it belongs to us, and both
 * still hold when a pidfd on it is open: no pid is believed.
 *
 * Threads: any; blocks until none is left, at most ORPHANS_SECONDS. Returns how many were killed.
 */
#pragma once

#define ORPHANS_SECONDS 30

int orphans_kill(const char *run_dir);
