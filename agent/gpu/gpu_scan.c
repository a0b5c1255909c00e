/* SPDX-License-Identifier: MIT */
/*
 * gpu_scan - what processes have open or mapped; see gpu_internal.h
 *
 * A process costs some 50 us, half of it for its open files and half for its mappings, and most of
 * that is the kernel's. So: plain system calls into buffers on the stack, no stat of sockets, pipes
 * and the like, and a few threads when there are thousands. That stat opens nothing: /proc/PID/fd/N
 * leads to the open file itself, whatever its name is by now; and it asks no file system (one that
 * does not answer would hang us too): what the kernel knows of a device is always enough.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/process.h"
#include "gpu/gpu_internal.h"

#define DEV_PREFIX "/dev/"
#define KTHREADD 2
#define THREADS_MAX 4
#define PROCESSES_PER_THREAD 500

struct scan {
	const struct gpus *gpus;
	int proc_fd;
	uint64_t uvm;
	struct pid_list pids;
	size_t next; /* atomic: pids.items that a thread has taken */
	pthread_mutex_t lock;
	struct gpu_sights *sights; /* lock */
};

/* ---- open files ---- */

static void hold(struct gpu_sight *sight, size_t index)
{
	sight->held[index / 64] |= UINT64_C(1) << (index % 64);
}

static void see_file(const struct scan *scan, int dir, const char *name, struct gpu_sight *sight)
{
	char first;
	struct statx st;
	uint64_t rdev;

	if (readlinkat(dir, name, &first, 1) < 1 || first != '/' ||
		statx(dir, name, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0 ||
		!(S_ISCHR(st.stx_mode) || S_ISBLK(st.stx_mode)))
		return;
	rdev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
	if (scan->uvm && rdev == scan->uvm)
		sight->has_uvm = true;
	for (size_t i = 0; i < scan->gpus->count; i++)
		if (scan->gpus->items[i].rdev == rdev)
			hold(sight, i);
}

/* -ESRCH when it is gone; -EACCES when we may not look. */
static int see_files(const struct scan *scan, struct gpu_sight *sight)
{
	char buffer[8192] __attribute__((aligned(__alignof__(struct dirent64))));
	_cleanup_(closep) int dir = -EBADF;
	char path[32];
	ssize_t size;

	snprintf(path, sizeof(path), "%d/fd", (int)sight->pid);
	dir = openat(scan->proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((size = getdents64(dir, buffer, sizeof(buffer))) > 0)
		for (ssize_t at = 0; at < size;) {
			const struct dirent64 *entry = (const void *)(buffer + at);

			if (entry->d_name[0] != '.')
				see_file(scan, dir, entry->d_name, sight);
			at += entry->d_reclen;
		}
	if (size < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return 0;
}

/* ---- mappings ---- */

static void see_mapping(const struct scan *scan, const char *path, struct gpu_sight *sight)
{
	if (!strcmp(path, GPU_UVM_PATH))
		sight->has_uvm = true;
	for (size_t i = 0; i < scan->gpus->count; i++)
		if (!strcmp(scan->gpus->items[i].device, path))
			hold(sight, i);
}

/* "7f00-7f01 rw-s 00000000 00:05 123      /dev/nvidia0\n" and more of them. */
static void see_lines(const struct scan *scan, char *text, char *end, struct gpu_sight *sight)
{
	char *line_end;

	for (; (line_end = memchr(text, '\n', (size_t)(end - text))); text = line_end + 1) {
		char *path = memchr(text, '/', (size_t)(line_end - text));

		if (!path || (size_t)(line_end - path) < sizeof(DEV_PREFIX) ||
			memcmp(path, DEV_PREFIX, sizeof(DEV_PREFIX) - 1))
			continue;
		*line_end = '\0';
		see_mapping(scan, path, sight);
	}
}

/* One read gives whole lines: the kernel makes a page of them at a time. */
static int see_mappings(const struct scan *scan, struct gpu_sight *sight)
{
	char buffer[16384];
	_cleanup_(closep) int fd = -EBADF;
	char path[32];
	ssize_t size;

	snprintf(path, sizeof(path), "%d/maps", (int)sight->pid);
	fd = openat(scan->proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((size = read(fd, buffer, sizeof(buffer))) > 0)
		see_lines(scan, buffer, buffer + size, sight);
	return size < 0 && errno != ESRCH ? -errno : 0;
}

/* ---- one process ---- */

/* Kernel threads and zombies hold nothing. */
static bool could_hold(const struct scan *scan, pid_t pid)
{
	struct process process;

	return process_read(scan->proc_fd, pid, &process) == 0 && process.alive &&
	       process.parent != KTHREADD && pid != KTHREADD;
}

static bool holds_any(const struct gpu_sight *sight)
{
	for (size_t i = 0; i < GPU_SET_WORDS; i++)
		if (sight->held[i])
			return true;
	return false;
}

static void see_process(struct scan *scan, pid_t pid)
{
	struct gpu_sight sight = { .pid = pid };
	int r = see_files(scan, &sight);
	struct gpu_sights *sights = scan->sights;
	bool unseen;

	if (r >= 0)
		r = see_mappings(scan, &sight);
	unseen = r < 0 && r != -ESRCH && could_hold(scan, pid);
	if (!unseen && !holds_any(&sight))
		return;
	pthread_mutex_lock(&scan->lock);
	sights->unseen += unseen;
	if (holds_any(&sight)) {
		GROW(sights->items, sights->count, sights->room);
		sights->items[sights->count++] = sight;
	}
	pthread_mutex_unlock(&scan->lock);
}

/* ---- all of them ---- */

static bool add_pid(void *data, pid_t pid)
{
	struct pid_list *pids = data;

	if (pid != getpid()) {
		GROW(pids->items, pids->count, pids->room);
		pids->items[pids->count++] = pid;
	}
	return true;
}

static void *scan_main(void *data)
{
	struct scan *scan = data;
	size_t i;

	while ((i = __atomic_fetch_add(&scan->next, 1, __ATOMIC_RELAXED)) < scan->pids.count)
		see_process(scan, scan->pids.items[i]);
	return NULL;
}

/* On this thread too: it needs no other. */
static void scan_pids(struct scan *scan)
{
	pthread_t threads[THREADS_MAX];
	size_t wanted = scan->pids.count / PROCESSES_PER_THREAD, started = 0;

	while (started < wanted && started < THREADS_MAX - 1 &&
		pthread_create(&threads[started], NULL, scan_main, scan) == 0)
		started++;
	scan_main(scan);
	while (started)
		pthread_join(threads[--started], NULL);
}

static int by_pid(const void *a, const void *b)
{
	const struct gpu_sight *one = a, *other = b;

	return (one->pid > other->pid) - (one->pid < other->pid);
}

int gpu_scan(const struct gpus *gpus, int proc_fd, uint64_t uvm, struct gpu_sights *ret)
{
	struct scan scan = { .gpus = gpus,
		.proc_fd = proc_fd,
		.uvm = uvm,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.sights = ret };
	int r = process_each(proc_fd, add_pid, &scan.pids);

	if (r >= 0)
		scan_pids(&scan);
	free(scan.pids.items);
	if (ret->count)
		qsort(ret->items, ret->count, sizeof(*ret->items), by_pid);
	return r;
}
