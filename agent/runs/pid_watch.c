/* SPDX-License-Identifier: MIT */
/* pid_watch - tell when a process has ended; see pid_watch.h */
#include "runs/pid_watch.h"

#include <sys/pidfd.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/process.h"

struct pid_watch {
	int fd;
	pid_t pid;
	uv_poll_t poll;
	pid_watch_callback ended;
	void *data;
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct pid_watch *watch = container_of(poll, struct pid_watch, poll);

	(void)status;
	(void)events;
	uv_poll_stop(poll);
	watch->ended(watch->data);
}

int pid_watch_new(
	uv_loop_t *loop, pid_t pid, pid_watch_callback ended, void *data, struct pid_watch **ret)
{
	_cleanup_(closep) int fd = pidfd_open(pid, 0);
	_cleanup_(freep) struct pid_watch *watch = NEW(struct pid_watch);
	int r = fd < 0 ? -errno : uv_poll_init(loop, &watch->poll, fd);

	if (r < 0)
		return r;
	watch->fd = TAKE_FD(fd);
	watch->pid = pid;
	watch->ended = ended;
	watch->data = data;
	uv_poll_start(&watch->poll, UV_READABLE, on_readable);
	*ret = TAKE(watch);
	return 0;
}

int pid_watch_reap(struct pid_watch *watch)
{
	siginfo_t info = { 0 };
	int r;

	do {
		r = waitid(P_PIDFD, (id_t)watch->fd, &info, WEXITED | WNOHANG);
	} while (r < 0 && errno == EINTR);
	if (r < 0 || info.si_pid == 0)
		return -1;
	return info.si_code == CLD_EXITED ? info.si_status : PID_WATCH_SIGNALED + info.si_status;
}

bool pid_watch_is_stopped(const struct pid_watch *watch)
{
	_cleanup_(closep) int proc_fd = process_open_list();
	struct process process;

	return proc_fd >= 0 && process_read(proc_fd, watch->pid, &process) == 0 && process.stopped;
}

int pid_watch_signal(const struct pid_watch *watch, int number)
{
	return pidfd_send_signal(watch->fd, number, NULL, 0) < 0 ? -errno : 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct pid_watch *watch = container_of((uv_poll_t *)handle, struct pid_watch, poll);

	fd_close(watch->fd);
	free(watch);
}

void pid_watch_free(struct pid_watch *watch)
{
	if (watch)
		uv_close((uv_handle_t *)&watch->poll, on_closed);
}
