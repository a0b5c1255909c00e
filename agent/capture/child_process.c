/* SPDX-License-Identifier: MIT */
/* child_process - run a program, collect what it prints; see child_process.h */
#include "capture/child_process.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "capture/user_exec.h"
#include "capture/user_helper.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/spawn.h"
#include "common/strv.h"

/* A program that writes to stderr without end is stopped here, not by its time limit alone. */
#define COMPLAINT_TOTAL_MAX ((size_t)4 << 20)
/* How often to look after it where the kernel has no pidfd (some sandboxes). */
#define LOOK_AGAIN_MS 10
#define READ_SIZE ((size_t)8192)

struct running {
	pid_t pid;
	int pidfd;         /* wakes poll(); -1 where there is none */
	int out, err;      /* our ends of the pipes; -1 once they are at their end */
	size_t complained; /* bytes of stderr so far */
};

static void running_close(struct running *running)
{
	fd_close(running->pidfd);
	fd_close(running->out);
	fd_close(running->err);
}

static int open_pipe(int *ret_read, int *ret_write)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_read = fds[0];
	*ret_write = fds[1];
	/* Only our end: the program's must block as usual. */
	return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* posix_spawn functions return a positive errno. */
static int set_files(posix_spawn_file_actions_t *files, const char *cwd, int in, int out, int err)
{
	int r = in >= 0 ? posix_spawn_file_actions_adddup2(files, in, STDIN_FILENO)
			: posix_spawn_file_actions_addopen(
				  files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (!r)
		r = posix_spawn_file_actions_adddup2(files, out, STDOUT_FILENO);
	if (!r)
		r = posix_spawn_file_actions_adddup2(files, err, STDERR_FILENO);
	if (!r)
		r = posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
	if (!r)
		r = posix_spawn_file_actions_addchdir_np(files, cwd ? cwd : "/");
	return -r;
}

static int spawn(
	const struct child_process_options *options, int in, int out, int err, pid_t *ret_pid)
{
	static char *const empty[] = { NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	int r;

	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attributes);
	r = set_files(&files, options->cwd, in, out, err);
	if (r >= 0)
		r = -spawn_set_attributes(&attributes, POSIX_SPAWN_SETPGROUP);
	if (r >= 0)
		r = -posix_spawn(ret_pid, options->argv[0], &files, &attributes, options->argv,
			options->env ? options->env : empty);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attributes);
	return r;
}

/* In memory, not in a pipe: nobody has to write while the other one reads. */
static int open_input(const struct strbuf *input, int *ret)
{
	_cleanup_(closep) int fd = input ? memfd_create("input", MFD_CLOEXEC) : -EBADF;
	int r;

	if (!input)
		return 0;
	if (fd < 0)
		return -errno;
	r = file_write_all(fd, input->data, input->size);
	if (r >= 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r >= 0)
		*ret = TAKE_FD(fd);
	return r;
}

static int start(const struct child_process_options *options, struct running *running)
{
	_cleanup_(closep) int in = -EBADF;
	_cleanup_(closep) int out = -EBADF;
	_cleanup_(closep) int err = -EBADF;
	int r = open_input(options->input, &in);

	if (r >= 0)
		r = open_pipe(&running->out, &out);

	if (r >= 0)
		r = open_pipe(&running->err, &err);
	if (r >= 0)
		r = spawn(options, in, out, err, &running->pid);
	if (r < 0)
		return r;
	/* Not yet waited for, so the id cannot be another process's. */
	running->pidfd = pidfd_open(running->pid, 0);
	return 0;
}

/* Bytes read, 0 when there is nothing now; *fd is closed at the end of the stream. */
static size_t read_some(int *fd, void *to, size_t size)
{
	ssize_t n;

	if (*fd < 0)
		return 0;
	do {
		n = read(*fd, to, size);
	} while (n < 0 && errno == EINTR);
	if (n > 0)
		return (size_t)n;
	if (n == 0 || errno != EAGAIN)
		*fd = fd_close(*fd);
	return 0;
}

/* False when there is too much of it. */
static bool read_output(struct running *running, size_t max, struct strbuf *output)
{
	size_t n;

	do {
		n = read_some(&running->out, strbuf_reserve(output, READ_SIZE), READ_SIZE);
		output->size += n;
		output->data[output->size] = '\0';
	} while (n && output->size <= max);
	if (output->size <= max)
		return true;
	output->size = max;
	output->data[max] = '\0';
	return false;
}

