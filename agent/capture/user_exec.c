/* SPDX-License-Identifier: MIT */
/* user_exec - a program as a user; see user_exec.h */
#include "capture/user_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "capture/user_confine.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"

#define EXIT_USAGE 2

void user_exec_format(char *const *env, struct strbuf *ret)
{
	for (size_t i = 0; env && env[i]; i++)
		strbuf_add(ret, env[i], strlen(env[i]) + 1);
}

int user_exec_parse(const char *data, size_t size, char ***ret)
{
	_cleanup_(strv_freep) char **env = NULL;
	size_t count = 0;

	if (size && data[size - 1] != '\0')
		return -EBADMSG;
	for (size_t i = 0; i < size; i++)
		count += !data[i];
	/* One allocation: a list of a hundred thousand is not to be copied as many times. */
	env = mem_alloc((count + 1) * sizeof(*env));
	for (size_t i = 0, at = 0; i < count; i++, at += strlen(data + at) + 1) {
		const char *equals = strchr(data + at, '=');

		if (!equals || equals == data + at)
			return -EBADMSG;
		env[i] = mem_strdup(data + at);
	}
	*ret = TAKE(env);
	return 0;
}

static int read_environment(char ***ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read_fd(STDIN_FILENO, USER_EXEC_INPUT_MAX, &text);

	return r < 0 ? r : user_exec_parse(text.data, text.size, ret);
}

static int status_of(int error)
{
	return USER_EXEC_CANNOT + (error <= USER_EXEC_ERRNO_MAX ? error : EIO);
}

static int empty_stdin(void)
{
	_cleanup_(closep) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return fd < 0 || dup2(fd, STDIN_FILENO) < 0 ? -errno : 0;
}

/* In a process of its own: we stay what the user cannot trace (user_confine.h). */
static int execute(char **argv, char *const *env)
{
	pid_t pid = fork();

	if (pid > 0)
		return user_confine_wait(pid);
	if (pid == 0) {
		execve(argv[0], argv, env);
		_exit(status_of(errno));
	}
	return status_of(errno);
}

int user_exec_main(char **argv)
{
	_cleanup_(strv_freep) char **env = NULL;
	int r;

	if (!argv[0])
		return EXIT_USAGE;
	r = read_environment(&env);
	if (r >= 0)
		r = empty_stdin();
	return r < 0 ? status_of(-r) : execute(argv, env);
}
