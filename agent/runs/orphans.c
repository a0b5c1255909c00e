/* SPDX-License-Identifier: MIT */
/* orphans - what a lost supervisor left; see orphans.h */
#include "runs/orphans.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"

#define ENVIRONMENT_MAX (8u << 20)

/* The entry is there as a whole: after a NUL or at the start, ended by a NUL. */
static bool holds_entry(const struct strbuf *environment, const char *entry)
{
	size_t size = strlen(entry) + 1;

	for (size_t at = 0; at + size <= environment->size;
		at += strnlen(environment->data + at, environment->size - at) + 1)
		if (!memcmp(environment->data + at, entry, size))
			return true;
	return false;
}

static bool belongs(int proc, const char *pid, const char *entry)
{
	_cleanup_(strbuf_release) struct strbuf environment = STRBUF_INIT;
	_cleanup_(freep) char *path = mem_printf("%s/environ", pid);
	struct stat st;

	return fstatat(proc, pid, &st, 0) == 0 && st.st_uid == geteuid() &&
		file_read(proc, path, ENVIRONMENT_MAX, &environment) == 0 &&
		holds_entry(&environment, entry);
}

static bool kill_if_belongs(int proc, const char *pid, const char *entry)
{
	_cleanup_(closep) int pidfd = -EBADF;

	if (!belongs(proc, pid, entry))
		return false;
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)atoi(pid), 0);
	return pidfd >= 0 && belongs(proc, pid, entry) &&
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
}

/* A zombie has no environment any more, so it is not counted. */
static int kill_round(const char *entry)
{
	_cleanup_(closedirp) DIR *dir = opendir("/proc");
	int count = 0;

	for (struct dirent *item; dir && (item = readdir(dir));)
		if (isdigit((unsigned char)item->d_name[0]))
			count += kill_if_belongs(dirfd(dir), item->d_name, entry);
	return count;
}

int orphans_kill(const char *run_dir)
{
	_cleanup_(freep) char *entry = mem_printf("AMLAGENT_RUN_DIR=%s", run_dir);
	int64_t end = clock_boot() + ORPHANS_SECONDS * USEC_PER_SEC;
	struct timespec pause = { .tv_nsec = 2000000 };
	int killed = 0;
	int count;

	while ((count = kill_round(entry)) > 0 && clock_boot() < end) {
		killed += count;
		nanosleep(&pause, NULL);
	}
	return killed;
}