static bool read_complaint(struct running *running, struct strbuf *complaint)
{
	char chunk[4096];
	size_t n;

	while ((n = read_some(&running->err, chunk, sizeof(chunk)))) {
		strbuf_add(complaint, chunk, n);
		if (complaint->size > CHILD_PROCESS_COMPLAINT_MAX) {
			size_t excess = complaint->size - CHILD_PROCESS_COMPLAINT_MAX;

			memmove(complaint->data, complaint->data + excess,
				CHILD_PROCESS_COMPLAINT_MAX + 1);
			complaint->size = CHILD_PROCESS_COMPLAINT_MAX;
		}
		running->complained += n;
		if (running->complained > COMPLAINT_TOTAL_MAX)
			return false;
	}
	return true;
}

static bool has_ended(pid_t pid)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == pid;
}

static void wait_for_news(const struct running *running, int64_t left_us)
{
	struct pollfd fds[] = {
		{ .fd = running->out, .events = POLLIN },
		{ .fd = running->err, .events = POLLIN },
		{ .fd = running->pidfd, .events = POLLIN },
	};
	int64_t wait_ms = left_us / 1000 + 1;

	if (running->pidfd < 0 && wait_ms > LOOK_AGAIN_MS)
		wait_ms = LOOK_AGAIN_MS;
	poll(fds, ARRAY_SIZE(fds), wait_ms > INT_MAX ? INT_MAX : (int)wait_ms);
}

/*
 * Until the program has ended; what a grandchild might still print is not waited for. Whether it
 * has ended is asked before the last reading, so that nothing it printed is missed.
 */
static enum child_process_end attend(struct running *running,
	const struct child_process_options *options, struct child_process *child)
{
	int64_t deadline = clock_boot() + (int64_t)options->timeout_ms * 1000;

	for (;;) {
		bool ended = has_ended(running->pid);
		int64_t left;

		if (!read_output(running, options->output_max, &child->output) ||
			!read_complaint(running, &child->complaint))
			return CHILD_PROCESS_TOO_MUCH_OUTPUT;
		if (ended)
			return CHILD_PROCESS_EXITED;
		left = deadline - clock_boot();
		if (left <= 0)
			return CHILD_PROCESS_TIMED_OUT;
		wait_for_news(running, left);
	}
}

/* The group first: its id is safe from reuse only while its leader has not been waited for. */
static int finish(const struct running *running, struct child_process *child)
{
	siginfo_t info = { 0 };

	kill(-running->pid, SIGKILL);
	while (waitid(P_PID, (id_t)running->pid, &info, WEXITED) < 0)
		if (errno != EINTR)
			return -errno;
	if (child->end != CHILD_PROCESS_EXITED)
		return 0;
	child->end = info.si_code == CLD_EXITED ? CHILD_PROCESS_EXITED : CHILD_PROCESS_SIGNALED;
	child->status = info.si_status;
	return 0;
}

static int run(const struct child_process_options *options, struct child_process *ret)
{
	_cleanup_(running_close) struct running running = {
		.pidfd = -EBADF, .out = -EBADF, .err = -EBADF
	};
	_cleanup_(child_process_release) struct child_process child = { 0 };
	int r = start(options, &running);

	if (r < 0)
		return r;
	child.end = attend(&running, options, &child);
	r = finish(&running, &child);
	if (r < 0)
		return r;
	*ret = child;
	child = (struct child_process){ 0 };
	return 0;
}

/* Root's linker sees nothing of the environment that is meant for the user's program. */
static int run_as(const struct child_process_options *options, struct child_process *ret)
{
	_cleanup_(strbuf_release) struct strbuf who = STRBUF_INIT, env = STRBUF_INIT;
	_cleanup_(freep) const char **argv = NULL;
	struct child_process_options helped = *options;
	size_t count = 3;

	if (options->cwd || options->input)
		return -EINVAL;
	if (!user_helper_path())
		return -ENOPKG;
	identity_format(options->as, &who);
	user_exec_format(options->env, &env);
	argv = mem_alloc((strv_length(options->argv) + count + 1) * sizeof(*argv));
	argv[0] = user_helper_path();
	argv[1] = who.data;
	argv[2] = USER_HELPER_EXEC;
	for (size_t i = 0; options->argv[i]; i++)
		argv[count++] = options->argv[i];
	helped.argv = (char *const *)argv;
	helped.env = NULL;
	helped.as = NULL;
	helped.input = &env;
	return run(&helped, ret);
}

int child_process_run(const struct child_process_options *options, struct child_process *ret)
{
	return options->as ? run_as(options, ret) : run(options, ret);
}

void child_process_release(struct child_process *child)
{
	strbuf_release(&child->output);
	strbuf_release(&child->complaint);
}
