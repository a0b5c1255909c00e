/* SPDX-License-Identifier: MIT */
/* supervisor_spawn - start a supervisor that owns its run's lock; see supervisor_spawn.h */
#include "runs/supervisor_spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/wait.h>

#include "common/cgroup.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/spawn.h"

/* Ours first, then the supervisor's, without a moment between. */
static int take_lock(int dirfd)
{
	_cleanup_(closep) int fd =
		openat(dirfd, RUN_DIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EACCES || errno == EAGAIN ? -EALREADY : -errno;
	return TAKE_FD(fd);
}

static int set_files(posix_spawn_file_actions_t *actions, const char *log_path, int lock_fd)
{
	int r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);

	if (!r)
		r = posix_spawn_file_actions_adddup2(actions, STDIN_FILENO, STDOUT_FILENO);
	if (!r)
		r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, log_path,
			O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
	if (!r)
		r = posix_spawn_file_actions_adddup2(actions, lock_fd, RUN_DIR_LOCK_FD);
	if (!r)
		r = posix_spawn_file_actions_addclosefrom_np(actions, RUN_DIR_LOCK_FD + 1);
	return r;
}

/* What is to be executed. Nothing in it is allocated in the child. */
struct start {
	char *argv[3];
	char *log_path;
	int lock_fd;
};

static int spawn(const struct start *start, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	r = set_files(&actions, start->log_path, start->lock_fd);
	if (!r)
		r = spawn_set_attributes(&attributes, POSIX_SPAWN_SETSID);
	if (!r)
		r = posix_spawn(ret, start->argv[0], &actions, &attributes, start->argv,
			(char *const *)fail_point_environment());
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

/* ---- the same, into a cgroup ---- */

static int put_at(int fd, int wanted)
{
	int r = fd < 0 ? -1 : dup2(fd, wanted);

	return r < 0 ? -errno : 0;
}

/* In the child, which has a copy of our memory. The lock may be at a number that another file is to
 * have, or at its own already, where dup2() would leave it close-on-exec. */
static int arrange_files(const struct start *start)
{
	int lock_fd = fcntl(start->lock_fd, F_DUPFD, RUN_DIR_LOCK_FD + 1);
	int r = put_at(open("/dev/null", O_RDWR), STDIN_FILENO);

	if (r >= 0)
		r = put_at(STDIN_FILENO, STDOUT_FILENO);
	if (r >= 0)
		r = put_at(open(start->log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600),
			STDERR_FILENO);
	if (r >= 0)
		r = put_at(lock_fd, RUN_DIR_LOCK_FD);
	if (r >= 0 && close_range(RUN_DIR_LOCK_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		r = -errno;
	return r;
}

static void become_supervisor(const struct start *start, int tell_fd)
{
	/* Out of the way of the numbers that are given away. */
	int fd = fcntl(tell_fd, F_DUPFD_CLOEXEC, RUN_DIR_LOCK_FD + 2);
	int error = fd < 0 ? errno : -arrange_files(start);

	if (!error) {
		setsid();
		spawn_reset_signals();
		execve(start->argv[0], start->argv, fail_point_environment());
		error = errno;
	}
	(void)!write(fd, &error, sizeof(error));
	_exit(127);
}

/* 0 when it was executed, since that closes the pipe with nothing in it. */
static int outcome(int fd, pid_t pid)
{
	int error = 0;
	ssize_t size;

	do
		size = read(fd, &error, sizeof(error));
	while (size < 0 && errno == EINTR);
	if (size <= 0)
		return size < 0 ? -errno : 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return -error;
}

/* -ENOTSUP: not into that cgroup. No handler of ours is to run in the child. */
static int spawn_into(int cgroup_fd, const struct start *start, pid_t *ret)
{
	_cleanup_(closep) int read_fd = -EBADF;
	_cleanup_(closep) int write_fd = -EBADF;
	sigset_t all, before;
	int ends[2];
	pid_t pid;
	int r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	read_fd = ends[0];
	write_fd = ends[1];
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = cgroup_fork(cgroup_fd);
	if (pid == 0)
		become_supervisor(start, write_fd);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return pid == -EAGAIN || pid == -ENOMEM ? pid : -ENOTSUP;
	write_fd = fd_close(write_fd);
	r = outcome(read_fd, pid);
	if (r >= 0)
		*ret = pid;
	return r;
}

static int spawn_anywhere(int cgroup_fd, const struct start *start, pid_t *ret)
{
	int r = cgroup_fd >= 0 ? spawn_into(cgroup_fd, start, ret) : -ENOTSUP;

	return r == -ENOTSUP ? spawn(start, ret) : r;
}

int supervisor_spawn(const char *program, const char *run_dir, int dirfd, int cgroup_fd, pid_t *ret)
{
	_cleanup_(closep) int lock_fd = FAIL_POINT(FAIL_START_LOCK, take_lock(dirfd));
	_cleanup_(freep) char *log_path = path_join(run_dir, RUN_DIR_SUPERVISOR_LOG);
	const struct start start = {
		.argv = { (char *)(uintptr_t)program, (char *)(uintptr_t)run_dir, NULL },
		.log_path = log_path,
		.lock_fd = lock_fd,
	};

	if (lock_fd < 0)
		return lock_fd;
	return FAIL_POINT(FAIL_START_SPAWN, spawn_anywhere(cgroup_fd, &start, ret));
}
