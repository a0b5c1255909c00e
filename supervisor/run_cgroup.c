/* SPDX-License-Identifier: MIT */
/* run_cgroup - the run's own cgroup; see run_cgroup.h */
#include "supervisor/run_cgroup.h"

#include <string.h>
#include <sys/pidfd.h>

#include "common/cgroup.h"
#include "supervisor/record.h"
#include "supervisor/tree.h"

static void go_without(struct run_cgroup *cgroup, const char *path, int error)
{
	record_note(
		"cannot make the cgroup: %s; the run goes on without: %s", strerror(-error), path);
	cgroup->path[0] = '\0';
}

void run_cgroup_plan(struct run_cgroup *cgroup, const char *path)
{
	if (!path)
		return;
	if (strlen(path) >= sizeof(cgroup->path))
		go_without(cgroup, path, -ENAMETOOLONG);
	else
		strcpy(cgroup->path, path);
}

void run_cgroup_make(struct run_cgroup *cgroup)
{
	_cleanup_(closep) int fd = cgroup->path[0] ? cgroup_make(cgroup->path) : -EBADF;
	int events_fd = fd < 0 ? fd : cgroup_watch(fd);

	if (!cgroup->path[0])
		return;
	if (events_fd < 0) {
		if (fd >= 0)
			cgroup_remove(cgroup->path);
		go_without(cgroup, cgroup->path, events_fd);
		return;
	}
	cgroup->fd = TAKE_FD(fd);
	cgroup->events_fd = events_fd;
}

/* All of it ends when some of it has to; and a limit that swaps instead is none. A kernel without
 * these files has no swap to limit, or is too old to end all of it. */
static int limit_memory(int fd, int64_t value)
{
	int r = cgroup_write_number(fd, "memory.max", value);

	if (r < 0)
		return r;
	(void)cgroup_write(fd, "memory.swap.max", "0");
	(void)cgroup_write(fd, "memory.oom.group", "1");
	return 0;
}

static int limit_pids(int fd, int64_t value)
{
	return cgroup_write_number(fd, "pids.max", value);
}

/* The usual weight is what there is without the controller, too. */
static int weigh_cpu(int fd, int64_t value)
{
	int r = cgroup_write_number(fd, "cpu.weight", value);

	return value == RUN_CPU_WEIGHT_USUAL ? 0 : r;
}

void run_cgroup_limit(const struct run_cgroup *cgroup, const struct run_launch *launch,
	char unenforced[static RUN_UNENFORCED_SIZE])
{
	const struct {
		const char *name;
		int64_t value;
		int (*set)(int fd, int64_t value);
	} asked[] = {
		{ RUN_UNENFORCED_MEMORY, launch->memory_max, limit_memory },
		{ RUN_UNENFORCED_PIDS, launch->pids_max, limit_pids },
		{ RUN_UNENFORCED_CPU, launch->cpu_weight, weigh_cpu },
	};

	unenforced[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		if (!asked[i].value || asked[i].set(cgroup->fd, asked[i].value) >= 0)
			continue;
		if (unenforced[0])
			strcat(unenforced, " ");
		strcat(unenforced, asked[i].name);
	}
}

void run_cgroup_drop(struct run_cgroup *cgroup, int error)
{
	record_note("cannot start the command in its cgroup: %s; the run goes on without: %s",
		strerror(-error), cgroup->path);
	run_cgroup_remove(cgroup);
}

bool run_cgroup_is_populated(const struct run_cgroup *cgroup)
{
	/* When in doubt it is. */
	return cgroup->fd >= 0 && cgroup_watch_read(cgroup->events_fd) != 0;
}

static bool count_guest(void *data, pid_t pid)
{
	int *count = data;

	*count += !tree_holds(pid);
	return true;
}

int run_cgroup_count_guests(const struct run_cgroup *cgroup)
{
	int count = 0;

	if (cgroup->fd >= 0)
		cgroup_each(cgroup->fd, count_guest, &count);
	return count;
}

struct signalling {
	int cgroup_fd;
	const int *signals;
	size_t count;
};

/* Held first, then looked for again: its number may have become another's meanwhile. */
static bool signal_guest(void *data, pid_t pid)
{
	const struct signalling *to = data;
	_cleanup_(closep) int pidfd = tree_holds(pid) ? -EBADF : pidfd_open(pid, 0);

	if (pidfd >= 0 && cgroup_has(to->cgroup_fd, pid))
		for (size_t i = 0; i < to->count; i++)
			pidfd_send_signal(pidfd, to->signals[i], NULL, 0);
	return true;
}

void run_cgroup_signal_guests(const struct run_cgroup *cgroup, const int *signals, size_t count)
{
	struct signalling to = { cgroup->fd, signals, count };

	if (cgroup->fd >= 0)
		cgroup_each(cgroup->fd, signal_guest, &to);
}

void run_cgroup_kill(const struct run_cgroup *cgroup)
{
	if (cgroup->fd >= 0)
		cgroup_kill(cgroup->fd);
}

void run_cgroup_take_evidence(const struct run_cgroup *cgroup, struct run_exit *exit)
{
	int64_t peak = cgroup->fd < 0 ? -1 : cgroup_memory_peak(cgroup->fd);

	exit->oom_kills = cgroup->fd < 0 ? -1 : cgroup_oom_kills(cgroup->fd);
	if (peak < 0)
		return;
	exit->peak_bytes = peak;
	exit->peak_of_all = true;
}

void run_cgroup_remove(struct run_cgroup *cgroup)
{
	int r = cgroup->fd < 0 ? 0 : cgroup_remove(cgroup->path);

	if (r < 0)
		record_note("cannot remove the cgroup: %s: %s", strerror(-r), cgroup->path);
	cgroup->fd = fd_close(cgroup->fd);
	cgroup->events_fd = fd_close(cgroup->events_fd);
	cgroup->path[0] = '\0';
}
