/* SPDX-License-Identifier: MIT */
/* strays - what is left of a run whose supervisor has died; see strays.h */
#include "runs/strays.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"

#define ENVIRONMENT_MAX (16u << 20)

static bool has_entry(const struct strbuf *environment, const char *entry)
{
	size_t size = strlen(entry) + 1;
	const char *at = environment->data;
	const char *end = at + environment->size;

	while (at && at < end) {
		const char *next = memchr(at, '\0', (size_t)(end - at));

		if (!next)
			return false;
		next++;
		if ((size_t)(next - at) == size && !memcmp(at, entry, size))
			return true;
		at = next;
	}
	return false;
}

/* 1, 0, or negative when it says nothing of its environment. */
static int environment_has(int dirfd, const char *entry)
{
	_cleanup_(strbuf_release) struct strbuf environment = STRBUF_INIT;

	if (file_read(dirfd, "environ", ENVIRONMENT_MAX, &environment) < 0 || !environment.size)
		return -ENODATA;
	return has_entry(&environment, entry);
}

/* The first thread of a process may have ended while others go on: they know its environment. */
static bool thread_has(int processfd, const char *entry)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int fd = openat(processfd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd_close(fd);
		return false;
	}
	for (struct dirent *task; (task = readdir(dir));) {
		_cleanup_(closep) int taskfd =
			openat(fd, task->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (task->d_name[0] != '.' && taskfd >= 0 && environment_has(taskfd, entry) > 0)
			return true;
	}
	return false;
}

static bool is_stray(int procfd, const char *pid, const char *entry)
{
	_cleanup_(closep) int fd = openat(procfd, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
		return false;
	r = environment_has(fd, entry);
	return r < 0 ? thread_has(fd, entry) : r > 0;
}

/* Proved again once it is held: the number may have become another's. */
static void kill_stray(int procfd, const char *name, const char *entry)
{
	_cleanup_(closep) int pidfd = pidfd_open((pid_t)atoi(name), 0);

	if (pidfd >= 0 && is_stray(procfd, name, entry))
		pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
}

int strays_kill(const char *run_dir)
{
	_cleanup_(freep) char *entry = mem_printf("%s=%s", RUN_DIR_VARIABLE, run_dir);
	_cleanup_(closedirp) DIR *proc = opendir("/proc");
	int count = 0;

	if (!proc)
		return -errno;
	for (struct dirent *process; (process = readdir(proc));) {
		const char *name = process->d_name;

		if (name[0] < '1' || name[0] > '9' || atoi(name) == getpid() ||
			!is_stray(dirfd(proc), name, entry))
			continue;
		kill_stray(dirfd(proc), name, entry);
		count++;
	}
	return count;
}
