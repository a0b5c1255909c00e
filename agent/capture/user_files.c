/* SPDX-License-Identifier: MIT */
/* user_files - the daemon's side of a folder of a user's; see user_files.h */
#include "capture/user_files.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include "capture/user_files_wire.h"
#include "capture/user_helper.h"
#include "capture/walk_text.h"
#include "common/fd_pass.h"
#include "common/mem.h"
#include "common/spawn.h"

#define ERROR_TEXT_MAX 4096u

struct user_files {
	pthread_mutex_t lock;
	int socket;
	pid_t pid;
	int broken; /* a negative errno: nothing is asked any more */
};

/* ---- the process ---- */

static int set_files(posix_spawn_file_actions_t *actions, int socket)
{
	int r = posix_spawn_file_actions_adddup2(actions, socket, STDIN_FILENO);

	if (!r)
		r = posix_spawn_file_actions_addopen(
			actions, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
	if (!r)
		r = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
	if (!r)
		r = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
	if (!r)
		r = posix_spawn_file_actions_addchdir_np(actions, "/");
	return r;
}

/* With no variable of anybody's: until it has become the user it is root. */
static int spawn(const struct identity *as, int socket, pid_t *ret)
{
	_cleanup_(strbuf_release) struct strbuf who = STRBUF_INIT;
	static char *const empty[] = { NULL };
	const char *helper = user_helper_path();
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char *argv[4];
	int r;

	if (!helper)
		return -ENOPKG;
	identity_format(as, &who);
	argv[0] = (char *)(uintptr_t)helper;
	argv[1] = who.data;
	argv[2] = (char *)(uintptr_t)USER_HELPER_FILES;
	argv[3] = NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	r = set_files(&actions, socket);
	if (!r)
		r = spawn_set_attributes(&attributes, POSIX_SPAWN_SETPGROUP);
	if (!r)
		r = posix_spawn(ret, helper, &actions, &attributes, argv, empty);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

static int start(struct user_files *files, const struct identity *as)
{
	_cleanup_(closep) int theirs = -EBADF;
	int ends[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	files->socket = ends[0];
	theirs = ends[1];
	r = spawn(as, theirs, &files->pid);
	return r;
}

/* It holds nothing that is worth an orderly end. Our child until it is waited for: the pid is its. */
static void end(struct user_files *files)
{
	files->socket = fd_close(files->socket);
	if (files->pid <= 0)
		return;
	kill(files->pid, SIGKILL);
	while (waitpid(files->pid, NULL, 0) < 0 && errno == EINTR)
		;
	files->pid = 0;
}

void user_files_close(struct user_files *files)
{
	if (!files)
		return;
	end(files);
	pthread_mutex_destroy(&files->lock);
	free(files);
}

/* ---- a request ---- */

/* Of a pipe that is not in step any more nothing is believed. */
static int give_up(struct user_files *files, int r)
{
	files->broken = r == -ETIMEDOUT || r == -ENOMEM ? r : -EPROTO;
	end(files);
	return files->broken;
}

static int exchange(struct user_files *files, enum user_files_op op, const void *data, size_t size,
	size_t reply_max, int *ret_error, struct strbuf *ret_data, int *ret_fd)
{
	const struct user_files_request request = { op, (uint32_t)size };
	struct user_files_reply reply;
	int r = fd_pass_send(
		files->socket, &request, sizeof(request), -EBADF, USER_FILES_TIMEOUT_MS);

	if (r >= 0)
		r = fd_pass_send(files->socket, data, size, -EBADF, USER_FILES_TIMEOUT_MS);
	if (r >= 0)
		r = fd_pass_receive(
			files->socket, &reply, sizeof(reply), ret_fd, USER_FILES_TIMEOUT_MS);
	if (r < 0)
		return r;
	if (reply.error > 0 || reply.error < -4095 ||
		reply.size > (reply.error ? ERROR_TEXT_MAX : reply_max))
		return -EPROTO;
	r = fd_pass_receive(files->socket, strbuf_reserve(ret_data, reply.size), reply.size, NULL,
		USER_FILES_TIMEOUT_MS);
	if (r < 0)
		return r;
	ret_data->size = reply.size;
	ret_data->data[reply.size] = '\0';
	*ret_error = reply.error;
	return 0;
}

/* 0, or the user's errno with its text in ret_data, or why there is no answer. */
static int ask(struct user_files *files, enum user_files_op op, const void *data, size_t size,
	size_t reply_max, struct strbuf *ret_data, int *ret_fd)
{
	int error = 0;
	int r;

	pthread_mutex_lock(&files->lock);
	r = files->broken;
	if (!r)
		r = exchange(files, op, data, size, reply_max, &error, ret_data, ret_fd);
	if (r < 0 && !files->broken)
		r = give_up(files, r);
	pthread_mutex_unlock(&files->lock);
	return r < 0 ? r : error;
}

static int ask_path(struct user_files *files, enum user_files_op op, const char *path,
	size_t reply_max, struct strbuf *ret_data, int *ret_fd)
{
	size_t size = strlen(path);

	return size > USER_FILES_PATH_MAX ? -ENAMETOOLONG
					  : ask(files, op, path, size, reply_max, ret_data, ret_fd);
}

/* The helper's own words, where it sent some. */
static int told(int r, const struct strbuf *text, struct error *err)
{
	const char *message = text->size ? memchr(text->data, '\0', text->size) : NULL;

	if (r == -ETIMEDOUT)
		return error_set(err, r, NULL,
			"the folder did not answer for %d seconds: its file system hangs",
			USER_FILES_TIMEOUT_MS / 1000);
	if (r == -ENOPKG)
		return error_set(
			err, r, NULL, USER_HELPER " is not installed: install amlagent again");
	if (r == -EPROTO)
		return error_set(err, r, NULL,
			"the process that looks at the folder as its user has ended; try again");
	if (!message || text->data[text->size - 1] || !message[1])
		return r;
	return error_set(err, r, text->data[0] ? text->data : NULL, "%s", message + 1);
}

/* ---- the questions ---- */

static int set_root(struct user_files *files, const char *path, uint64_t *ret_device,
	uint64_t *ret_inode, char **ret_real)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	struct user_files_root root;
	int r = ask_path(
		files, USER_FILES_ROOT, path, sizeof(root) + USER_FILES_PATH_MAX, &reply, NULL);

	if (r < 0)
		return r;
	if (reply.size <= sizeof(root))
		return give_up(files, -EPROTO);
	memcpy(&root, reply.data, sizeof(root));
	*ret_device = root.device;
	*ret_inode = root.inode;
	*ret_real = mem_strdup(reply.data + sizeof(root));
	return 0;
}

int user_files_open(const struct identity *as, const char *path, struct user_files **ret,
	uint64_t *ret_device, uint64_t *ret_inode, char **ret_real)
{
	_cleanup_(user_files_closep) struct user_files *files = NEW(struct user_files);
	int r;

	pthread_mutex_init(&files->lock, NULL);
	files->socket = -EBADF;
	r = start(files, as);
	if (r >= 0)
		r = set_root(files, path, ret_device, ret_inode, ret_real);
	if (r >= 0)
		*ret = TAKE(files);
	return r;
}

int user_files_look(struct user_files *files, const char *path, mode_t *ret)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	uint32_t mode;
	int r = ask_path(files, USER_FILES_LOOK, path, sizeof(mode), &reply, NULL);

	if (r < 0)
		return r;
	if (reply.size != sizeof(mode))
		return -EPROTO;
	memcpy(&mode, reply.data, sizeof(mode));
	*ret = mode;
	return 0;
}

int user_files_walk(struct user_files *files, const struct walk_options *options, struct walk *ret,
	struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	const struct user_files_walk request = { options->entries_max, options->skip_device,
		options->skip_inode };
	int r = ask(files, USER_FILES_WALK, &request, sizeof(request), WALK_TEXT_MAX, &reply, NULL);

	if (r < 0)
		return told(r, &reply, err);
	return walk_text_parse(reply.data, reply.size, ret) < 0 ? told(-EPROTO, &reply, err) : 0;
}

/* A FUSE mount is its user's alone: everybody else may not even ask what a file of it is, but what he
 * opened can be read. No pipe and no socket is there in it: those would not seek. */
static bool is_his_alone(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC &&
	       lseek(fd, 0, SEEK_CUR) >= 0;
}

/* 1: nobody but its user is told. */
static int see(int fd, struct file_stamp *ret)
{
	struct stat st;

	if (fstat(fd, &st) == 0) {
		*ret = file_stamp_of(&st);
		return S_ISREG(st.st_mode) ? 0 : -EPROTO;
	}
	if (errno != EACCES)
		return -errno;
	return is_his_alone(fd) ? 1 : -EACCES;
}

static int take_stamp(const struct strbuf *reply, struct file_stamp *ret)
{
	if (reply->size != sizeof(*ret))
		return -EPROTO;
	memcpy(ret, reply->data, sizeof(*ret));
	return S_ISREG(ret->mode) ? 0 : -EPROTO;
}

/* Is it what was asked for, and not a pipe that nobody writes to, or a socket? */
static int prove(int fd, const struct strbuf *reply, struct file_stamp *ret)
{
	int flags = fcntl(fd, F_GETFL);
	int r;

	if (flags < 0)
		return -errno;
	if ((flags & O_ACCMODE) != O_RDONLY || flags & O_PATH)
		return -EPROTO;
	r = see(fd, ret);
	return r <= 0 ? r : take_stamp(reply, ret);
}

int user_files_open_file(struct user_files *files, const char *path, struct file_stamp *ret)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	_cleanup_(closep) int fd = -EBADF;
	int r = ask_path(files, USER_FILES_OPEN, path, sizeof(*ret), &reply, &fd);

	if (r < 0)
		return r;
	r = fd < 0 ? -EPROTO : prove(fd, &reply, ret);
	return r < 0 ? r : TAKE_FD(fd);
}

int user_files_stamp(struct user_files *files, int fd, const char *path, struct file_stamp *ret)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	int r = see(fd, ret);

	if (r <= 0)
		return r;
	r = ask_path(files, USER_FILES_STAMP, path, sizeof(*ret), &reply, NULL);
	return r < 0 ? r : take_stamp(&reply, ret);
}

int user_files_list(
	struct user_files *files, bool live, struct collect_list *ret, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	const struct user_files_list request = { .live = live };
	int r = ask(files, USER_FILES_LIST, &request, sizeof(request), COLLECT_LIST_TEXT_MAX,
		&reply, NULL);

	if (r < 0)
		return told(r, &reply, err);
	return collect_list_parse(reply.data, reply.size, ret) < 0 ? told(-EPROTO, &reply, err) : 0;
}
