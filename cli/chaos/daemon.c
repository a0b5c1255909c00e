/* SPDX-License-Identifier: MIT */
/* daemon - the throw-away amlagentd; see daemon.h */
#include "cli/chaos/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "cli/chaos/job.h"
#include "cli/interrupt.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/strv.h"

#define READY_FD 3
#define READY_FD_TEXT "3"
#define IDLE_SECONDS "60" /* should we be killed ourselves, it does not stay */
#define TAIL 4096
#define ANSWER_MAX (1u << 20)
#define UNKNOWN_OPTION 2 /* exit status */

extern char **environ;

int chaos_daemon_init(struct chaos_daemon *ret, const struct chaos_place *place, struct error *err)
{
	char *program = paths_program("amlagentd");

	if (!program)
		return error_set(err, -ENOENT, "amlagentd",
			"amlagentd is not installed beside amlctl; install it");
	*ret = (struct chaos_daemon){ .place = place, .program = program, .ready = -EBADF };
	return 0;
}

void chaos_daemon_release(struct chaos_daemon *daemon)
{
	closep(&daemon->ready);
	free(daemon->program);
	daemon->program = NULL;
}

/* In the child: only calls that are safe after fork(). */
static void become(pid_t parent, char *const *argv, char *const *env, int out, int ready)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* it has ended before that */
		_exit(127);
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	/* Above all targets first, so that no dup2 closes what a later one needs. */
	out = fcntl(out, F_DUPFD_CLOEXEC, 10);
	ready = ready < 0 ? ready : fcntl(ready, F_DUPFD_CLOEXEC, 10);
	if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0)
		_exit(127);
	if (ready >= 0 && dup2(ready, READY_FD) < 0)
		_exit(127);
	close_range(READY_FD + (ready >= 0), ~0u, CLOSE_RANGE_CLOEXEC);
	if (chdir("/") < 0)
		_exit(127);
	execve(argv[0], argv, (char **)env);
	_exit(127);
}

static pid_t spawn(const struct chaos_daemon *daemon, char *const *argv, int out, int ready)
{
	_cleanup_(strv_freep) char **env = strv_copy(environ);
	pid_t parent = getpid();
	pid_t pid;

	env_set(&env, CHAOS_VARIABLE, daemon->place->folder);
	pid = fork();
	if (pid == 0)
		become(parent, argv, env, out, ready);
	return pid < 0 ? -errno : pid;
}

static char **make_command(const struct chaos_daemon *daemon, char *const *more)
{
	const struct chaos_place *place = daemon->place;
	const char *const words[] = { daemon->program, "--user", "--state-dir", place->state,
		"--socket", place->socket, "--config", place->config };
	char **argv = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		strv_add(&argv, words[i]);
	for (size_t i = 0; more[i]; i++)
		strv_add(&argv, more[i]);
	return argv;
}

int chaos_daemon_start(struct chaos_daemon *daemon, struct error *err)
{
	static const char *const more[] = { "--idle-exit", IDLE_SECONDS, "--ready-fd",
		READY_FD_TEXT, NULL };
	_cleanup_(strv_freep) char **argv = make_command(daemon, (char **)more);
	_cleanup_(closep) int log = open(
		daemon->place->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	int ends[2];
	pid_t pid;

	if (log < 0)
		return error_errno(
			err, -errno, daemon->place->log, "cannot write %s", daemon->place->log);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, -errno, NULL, "cannot make a pipe");
	daemon->start_us = clock_boot();
	pid = spawn(daemon, argv, log, ends[1]);
	close(ends[1]);
	closep(&daemon->ready);
	daemon->ready = ends[0];
	if (pid < 0)
		return error_errno(err, pid, NULL, "cannot start amlagentd");
	daemon->pid = pid;
	return 0;
}

