/* SPDX-License-Identifier: MIT */
/*
 * supervise - one run: start its command, hold its limit, stop its tree, tell how it ended
 *
 * amlagent-supervisor RUN_DIR does this and nothing else. It is the parent and the subreaper of all
 * processes of the run and outlives the daemon. It takes the run directory's lock, reads `launch`,
 * starts the command with stdin from /dev/null and stdout and stderr appended to std_log.txt, then
 * waits in one poll() for: a child's end (signalfd), the one deadline there is (timerfd on
 * CLOCK_BOOTTIME), a byte in `control`. State x event is a table in supervise.c.
 *
 * Stopping is one path whatever the reason (limit, cancel, shutdown, leftovers after the command's
 * own end): SIGTERM then SIGCONT to every process of the tree, the grace, then SIGSTOP and SIGKILL
 * in repeated walks until no child is left: setsid, double forks and ignored signals do not escape
 * a subreaper. Only then the exit record is written, fsynced, renamed, its directory fsynced; then
 * the supervisor ends. It allocates before it starts the child and nothing after, and it never ends
 * because of what the child does; a disk without room is waited for.
 *
 * Exit status: 0 once the exit record is there; 1 when it could not even begin (the reason is in
 * supervisor.log); 2 wrong usage; 3 the lock is held or the run has been started before.
 */
#pragma once

int supervise(const char *run_dir);
