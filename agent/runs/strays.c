/* SPDX-License-Identifier: MIT */
/* strays - what is left of runs whose supervisors have died; see strays.h */
#include "runs/strays.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "common/cgroup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/process.h"
#include "common/run_dir.h"
#include "runs/stray_user.h"

#define ENVIRONMENT_MAX (16u << 20)
/* One look is no proof that nobody is left: what forks and ends at full speed may be missed. Others
 * follow while they find somebody new, or somebody who was gone before he could be looked at. */
#define LOOKS_MIN 2
#define LOOKS_TIME_US 200000
#define NOBODY (-1)

struct stray {
	struct process process; /* .ours: it may be signalled by us at all */
	int run;                /* index of the run that it was proved to be of, and then it has
				   had SIGSTOP; else NOBODY */
};

/* All processes that a look has seen, by rising pid. */
struct table {
	struct stray *items;
	size_t used, room;
};

struct search {
	struct stray_run *runs;
	size_t count;
	int proc_fd;
	pid_t self;
	uid_t user;
	struct table now, before; /* this look's, and the one's before it */
	int fresh;                /* how many this look has stopped */
	pid_t group;              /* that had `group_signal` last: many members, one signal */
	int group_signal;
	int wanting;  /* no descriptor or memory to look with: a negative errno; else 0 */
	int vanished; /* how many could not be asked: ended meanwhile, or between two programs */
};

static void search_release(struct search *search)
{
	fd_close(search->proc_fd);
	free(search->now.items);
	free(search->before.items);
}

static int compare_pids(const void *a, const void *b)
{
	const struct stray *left = a, *right = b;

	return (left->process.pid > right->process.pid) - (left->process.pid < right->process.pid);
}

static struct stray *find(const struct table *table, pid_t pid)
{
	const struct stray key = { .process.pid = pid };

	return table->used ? bsearch(&key, table->items, table->used, sizeof(key), compare_pids)
			   : NULL;
}

/* ---- the proof of the environment ---- */

static int run_of_value(const struct search *search, const char *value)
{
	for (size_t i = 0; i < search->count; i++)
		if (!strcmp(search->runs[i].run_dir, value))
			return (int)i;
	return NOBODY;
}

static int run_of_entries(const struct search *search, const struct strbuf *environment)
{
	static const char key[] = RUN_DIR_VARIABLE "=";
	const char *at = environment->data;
	const char *end = at + environment->size;

	while (at < end) {
		const char *next = memchr(at, '\0', (size_t)(end - at));
		int run = NOBODY;

		if (!next) /* cut short: not what the supervisor wrote */
			return NOBODY;
		if (!strncmp(at, key, sizeof(key) - 1))
			run = run_of_value(search, at + sizeof(key) - 1);
		if (run != NOBODY)
			return run;
		at = next + 1;
	}
	return NOBODY;
}

/* Who could not be looked at for want of descriptors or memory may be anybody. */
static int note(struct search *search, int r)
{
	if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
		search->wanting = r;
	return r;
}

/* NOBODY, also when it says nothing of its environment; *ret_silent tells which. */
static int run_of_environment(struct search *search, int dirfd, bool *ret_silent)
{
	_cleanup_(strbuf_release) struct strbuf environment = STRBUF_INIT;
	int r = note(search, file_read(dirfd, "environ", ENVIRONMENT_MAX, &environment));

	*ret_silent = r < 0 || !environment.size;
	return *ret_silent ? NOBODY : run_of_entries(search, &environment);
}

/* The first thread of a process may have ended while others go on: they know its environment.
 * *ret_silent: as above, of all of them. */
static int run_of_threads(struct search *search, int processfd, bool *ret_silent)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int fd = openat(processfd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int run = NOBODY;

	*ret_silent = true;
	note(search, fd < 0 ? -errno : 0);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd_close(fd);
		return NOBODY;
	}
	for (struct dirent *task; run == NOBODY && (task = readdir(dir));) {
		_cleanup_(closep) int taskfd =
			openat(fd, task->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		bool silent = true;

		if (task->d_name[0] != '.' && taskfd >= 0)
			run = run_of_environment(search, taskfd, &silent);
		*ret_silent &= silent;
	}
	return run;
}