int chaos_daemon_await_ready(struct chaos_daemon *daemon, int64_t *ret_us, struct error *err)
{
	struct pollfd wait = { daemon->ready, POLLIN, 0 };
	char text[16] = "";
	int n;

	do
		n = poll(&wait, 1, CHAOS_READY_SECONDS * 1000);
	while (n < 0 && errno == EINTR && !interrupt_caught());
	if (n < 0)
		return error_set(err, -EINTR, NULL, "interrupted");
	if (n == 0)
		return error_set(err, -ETIMEDOUT, NULL, "amlagentd was not ready within %d s",
			CHAOS_READY_SECONDS);
	if (read(daemon->ready, text, sizeof(text) - 1) != 6 || strcmp(text, "READY\n"))
		return error_set(err, -ECHILD, NULL, "amlagentd ended before it was ready");
	*ret_us = clock_boot() - daemon->start_us;
	closep(&daemon->ready);
	return 0;
}

int chaos_daemon_end(struct chaos_daemon *daemon, int signal, struct error *err)
{
	_cleanup_(closep) int fd = daemon->pid ? pidfd_open(daemon->pid, 0) : -ESRCH;
	int64_t end = clock_boot() + CHAOS_END_SECONDS * USEC_PER_SEC;
	struct pollfd wait = { fd, POLLIN, 0 };
	int n = 0;

	if (!daemon->pid)
		return 0;
	if (fd < 0)
		return error_errno(err, -errno, NULL, "cannot watch amlagentd");
	pidfd_send_signal(fd, signal, NULL, 0); /* a zombie is ours still: the number is its own */
	while (n == 0 && clock_boot() < end) {
		n = poll(&wait, 1, 100);
		if (n < 0 && errno == EINTR)
			n = 0;
	}
	if (n == 0)
		pidfd_send_signal(fd, SIGKILL, NULL, 0);
	while (waitpid(daemon->pid, &daemon->status, 0) < 0 && errno == EINTR)
		continue;
	daemon->pid = 0;
	return n ? 0
		 : error_set(err, -ETIMEDOUT, NULL,
			   "amlagentd did not end within %d s of signal %d", CHAOS_END_SECONDS,
			   signal);
}

bool chaos_daemon_reap(struct chaos_daemon *daemon)
{
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid == 0)
			return true;
		if (pid < 0 && errno != EINTR)
			return false;
		if (pid > 0 && pid == daemon->pid) {
			daemon->pid = 0;
			daemon->status = status;
		}
	}
}

static int read_answer(int fd, pid_t pid, struct strbuf *ret)
{
	int r = file_read_fd(fd, ANSWER_MAX, ret);
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (r < 0)
		return r;
	if (WIFEXITED(status) && WEXITSTATUS(status) == UNKNOWN_OPTION)
		return -EOPNOTSUPP;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

int chaos_daemon_check_state(const struct chaos_daemon *daemon, char **ret_text, struct error *err)
{
	static const char *const more[] = { "--check-state", "--quick", "-o", "json", NULL };
	_cleanup_(strv_freep) char **argv = make_command(daemon, (char **)more);
	_cleanup_(strbuf_release) struct strbuf answer = STRBUF_INIT;
	_cleanup_(closep) int from = -EBADF;
	int ends[2];
	pid_t pid;
	int r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, -errno, NULL, "cannot make a pipe");
	from = ends[0];
	pid = spawn(daemon, argv, ends[1], -EBADF);
	close(ends[1]);
	if (pid < 0)
		return error_errno(err, pid, NULL, "cannot start amlagentd");
	r = read_answer(from, pid, &answer);
	if (r < 0)
		return r;
	*ret_text = strbuf_steal(&answer);
	return r;
}

static char *last_line(const char *path)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[TAIL + 1];
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	ssize_t n = size < 0 ? -1 : pread(fd, text, TAIL, size > TAIL ? size - TAIL : 0);
	char *line;

	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n > 0 ? n : 0] = '\0';
	line = strrchr(text, '\n');
	return mem_strdup(line ? line + 1 : text);
}

char *chaos_daemon_how(const struct chaos_daemon *daemon)
{
	_cleanup_(freep) char *line = last_line(daemon->place->log);
	bool signaled = WIFSIGNALED(daemon->status);

	return mem_printf("%s %d%s%s", signaled ? "killed by signal" : "exited with code",
		signaled ? WTERMSIG(daemon->status) : WEXITSTATUS(daemon->status),
		line[0] ? "; its log ends with: " : "", line);
}
