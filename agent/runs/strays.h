/* SPDX-License-Identifier: MIT */
/*
 * strays - what is left of a run whose supervisor has died
 *
 * Its processes are init's children then, and no chain of parents tells whose they were. The proof
 * is the entry that the supervisor puts into the command's environment, RUN_DIR_VARIABLE=<run
 * directory>, as the kernel shows it, of a process of our own user. What has thrown its environment
 * away cannot be proved to belong to the run and is left alone.
 *
 * Threads: any. Blocks for some milliseconds: one pass over /proc.
 */
#pragma once

/* SIGKILL to every one there is. Returns how many were found: 0 means that none is left. Negative
 * errno when /proc cannot be read. run_dir: as path_absolute() gives it. */
int strays_kill(const char *run_dir);
