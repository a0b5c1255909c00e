/* SPDX-License-Identifier: MIT */
/* program - start a program and read what it prints; see doctor.h */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "cli/doctor/doctor.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/spawn.h"

#define OUTPUT_MAX ((size_t)16 << 20)
#define PIECE 65536

extern char **environ;

static int start(char *const *argv, bool quiet, int to, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	r = spawn_set_attributes(&attributes, 0);
	if (!r)
		r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!r)
		r = posix_spawn_file_actions_adddup2(&actions, to, 1);
	if (!r && quiet)
		r = posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	if (!r)
		r = posix_spawn(ret, argv[0], &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

/* 1: there is something to read, or it has ended; 0: the time is over. */
static int wait_readable(int fd, int64_t until_us)
{
	for (;;) {
		int64_t left = until_us ? until_us - clock_boot() : -1;
		struct pollfd wait = { fd, POLLIN, 0 };
		int ready;

		if (until_us && left <= 0)
			return 0;
		ready = poll(&wait, 1, until_us ? (int)(left / 1000) + 1 : -1);
		if (ready > 0)
			return 1;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
}

static int read_all(int fd, int timeout_ms, struct strbuf *to)
{
	int64_t until_us = timeout_ms < 0 ? 0 : clock_boot() + (int64_t)timeout_ms * 1000;

	while (to->size <= OUTPUT_MAX) {
		int r = wait_readable(fd, until_us);
		ssize_t n;

		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		n = read(fd, strbuf_reserve(to, PIECE), PIECE);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
		to->size += n > 0 ? (size_t)n : 0;
		to->data[to->size] = '\0';
	}
	return -EFBIG;
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

int doctor_program(char *const *argv, bool quiet, int timeout_ms, struct strbuf *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int ends[2];
	pid_t pid;
	int r, status;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	r = start(argv, quiet, ends[1], &pid);
	close(ends[1]);
	if (r < 0) {
		close(ends[0]);
		return r;
	}
	r = read_all(ends[0], timeout_ms, &text);
	if (r < 0)
		kill(pid, SIGKILL);
	close(ends[0]);
	status = reap(pid);
	if (r < 0 || status < 0)
		return r < 0 ? r : status;
	strbuf_adds(&text, "");
	*ret = text;
	text = (struct strbuf)STRBUF_INIT;
	return status;
}
