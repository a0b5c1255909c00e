/* SPDX-License-Identifier: MIT */
/* follow - somebody who streams the log of a run; see follow.h */
#include "cli/chaos/follow.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/log_stream.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/run_dir.h"

#define REPORT_FD 3

struct seen {
	struct sha256 *sum;
	int64_t size;
};

static int take(void *data, const char *bytes, size_t size, struct error *err)
{
	struct seen *seen = data;

	(void)err;
	sha256_update(seen->sum, bytes, size);
	seen->size += (int64_t)size;
	return 0;
}

static void follow(const char *socket, const char *run_id, struct follower_report *report)
{
	struct endpoint endpoint = {
		.socket = socket, .no_autostart = true, .silence.quiet = true
	};
	struct error err = ERROR_INIT;
	struct client client;
	struct seen seen = { 0 };
	struct log_stream stream = {
		.client = &client,
		.run = run_id,
		.name = RUN_LOG_ARTIFACT,
		.follow = true,
		.sink = take,
		.data = &seen,
	};

	client_init(&client, &endpoint);
	report->result = sha256_new(&seen.sum, &err);
	if (report->result >= 0)
		report->result = client_reconnect(&client, &err);
	if (report->result >= 0)
		report->result = log_stream_run(&stream, &err);
	if (seen.sum)
		sha256_finish(seen.sum, report->digest);
	report->size = seen.size;
	snprintf(report->message, sizeof(report->message), "%.250s", err.message);
	sha256_free(seen.sum);
	client_release(&client);
	endpoint_release(&endpoint);
}

/* In the child. */
static void be_follower(pid_t parent, const char *socket, const char *run_id, int to)
{
	struct follower_report report = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* it has ended before that */
		_exit(1);
	setsid(); /* Ctrl-C is for our parent, which ends us */
	interrupt_default();
	if (to != REPORT_FD && dup2(to, REPORT_FD) < 0)
		_exit(1);
	close_range(REPORT_FD + 1, ~0u, 0);
	follow(socket, run_id, &report);
	_exit(file_write_all(REPORT_FD, &report, sizeof(report)) < 0);
}

int follower_start(
	struct follower *follower, const char *socket, const char *run_id, struct error *err)
{
	pid_t parent = getpid();
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, -errno, NULL, "cannot make a pipe");
	pid = fork();
	if (pid == 0)
		be_follower(parent, socket, run_id, ends[1]);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return error_errno(err, -errno, NULL, "cannot start a process");
	}
	*follower = (struct follower){ .pid = pid, .pidfd = pidfd_open(pid, 0), .from = ends[0] };
	return 0;
}

static void bury(struct follower *follower)
{
	siginfo_t info;

	/* ECHILD: it has been buried with the others (chaos_daemon_reap()). */
	while (follower->pidfd >= 0 && waitid(P_PIDFD, (id_t)follower->pidfd, &info, WEXITED) < 0 &&
		errno == EINTR)
		continue;
	fd_close(follower->pidfd);
	fd_close(follower->from);
	*follower = (struct follower){ .pidfd = -EBADF, .from = -EBADF };
}

int follower_end(struct follower *follower, int timeout_ms, struct follower_report *ret)
{
	struct pollfd wait = { follower->from, POLLIN, 0 };
	struct follower_report report;
	int n = poll(&wait, 1, timeout_ms);

	if (n <= 0)
		return n == 0 ? -ETIMEDOUT : -errno;
	/* Smaller than PIPE_BUF: it comes whole. */
	n = read(follower->from, &report, sizeof(report)) == sizeof(report) ? 0 : -ECHILD;
	bury(follower);
	if (n == 0)
		*ret = report;
	return n;
}

void follower_kill(struct follower *follower)
{
	if (!follower->pid)
		return;
	pidfd_send_signal(follower->pidfd, SIGKILL, NULL, 0);
	bury(follower);
}
