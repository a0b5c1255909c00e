/* SPDX-License-Identifier: MIT */
/*
 * strays - what is left of runs whose supervisors have died
 *
 * Their processes are init's children then, and no chain of parents leads to a supervisor. What
 * belongs to a run is proved, never guessed; each of these is a proof:
 *
 *	cgroup       it is in the run's cgroup: all of it is killed at one instant
 *	status       it is the command itself: pid and start time are those that `status` has of it, in
 *	             this boot
 *	environment  it has the entry that the supervisor put into the command's environment,
 *	             RUN_DIR_VARIABLE=<run directory>, as the kernel shows it
 *	descent      its parent is proved
 *	session      the leader of its session is proved; or has ended, and another one of the session
 *	             is proved that is older than it. (The command began a session of its own, so
 *	             whatever session one of its descendants is in, one of them began.)
 *
 * Who is proved is stopped first, with his process group where the session is proved as a whole, and
 * the processes are looked over again, until a look finds nobody new: who is stopped neither forks
 * nor ends, so that no proof is lost while the others are being killed. A process is signalled
 * through a descriptor of it, once it has been seen to be the one that was proved (pid and start
 * time). Processes of other users are never touched: a daemon of one user cannot, and for root each
 * proof but the cgroup's counts only for processes that the run's user could signal himself, those
 * with his uid as their real or saved one. Who plants the variable in processes of his own loses
 * those; in another's nobody can plant it, nor can he be made to count as one's own. (Of a run of
 * root's, or whose user is not known, everything counts that is proved.)
 *
 * What can still escape: without a cgroup, a process that has thrown its environment away, has
 * begun a session of its own and whose parent has ended; and, hardly ever, one that forks a
 * successor in a session of its own and ends, without a pause, if no look meets it. With a cgroup, the same if it was allowed
 * to leave that too (root). Whatever has changed its user, unless we are root.
 *
 * Threads: any. Blocks: two looks over /proc for all runs together, some milliseconds each; 200 ms
 * at most where many come and go, or one stays between two programs: he is a doubt then.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define STRAY_ANYBODY ((uid_t)-1)

struct stray_run {
	const char *run_dir; /* as path_absolute() gives it */
	const char *cgroup; /* as `status` has it, NULL: none. Not used unless it is named after the
				run directory */
	uid_t uid;          /* whose it is, for root; 0 and STRAY_ANYBODY: whoever */
	pid_t child;        /* the command, as `status` of this boot has it; 0: not known */
	uint64_t child_start; /* of struct process */
	int found;            /* set: how many there were */
	bool in_doubt; /* set: somebody who may be of it was between two programs (execve()) all the
			  while, and could not be asked */
};

/* SIGKILL to every process there is of each. found 0: none is left that could be asked, and the
 * cgroup is removed; else call again, since one that was signalled takes a moment to end. Call again
 * too while it is in doubt, but not for ever: who has thrown his arguments away looks the same. 0, or
 * a negative errno when /proc cannot be read. */
int strays_kill(struct stray_run *runs, size_t count);