/* ---- the proof of the record ---- */

static int run_of_status(const struct search *search, const struct process *process)
{
	for (size_t i = 0; i < search->count; i++)
		if (search->runs[i].child == process->pid &&
			search->runs[i].child_start == process->start)
			return (int)i;
	return NOBODY;
}

/* ---- what this look or the last one has proved ---- */

static const struct stray *find_proved(const struct search *search, pid_t pid)
{
	const struct stray *known = find(&search->now, pid);

	if (!known)
		known = find(&search->before, pid);
	return known && known->run != NOBODY ? known : NULL;
}

/* Lives, and is the one it was when it was proved. */
static bool is_still(const struct search *search, const struct stray *known)
{
	struct process now;

	return known && process_read(search->proc_fd, known->process.pid, &now) == 0 && now.alive &&
	       now.start == known->process.start;
}

static bool has_ended(const struct search *search, pid_t pid)
{
	struct process now;
	int r = process_read(search->proc_fd, pid, &now);

	return r == -ESRCH || (r == 0 && !now.alive);
}

/* Is the session of a proved process of the run as a whole? The number of a session is not given
 * away while somebody is in it: whoever has it leads it. */
static bool is_session_proved(const struct search *search, const struct process *process)
{
	if (process->session <= 1) /* not known: of another pid namespace, or the kernel's */
		return false;
	return process->session == process->pid ||
	       is_still(search, find_proved(search, process->session)) ||
	       has_ended(search, process->session);
}

/* Without a look at its environment: what forks and ends at full speed is gone before that. */
static int run_of_known_relatives(const struct search *search, const struct process *process)
{
	const struct stray *parent = find_proved(search, process->parent);
	const struct stray *leader = find_proved(search, process->session);

	if (is_still(search, parent))
		return parent->run;
	return is_still(search, leader) ? leader->run : NOBODY;
}

/* ---- whose it is ---- */

/* Root asks; for others the kernel does, when they signal. */
static bool is_bound_to_user(const struct search *search, int run)
{
	uid_t uid = search->runs[run].uid;

	return search->user == 0 && uid != 0 && uid != STRAY_ANYBODY;
}

static bool is_of_user(struct search *search, int processfd, int run)
{
	return !is_bound_to_user(search, run) ||
	       note(search, stray_user_owns(processfd, search->runs[run].uid)) > 0;
}

static bool is_still_of_user(struct search *search, const struct process *process, int run)
{
	return !is_bound_to_user(search, run) ||
	       note(search,
		       stray_user_still_owns(search->proc_fd, process, search->runs[run].uid)) > 0;
}

static bool is_group_of_user(struct search *search, pid_t group, int run)
{
	return !is_bound_to_user(search, run) ||
	       note(search, stray_user_owns_group(group, search->runs[run].uid)) > 0;
}

/* ---- the signals ---- */

/* At one instant: a group that forks faster than we can look does not escape. Its number is not
 * given away while it has members, nor soon after. */
static void signal_group(struct search *search, const struct process *member, int run, int number)
{
	bool done = search->group == member->group && search->group_signal == number;

	if (done || member->group <= 1 || member->group == getpgrp() ||
		!is_session_proved(search, member) || !is_group_of_user(search, member->group, run))
		return;
	kill(-member->group, number);
	search->group = member->group;
	search->group_signal = number;
}

/* Held first, then seen to be the one that was proved. */
static void signal_stray(struct search *search, const struct stray *stray, int number)
{
	_cleanup_(closep) int pidfd = pidfd_open(stray->process.pid, 0);
	struct process now;

	if (pidfd >= 0 && process_read(search->proc_fd, stray->process.pid, &now) == 0 &&
		now.start == stray->process.start && pidfd_send_signal(pidfd, number, NULL, 0) == 0)
		signal_group(search, &now, stray->run, number);
}

