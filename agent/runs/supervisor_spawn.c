/* SPDX-License-Identifier: MIT */
/* supervisor_spawn - start a supervisor that owns its run's lock; see supervisor_spawn.h */
#include "runs/supervisor_spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>

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

static int spawn(const char *program, const char *run_dir, int lock_fd, pid_t *ret)
{
	_cleanup_(freep) char *log_path = path_join(run_dir, RUN_DIR_SUPERVISOR_LOG);
	char *argv[] = { (char *)(uintptr_t)program, (char *)(uintptr_t)run_dir, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	r = set_files(&actions, log_path, lock_fd);
	if (!r)
		r = spawn_set_attributes(&attributes, POSIX_SPAWN_SETSID);
	if (!r)
		r = posix_spawn(ret, argv[0], &actions, &attributes, argv,
			(char *const *)fail_point_environment());
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

int supervisor_spawn(const char *program, const char *run_dir, int dirfd, pid_t *ret)
{
	_cleanup_(closep) int lock_fd = FAIL_POINT(FAIL_START_LOCK, take_lock(dirfd));

	if (lock_fd < 0)
		return lock_fd;
	return FAIL_POINT(FAIL_START_SPAWN, spawn(program, run_dir, lock_fd, ret));
}
