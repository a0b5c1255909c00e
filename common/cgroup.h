/* SPDX-License-Identifier: MIT */
/*
 * cgroup - the processes of a run in a cgroup of their own (cgroup v2), where that is possible
 *
 * A process cannot leave its cgroup, whatever it does to its session, its parents, its name or its
 * environment, unless it may write to another one (root; a user below his own systemd). The kernel
 * says when a cgroup is empty, kills all that is in it at once, and counts its memory where the
 * memory controller is on. No cgroup is never an error: all that is promised holds without.
 *
 * The daemon finds the place once (cgroup_find_parent) and writes <parent>/<run id> into `launch`;
 * the supervisor makes that one, starts the command inside it and removes it again. When the
 * supervisor was killed the daemon does the rest (runs/strays.h).
 *
 * A cgroup is a descriptor of its directory, or its absolute path. Whatever is said of a cgroup
 * holds for those below it, which the run itself may have made.
 *
 * Errors: 0 (or a descriptor, or a count) or a negative errno. Threads: any. No heap but where a
 * comment says so: the supervisor calls these while the command runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- the place; heap ---- */

#define CGROUP_PARENT_AUTO "auto"
#define CGROUP_PARENT_NONE "none"
#define CGROUP_PARENT_NAME "amlagent"
/* Of systemd's unit that holds the place while daemons come and go (amlagent-supervisor --hold). */
#define CGROUP_DELEGATED "amlagent.slice/amlagent-runs.service"
#define CGROUP_HOLDER_NAME "holder"
/* Below the parent: where it is there supervisors are started in it, out of the reach of whoever
 * stops the daemon's own cgroup. */
#define CGROUP_SUPERVISORS_NAME "supervisors"

/*
 * Where a daemon's runs have their cgroups: made, and ours to write in. *ret is malloc'ed, NULL for
 * none. setting:
 *
 *	none     none
 *	auto     for root cgroup_choose_delegated(), with a cgroup for the supervisors, where it is
 *	         there; else cgroup_choose(); none when that cannot be had
 *	a path   that one; a negative errno when it is not to be had or not in a cgroup v2 mount
 *
 * The controllers are switched on there, as far as they can be (cgroup_enable_controllers()).
 */
int cgroup_find_parent(const char *setting, char **ret);

/*
 * The choice of "auto", from /proc/self/mountinfo and /proc/self/cgroup; pure. For root it is
 * <cgroup2 mount>/amlagent; for a user `amlagent` beside the cgroup he is in, never below it: a
 * service manager kills a service's cgroup with the service. malloc'ed; NULL: there is no such place.
 */
char *cgroup_choose(const char *mountinfo, const char *own, bool root);
/* <cgroup2 mount>/CGROUP_DELEGATED, there or not; pure. malloc'ed, NULL: no such mount. */
char *cgroup_choose_delegated(const char *mountinfo);

/* The cgroup that we are in, as a path; malloc'ed. NULL: none, or the topmost one. The second is
 * pure. */
char *cgroup_own(void);
char *cgroup_locate_own(const char *mountinfo, const char *own);

/* ---- one cgroup ---- */

/* Make it and open it. One that is there already and empty is fine (an earlier attempt's); -EBUSY
 * when somebody is in it. */
int cgroup_make(const char *path);

/* -ENOTSUP when path is not in a cgroup v2 file system; -ENOENT. */
int cgroup_open(const char *path);

/* Write to one of its files. -ENOENT: it has none of that name, as without the controller. */
int cgroup_write(int fd, const char *name, const char *text);
int cgroup_write_number(int fd, const char *name, int64_t value);

/* For those below it, as far as they are to be had: memory (the peak, the kills of the out-of-memory
 * killer, a limit), pids, cpu. */
void cgroup_enable_controllers(int fd);

/* fork() into it (negative: into our own). What the child may do is what a child of a vfork() in a
 * program of many threads may, in memory of its own. A negative errno: kernels and sandboxes know
 * clone3() or not, and let us into a cgroup or not. */
pid_t cgroup_fork(int fd);

/* 1: a process lives in it; 0: none. Zombies do not count. */
int cgroup_is_populated(int fd);

/* A descriptor on which poll() reports POLLPRI when the answer may have changed since the last
 * cgroup_watch_read(), which gives the answer. Once open it works whatever the run does to the
 * files of its cgroup. */
int cgroup_watch(int fd);
int cgroup_watch_read(int watch_fd);

/* SIGKILL to all that is in it, at one instant; before Linux 5.14 cgroup_kill_frozen(). Who is dead
 * is told by cgroup_is_populated(). */
int cgroup_kill(int fd);

/* Freeze it, then SIGKILL to each; may have to be called again for what was made meanwhile. */
int cgroup_kill_frozen(int fd);

/* Call for every process in it while it returns true. -EOPNOTSUPP when the run made it one of
 * threads. */
int cgroup_each(int fd, bool (*found)(void *data, pid_t pid), void *data);

/* Is this process in it, now? */
bool cgroup_has(int fd, pid_t pid);

/* The most memory that was in use, bytes; the processes that the out-of-memory killer has ended.
 * -1 when nobody counts. */
int64_t cgroup_memory_peak(int fd);
int64_t cgroup_oom_kills(int fd);

/* With all below it. Absent: 0; -EBUSY when somebody is in it. */
int cgroup_remove(const char *path);