static void stop(struct search *search, const struct stray *stray)
{
	search->fresh++;
	signal_stray(search, stray, SIGSTOP);
}

/* ---- all processes there are ---- */

static int open_process(const struct search *search, pid_t pid)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", (int)pid);
	return openat(search->proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool is_within_reach(const struct search *search, int processfd)
{
	struct stat st;

	return search->user == 0 || (fstat(processfd, &st) == 0 && st.st_uid == search->user);
}

/* Between its old program and its new one a process shows neither arguments nor environment for a
 * moment. Those that have thrown them away keep at least a name; the kernel's own are in no session. */
static bool is_in_exec(const struct stray *stray, int processfd)
{
	_cleanup_(strbuf_release) struct strbuf arguments = STRBUF_INIT;

	return stray->run == NOBODY && stray->process.session > 1 &&
	       file_read(processfd, "cmdline", ENVIRONMENT_MAX, &arguments) == 0 && !arguments.size;
}

static void doubt(struct search *search, int processfd)
{
	for (size_t i = 0; i < search->count; i++)
		search->runs[i].in_doubt |= is_of_user(search, processfd, (int)i);
}

/* At once, not after the look: what forks and ends at full speed is gone by then. The directory
 * stays that of one process: what is read through it is of that one. */
static void look_for_proof(struct search *search, struct stray *stray)
{
	_cleanup_(closep) int fd = -EBADF;
	bool silent = false;

	if (!stray->process.alive || stray->process.pid == search->self)
		return;
	fd = open_process(search, stray->process.pid);
	note(search, fd < 0 ? -errno : 0);
	stray->process.ours = fd >= 0 && is_within_reach(search, fd);
	if (!stray->process.ours)
		return;
	stray->run = run_of_known_relatives(search, &stray->process);
	if (stray->run == NOBODY)
		stray->run = run_of_status(search, &stray->process);
	if (stray->run == NOBODY)
		stray->run = run_of_environment(search, fd, &silent);
	if (silent)
		stray->run = run_of_threads(search, fd, &silent);
	if (silent && has_ended(search, stray->process.pid)) {
		search->vanished++;
	} else if (silent && is_in_exec(stray, fd)) {
		search->vanished++;
		doubt(search, fd);
	}
	if (stray->run != NOBODY && !is_of_user(search, fd, stray->run))
		stray->run = NOBODY;
	if (stray->run != NOBODY)
		stop(search, stray);
}

/* What was proved of a process stays true, whatever it does to its environment. */
static bool add(void *data, pid_t pid)
{
	struct search *search = data;
	struct stray stray = { .run = NOBODY };
	const struct stray *known = find(&search->before, pid);

	if (note(search, process_read(search->proc_fd, pid, &stray.process)) < 0) {
		search->vanished++;
		return true;
	}
	if (known && known->run != NOBODY && known->process.start == stray.process.start) {
		stray.process.ours = true;
		stray.run = known->run;
	} else {
		look_for_proof(search, &stray);
	}
	GROW(search->now.items, search->now.used, search->now.room);
	search->now.items[search->now.used++] = stray;
	return true;
}

/* ---- the proofs of descent and session ---- */

static int run_of_parent(const struct search *search, const struct process *process)
{
	const struct stray *parent = find(&search->now, process->parent);

	return parent && parent->process.start <= process->start ? parent->run : NOBODY;
}

static int run_of_session(const struct search *search, const struct process *process)
{
	const struct stray *leader = find(&search->now, process->session);

	if (process->session <= 1)
		return NOBODY;
	if (leader && leader->process.alive)
		return leader->run;
	for (size_t i = 0; i < search->now.used; i++) {
		const struct stray *other = &search->now.items[i];

		if (other->run != NOBODY && other->process.session == process->session &&
			other->process.start <= process->start)
			return other->run;
	}
	return NOBODY;
}

static bool prove_by_relatives(struct search *search, struct stray *stray)
{
	if (stray->run != NOBODY || !stray->process.ours || !stray->process.alive)
		return false;
	stray->run = run_of_parent(search, &stray->process);
	if (stray->run == NOBODY)
		stray->run = run_of_session(search, &stray->process);
	if (stray->run != NOBODY && !is_still_of_user(search, &stray->process, stray->run))
		stray->run = NOBODY;
	if (stray->run == NOBODY)
		return false;
	stop(search, stray);
	return true;
}

static bool is_anybody_proved(const struct search *search)
{
	for (size_t i = 0; i < search->now.used; i++)
		if (search->now.items[i].run != NOBODY)
			return true;
	return false;
}

static void prove_relatives(struct search *search)
{
	bool more = is_anybody_proved(search);

	while (more) {
		more = false;
		for (size_t i = 0; i < search->now.used; i++)
			more |= prove_by_relatives(search, &search->now.items[i]);
	}
}

static int look(struct search *search)
{
	struct table oldest = search->before;
	int r;

	search->before = search->now;
	search->now = oldest;
	search->now.used = 0;
	search->fresh = search->vanished = search->wanting = 0;
	search->group_signal = 0;
	for (size_t i = 0; i < search->count; i++)
		search->runs[i].in_doubt = false;
	r = process_each(search->proc_fd, add, search);
	if (r < 0 || search->wanting)
		return r < 0 ? r : search->wanting;
	/* The kernel lists by rising pid, but the numbers may start again at the end meanwhile. */
	qsort(search->now.items, search->now.used, sizeof(*search->now.items), compare_pids);
	prove_relatives(search);
	return 0;
}

static int look_until_quiet(struct search *search)
{
	int64_t until_us = clock_boot() + LOOKS_TIME_US;
	int r = 0;

	for (int i = 0; r >= 0; i++) {
		bool quiet = !search->fresh && !search->vanished;

		if (i >= LOOKS_MIN && (quiet || clock_boot() >= until_us))
			break;
		r = look(search);
	}
	return r;
}

/* ---- the cgroup ---- */

/* What the file says is only believed where it can do no harm to others. */
static bool is_named_after(const struct stray_run *run)
{
	const char *cgroup = run->cgroup ? strrchr(run->cgroup, '/') : NULL;
	const char *dir = strrchr(run->run_dir, '/');

	return cgroup && dir && dir[1] && !strcmp(cgroup, dir);
}

static void end_cgroup(struct stray_run *run)
{
	_cleanup_(closep) int fd = is_named_after(run) ? cgroup_open(run->cgroup) : -EBADF;
	int populated;

	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		run->found++; /* it could not be looked into */
	if (fd < 0)
		return;
	populated = cgroup_is_populated(fd);
	if (populated != 0)
		cgroup_kill(fd);
	if (populated > 0 || (!run->found && cgroup_remove(run->cgroup) == -EBUSY))
		run->found++;
}

/* ---- all together ---- */

static void kill_all(struct search *search)
{
	for (size_t i = 0; i < search->now.used; i++) {
		const struct stray *stray = &search->now.items[i];

		if (stray->run == NOBODY || !stray->process.alive)
			continue;
		search->runs[stray->run].found++;
		signal_stray(search, stray, SIGKILL);
	}
	for (size_t i = 0; i < search->count; i++)
		end_cgroup(&search->runs[i]);
}

int strays_kill(struct stray_run *runs, size_t count)
{
	_cleanup_(search_release) struct search search = {
		.runs = runs,
		.count = count,
		.proc_fd = process_open_list(),
		.self = getpid(),
		.user = geteuid(),
	};
	int r = search.proc_fd < 0 ? search.proc_fd : look_until_quiet(&search);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		runs[i].found = 0;
	kill_all(&search);
	return 0;
}
