/* SPDX-License-Identifier: MIT */
/* tree - all processes of the run: find them, signal them; see tree.h */
#include "supervisor/tree.h"

#include <signal.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/process.h"

/* How many of the numbers given last are looked at for the newest children. */
#define NEWEST_MAX 512

static struct process table[TREE_MAX]; /* by rising pid */
static size_t table_count;

/* Groups that have had the signals since tree_begin(), by rising number. */
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

int64_t tree_child_start(pid_t child)
{
	struct process process;

	return process_read(proc_fd, child, &process) < 0 ? 0 : (int64_t)process.start;
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
			now.parent != process->parent ||
			(depth == 0 && now.group != process->group))
			return false;
		if (now.parent == self)
			return true;
		process = find(now.parent);
	}
	return false;
}

static bool signal_group(pid_t group, const int *signals, size_t count)
{
	bool sent = false;

	for (size_t i = 0; i < count; i++)
		sent |= kill(-group, signals[i]) == 0;
	if (sent)
		set_reached(group);
	return sent;
}

static bool is_due(const struct process *process)
{
	/* The command began a session of its own, so none of the tree is in these; kill(-1) is
	 * everybody. */
	bool plausible = process->group > 1 && process->group != self;

	return process->ours && process->alive && plausible && !was_reached(process->group);
}

/* What a look is for; no signals: to count. */
struct look {
	const int *signals;
	size_t count;
	int64_t until_us;
	int alive;
	int fresh; /* groups that got the signals */
};

static bool belongs(const struct process *process)
{
	const struct process *parent = find(process->parent);

	return process->parent == self || (parent && parent->ours);
}

static void take(struct look *look, struct process *process)
{
	process->ours = true;
	look->alive += process->alive;
	if (look->count && is_due(process) && still_ours(process))
		look->fresh += signal_group(process->group, look->signals, look->count);
}

/* At once, not after the look: what forks and ends at full speed is gone by then. */
static bool add(void *data, pid_t pid)
{
	struct look *look = data;
	struct process *process = &table[table_count];

	if (process_read(proc_fd, pid, process) < 0)
		return true;
	/* The kernel lists by rising pid; find() relies on it. */
	if (table_count && process[-1].pid >= pid)
		return true;
	table_count++;
	if (belongs(process))
		take(look, process);
	return table_count < TREE_MAX && clock_boot() < look->until_us;
}

static int carry_out(struct look *look)
{
	bool more = true;
	int r;

	table_count = 0;
	r = process_each(proc_fd, add, look);
	if (r < 0)
		return r;
	/* Those with a lower pid than their parents', since the numbers start again at the end. */
	while (more) {
		more = false;
		for (size_t i = 0; i < table_count; i++) {
			if (table[i].ours || !belongs(&table[i]))
				continue;
			take(look, &table[i]);
			more = true;
		}
	}
	return 0;
}

int tree_count(void)
{
	struct look look = { .until_us = INT64_MAX };
	int r = carry_out(&look);

	return r < 0 ? r : look.alive;
}

bool tree_holds(pid_t pid)
{
	struct process process;

	/* Longer than any chain there is: the parents change under us. */
	for (size_t depth = 0; depth < TREE_MAX; depth++) {
		if (process_read(proc_fd, pid, &process) < 0 || process.parent == self)
			return true;
		if (process.parent <= 1)
			return false;
		pid = process.parent;
	}
	return false;
}

void tree_begin(void)
{
	reached_count = 0;
}

void tree_signal_child(pid_t child, const int *signals, size_t count)
{
	signal_group(child, signals, count);
}

int tree_signal_newest(const int *signals, size_t count)
{
	pid_t newest = 0;
	int fresh = 0;
	int r = process_newest(proc_fd, &newest);

	for (pid_t pid = newest; r >= 0 && pid > newest - NEWEST_MAX && pid > 1; pid--) {
		struct process process;

		/* A child of ours: its number is its own until we have waited for it. */
		if (process_read(proc_fd, pid, &process) < 0 || process.parent != self)
			continue;
		process.ours = true;
		if (is_due(&process))
			fresh += signal_group(process.group, signals, count);
	}
	return r < 0 ? r : fresh;
}

int tree_signal(const int *signals, size_t count, int64_t until_us)
{
	struct look look = { .signals = signals, .count = count, .until_us = until_us };
	int r = carry_out(&look);

	return r < 0 ? r : look.fresh;
}
