/* SPDX-License-Identifier: MIT */
/* child - start the command; see child.h */
#include "supervisor/child.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/cgroup.h"
#include "common/spawn.h"
#include "supervisor/oom.h"

/* What a login gives. */
#define CHILD_UMASK 022

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

static bool is_for_want_of_room(int error)
{
	return error == -EAGAIN || error == -ENOMEM;
}

/* Kernels and sandboxes know clone3() or not, and let us into a cgroup or not. */
static pid_t fork_child(struct child_start *start)
{
	pid_t pid = cgroup_fork(start->cgroup_fd);

	if (pid >= 0 || is_for_want_of_room(pid))
		return pid;
	if (start->cgroup_fd >= 0)
		start->cgroup_error = pid;
	pid = fork();
	return pid < 0 ? -errno : pid;
}

/* Nothing of root's is left: not its place before the out-of-memory killer, not its umask. */
static int become(const struct identity *as)
{
	if (!as)
		return 0;
	oom_unprotect_self();
	umask(CHILD_UMASK);
	return identity_assume(as);
}

/* What is wanting to the user (processes, address space: his limits) is not wanting to the machine,
 * and must not look like it: EUSERS. */
static int blame(const struct identity *as, int error)
{
	static const int wanting[] = { EAGAIN, ENOMEM, EMFILE, ENFILE, EDQUOT, ENOSPC };

	for (size_t i = 0; as && i < ARRAY_SIZE(wanting); i++)
		if (error == wanting[i])
			return EUSERS;
	return error;
}

/* The working directory is entered and the program executed with the user's rights. */
static int execute_as(const struct child_start *start)
{
	int r = become(start->launch->as);

	if (r < 0)
		return -r;
	if (fchdir(start->files->work_fd) < 0)
		return errno;
	spawn_reset_signals();
	execve(start->launch->argv[0], start->launch->argv, start->launch->env);
	return errno;
}

/* In the child. Returns only when it fails. */
static int execute(const struct child_start *start)
{
	const struct child_files *files = start->files;

	setsid();
	identity_leave_keyring();
	if (dup2(files->null_fd, STDIN_FILENO) < 0 || dup2(files->log_fd, STDOUT_FILENO) < 0 ||
		dup2(files->log_fd, STDERR_FILENO) < 0)
		return errno;
	run_limits_apply(&start->launch->limits);
	return blame(start->launch->as, execute_as(start));
}

/* The pipe is closed by the exec: nothing in it says that the command runs. */
static int read_error(int fd)
{
	int error = 0;
	ssize_t size;

	do
		size = read(fd, &error, sizeof(error));
	while (size < 0 && errno == EINTR);
	if (size < 0)
		return -errno;
	return size == (ssize_t)sizeof(error) ? -error : 0;
}

static void wait_for(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int child_start(struct child_start *start, pid_t *ret)
{
	_cleanup_(closep) int read_fd = -EBADF;
	_cleanup_(closep) int write_fd = -EBADF;
	int ends[2];
	pid_t pid;
	int r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	read_fd = ends[0];
	write_fd = ends[1];
	pid = fork_child(start);
	if (pid == 0) {
		r = execute(start);
		(void)!write(write_fd, &r, sizeof(r));
		_exit(127);
	}
	if (pid < 0)
		return pid;
	write_fd = fd_close(write_fd);
	r = read_error(read_fd);
	if (r < 0)
		wait_for(pid);
	else
		*ret = pid;
	return r;
}
