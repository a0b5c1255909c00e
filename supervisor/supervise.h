/* SPDX-License-Identifier: MIT */
/*
 * supervise - one run: start its command, hold its limit, stop its tree, tell how it ended
 *
 * amlagent-supervisor RUN_DIR does this and nothing else. It is the parent and the subreaper of all
 * processes of the run and outlives the daemon. It takes the run directory's lock, reads `launch`,
 * makes the run's cgroup if one is named (run_cgroup.h), starts the command in it with stdin from
 * /dev/null and stdout and stderr appended to std_log.txt, then waits in one poll() for: a child's
 * end (signalfd), the one deadline there is (timerfd on CLOCK_BOOTTIME), a byte in `control`. State
 * x event is a table in supervise.c.
 *
 * Stopping is one path whatever the reason (limit, cancel, shutdown, leftovers after the command's
 * own end): SIGTERM then SIGCONT to every process of the tree, the grace, then the cgroup is killed,
 * and SIGSTOP and SIGKILL in repeated walks until no child is left and the cgroup is empty: setsid,
 * double forks and ignored signals do not escape a subreaper. Only then the cgroup is removed and
 * the exit record is written, fsynced, renamed, its directory fsynced; then
 * the supervisor ends. It allocates before it starts the child and nothing after, and it never ends
 * because of what the child does; a disk without room is waited for.
 *
 * Exit status: 0 once the exit record is there; 2 wrong usage; 3 the lock is held or the run has been
 * started before; RUN_DIR_CANNOT_BEGIN plus an errno (or 1) when it could not begin and has started
 * nothing: `status` is not there then, more is in supervisor.log, and it may be tried again.
 */
#pragma once

int supervise(const char *run_dir);
