/* SPDX-License-Identifier: MIT */
/* sources - what wakes the supervisor; see sources.h */
#include "supervisor/sources.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include "common/cgroup.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/run_dir.h"

static int set_signals(int *ret_fd)
{
	static const int ignored[] = { SIGPIPE, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction standard = { .sa_handler = SIG_DFL };
	sigset_t taken;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		sigaction(ignored[i], &ignore, NULL);
	/* Inherited as ignored it would make children vanish without a status. */
	sigaction(SIGCHLD, &standard, NULL);
	sigemptyset(&taken);
	sigaddset(&taken, SIGCHLD);
	sigaddset(&taken, SIGTERM);
	if (sigprocmask(SIG_SETMASK, &taken, NULL) < 0)
		return -errno;
	*ret_fd = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	return *ret_fd < 0 ? -errno : 0;
}

/* Open for both directions: without a writer a pipe that is only read would be at its end for ever.
 */
static int open_control(void)
{
	_cleanup_(closep) int fd =
		open(RUN_DIR_CONTROL, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
		return -EBADF;
	return TAKE_FD(fd);
}

int sources_open(struct sources *ret)
{
	int r = set_signals(&ret->signal_fd);

	if (r < 0)
		return r;
	ret->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (ret->timer_fd < 0)
		return -errno;
	ret->control_fd = open_control();
	ret->cgroup_fd = -EBADF;
	return 0;
}

void sources_set_deadline(const struct sources *sources, int64_t at_us)
{
	struct itimerspec spec = { 0 };

	if (at_us <= 0)
		at_us = 1; /* zero would disarm */
	if (at_us != SOURCES_NO_DEADLINE) {
		spec.it_value.tv_sec = at_us / USEC_PER_SEC;
		spec.it_value.tv_nsec = at_us % USEC_PER_SEC * 1000;
	}
	timerfd_settime(sources->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static unsigned read_signals(int fd)
{
	struct signalfd_siginfo info;
	unsigned found = 0;

	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		if (info.ssi_signo == SIGTERM)
			found = SOURCE_TERMINATE;
	return found;
}

static void drain(int fd)
{
	char bytes[64];

	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

unsigned sources_wait(const struct sources *sources, bool wait)
{
	struct pollfd fds[] = {
		{ .fd = sources->signal_fd, .events = POLLIN },
		{ .fd = sources->timer_fd, .events = POLLIN },
		{ .fd = sources->control_fd, .events = POLLIN },
		{ .fd = sources->cgroup_fd, .events = POLLPRI },
	};
	unsigned found = 0;

	if (poll(fds, ARRAY_SIZE(fds), wait ? -1 : 0) <= 0)
		return 0;
	if (fds[0].revents)
		found |= read_signals(sources->signal_fd);
	if (fds[1].revents)
		drain(sources->timer_fd);
	if (fds[2].revents) {
		drain(sources->control_fd);
		found |= SOURCE_CONTROL;
	}
	if (fds[3].revents)
		cgroup_watch_read(sources->cgroup_fd);
	return found;
}
