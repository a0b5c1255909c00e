/* SPDX-License-Identifier: MIT */
/*
 * chaos - `amlctl doctor --chaos N`: kill a throw-away daemon N times under load, and say what was
 * lost
 *
 * Starts an amlagentd of its own, with a state folder, socket and configuration in a new folder
 * below $TMPDIR (else /var/tmp), submits runs of many kinds to it all the time, and kills the
 * daemon, supervisors, or both at random moments. Nobody else's daemon is touched. What became of
 * each run is compared with what must have become of it: the record, log and outputs as the API
 * gives them, a witness that the runs themselves write, and /proc. At the end the folder is
 * removed; when something was wrong it stays, and is named.
 *
 * AMLAGENT_CHAOS_SEED reproduces the sequence of decisions (kinds of kills and runs, pauses).
 * SIGINT, SIGTERM and SIGHUP end it early: daemon and runs are ended and the folder goes.
 *
 * Threads: one; makes the process a subreaper and catches signals while it runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cli;

/*
 * rounds: the number of kills. Prints the verdict (a table, or one JSON object) on stdout and
 * progress on a terminal's stderr. 0: all is well; 1: something was lost or wrong; EXIT_CANCELED:
 * ended early by a signal, the verdict so far is printed; or a negative errno with cli->err set:
 * it could not be done.
 */
int chaos_run(struct cli *cli, int64_t rounds, bool json);
