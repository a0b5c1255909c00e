/* SPDX-License-Identifier: MIT */
/* tree - all processes of the run: find them, signal them; see tree.h */
#include "supervisor/tree.h"

#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>

#include "common/cleanup.h"
#include "supervisor/process.h"

/* A look costs about a millisecond; more of them than this without an end: others get their turn. */
#define ROUNDS_MAX 64

/* linux/pidfd.h, since Linux 6.9; not in the headers of Debian 12. */
#define SIGNAL_PROCESS_GROUP (1u << 2)

static struct process table[TREE_MAX]; /* by rising pid */
static size_t table_count;

/* Groups that have had this call's signals, by rising number. */
static pid_t reached[TREE_MAX];
static size_t reached_count;

static int proc_fd = -EBADF;
static pid_t self;

int tree_open(void)
{
	self = getpid();
	proc_fd = process_open_list();
	return proc_fd < 0 ? proc_fd : 0;
}

static struct process *find(pid_t pid)
{
	size_t low = 0;
	size_t high = table_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (table[middle].pid < pid)
			low = middle + 1;
		else
			high = middle;
	}
	return low < table_count && table[low].pid == pid ? &table[low] : NULL;
}

static bool add(pid_t pid)
{
	struct process process;

	if (process_read(proc_fd, pid, &process) < 0)
		return true;
	/* The kernel lists by rising pid; find() relies on it. */
	if (table_count && table[table_count - 1].pid >= pid)
		return true;
	table[table_count++] = process;
	return table_count < TREE_MAX;
}

/* One look: fill the table, then mark what has us among its parents. */
static int scan(void)
{
	bool more = true;
	int count = 0;
	int r;

	table_count = 0;
	r = process_each(proc_fd, add);
	if (r < 0)
		return r;
	/* Most parents have a lower pid than their children: one pass, seldom a second. */
	while (more) {
		more = false;
		for (size_t i = 0; i < table_count; i++) {
			const struct process *parent = find(table[i].parent);

			if (table[i].ours || !(table[i].parent == self || (parent && parent->ours)))
				continue;
			table[i].ours = true;
			more = true;
			count += table[i].alive;
		}
	}
	return count;
}

int tree_count(void)
{
	return scan();
}

static size_t reached_index(pid_t group)
{
	size_t low = 0;
	size_t high = reached_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (reached[middle] < group)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool was_reached(pid_t group)
{
	size_t at = reached_index(group);

	return at < reached_count && reached[at] == group;
}

static void set_reached(pid_t group)
{
	size_t at = reached_index(group);

	if (reached_count == TREE_MAX || was_reached(group))
		return;
	memmove(reached + at + 1, reached + at, (reached_count - at) * sizeof(*reached));
	reached[at] = group;
	reached_count++;
}

/* Is it, now, what the table says, with parents that lead to us? */
static bool still_ours(const struct process *process)
{
	for (size_t depth = 0; process && depth < table_count; depth++) {
		struct process now;

		if (process_read(proc_fd, process->pid, &now) < 0 || now.start != process->start ||
			now.parent != process->parent || (depth == 0 && now.group != process->group))
			return false;
		if (now.parent == self)
			return true;
		process = find(now.parent);
	}
	return false;
}

static bool signal_group(int pidfd, pid_t group, int signal)
{
	if (pidfd_send_signal(pidfd, signal, NULL, SIGNAL_PROCESS_GROUP) == 0)
		return true;
	/* An older kernel. The member that was just proved holds the group's number. */
	return errno == EINVAL && kill(-group, signal) == 0;
}

static bool reach(const struct process *process, const int *signals, size_t count)
{
	_cleanup_(closep) int pidfd = pidfd_open(process->pid, 0);
	bool sent = false;

	if (pidfd < 0 || !still_ours(process))
		return false;
	for (size_t i = 0; i < count; i++)
		sent |= signal_group(pidfd, process->group, signals[i]);
	return sent;
}

static bool is_due(const struct process *process)
{
	/* The command began a session of its own, so none of the tree is in these; kill(-1) is everybody. */
	bool plausible = process->group > 1 && process->group != self;

	return process->ours && process->alive && plausible && !was_reached(process->group);
}

static int reach_new(const int *signals, size_t count)
{
	int fresh = 0;

	for (size_t i = 0; i < table_count; i++) {
		const struct process *process = &table[i];

		if (!is_due(process) || !reach(process, signals, count))
			continue;
		set_reached(process->group);
		fresh++;
	}
	return fresh;
}

static int reach_leader(pid_t leader, const int *signals, size_t count)
{
	bool sent = false;

	for (size_t i = 0; i < count; i++)
		sent |= kill(-leader, signals[i]) == 0;
	if (sent)
		set_reached(leader);
	return sent;
}

int tree_signal(pid_t leader, const int *signals, size_t count)
{
	int total;

	reached_count = 0;
	total = leader ? reach_leader(leader, signals, count) : 0;
	for (int round = 0; round < ROUNDS_MAX; round++) {
		int r = scan();
		int fresh;

		if (r < 0)
			return r;
		fresh = reach_new(signals, count);
		if (!fresh)
			break;
		total += fresh;
	}
	return total;
}
