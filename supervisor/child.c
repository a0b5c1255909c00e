/* SPDX-License-Identifier: MIT */
/* child - start the command; see child.h */
#include "supervisor/child.h"

#include <fcntl.h>
#include <spawn.h>

#include "common/spawn.h"

int child_open(const struct run_launch *launch, struct child_files *ret)
{
	struct child_files files = CHILD_FILES_INIT;

	files.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (files.null_fd >= 0)
		files.log_fd = open(RUN_DIR_LOG,
			O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
	if (files.log_fd >= 0)
		files.work_fd = open(launch->cwd, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (files.work_fd < 0) {
		int r = -errno;

		child_close(&files);
		return r;
	}
	*ret = files;
	return 0;
}

void child_close(struct child_files *files)
{
	files->null_fd = fd_close(files->null_fd);
	files->log_fd = fd_close(files->log_fd);
	files->work_fd = fd_close(files->work_fd);
}

static int set_files(posix_spawn_file_actions_t *actions, const struct child_files *files)
{
	int r = posix_spawn_file_actions_adddup2(actions, files->null_fd, STDIN_FILENO);

	if (!r)
		r = posix_spawn_file_actions_adddup2(actions, files->log_fd, STDOUT_FILENO);
	if (!r)
		r = posix_spawn_file_actions_adddup2(actions, files->log_fd, STDERR_FILENO);
	if (!r)
		r = posix_spawn_file_actions_addfchdir_np(actions, files->work_fd);
	return r;
}

int child_start(const struct run_launch *launch, const struct child_files *files, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	r = set_files(&actions, files);
	if (!r)
		r = spawn_set_attributes(&attributes, POSIX_SPAWN_SETSID);
	if (!r)
		r = posix_spawn(
			ret, launch->argv[0], &actions, &attributes, launch->argv, launch->env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}
