/* SPDX-License-Identifier: MIT */
/* user_files - the daemon's side of a folder of a user's; see user_files.h */
#include "capture/user_files.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "capture/mount_trust.h"
#include "capture/user_files_wire.h"
#include "capture/user_helper.h"
#include "capture/walk_text.h"
#include "common/fd_pass.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/spawn.h"

#define ERROR_TEXT_MAX 4096u

struct user_files {
	pthread_mutex_t lock;
	int socket;
	pid_t pid;
	int broken; /* a negative errno: nothing is asked any more */
	uid_t uid;
	uint64_t mount;   /* that of our own folder for the run; 0: it is not about one */
	uint64_t trusted; /* another that was found to be; racing threads find the same */
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

/* It holds nothing that is worth an orderly end. */
static void end(struct user_files *files)
{
	files->socket = fd_close(files->socket);
	if (files->pid > 0)
		user_helper_end(files->pid);
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

/* Who hands over something else wants us to hang: by reading it, or by closing it. It stays open, and
 * he gets nothing more done for as long as we live. */
static pthread_mutex_t distrusted_lock = PTHREAD_MUTEX_INITIALIZER;
static uid_t *distrusted;
static size_t distrusted_count, distrusted_room;

static void distrust(uid_t uid)
{
	pthread_mutex_lock(&distrusted_lock);
	GROW(distrusted, distrusted_count, distrusted_room);
	distrusted[distrusted_count++] = uid;
	pthread_mutex_unlock(&distrusted_lock);
	log_error(
		"a process of user %u sent a descriptor that is none of a file of his: what he submits "
		"is refused until amlagentd is started again",
		(unsigned)uid);
}

static bool is_distrusted(uid_t uid)
{
	bool found = false;

	pthread_mutex_lock(&distrusted_lock);
	for (size_t i = 0; i < distrusted_count; i++)
		found |= distrusted[i] == uid;
	pthread_mutex_unlock(&distrusted_lock);
	return found;
}

int user_files_open(const struct identity *as, const char *path, struct user_files **ret,
	uint64_t *ret_device, uint64_t *ret_inode, char **ret_real)
{
	_cleanup_(user_files_closep) struct user_files *files = NULL;
	int r;

	if (is_distrusted(as->uid))
		return -EPERM;
	files = NEW(struct user_files);
	pthread_mutex_init(&files->lock, NULL);
	files->socket = -EBADF;
	files->uid = as->uid;
	r = start(files, as);
	if (r >= 0)
		r = set_root(files, path, ret_device, ret_inode, ret_real);
	if (r >= 0)
		*ret = TAKE(files);
	return r;
}

void user_files_set_mount(struct user_files *files, int dirfd)
{
	struct file_stamp stamp;

	if (mount_look(dirfd, &stamp, &files->mount) < 0)
		files->mount = 0;
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

/* ---- descriptors of his ---- */

/* May we read it, and close it? 1: it is a pipe. */
static int judge(struct user_files *files, int fd, struct file_stamp *ret)
{
	int flags = fcntl(fd, F_GETFL);
	uint64_t mount;

	if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY || flags & O_PATH ||
		mount_look(fd, ret, &mount) < 0)
		return -EPROTO;
	if (S_ISFIFO(ret->mode))
		return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 1;
	if (!S_ISREG(ret->mode))
		return -EPROTO;
	if (!mount || (mount != files->mount && mount != files->trusted)) {
		if (!mount_is_trusted(mount))
			return -EPROTO;
		files->trusted = mount;
	}
	return 0;
}

static int take_stamp(const struct strbuf *reply, struct file_stamp *ret)
{
	if (reply->size != sizeof(*ret))
		return -EPROTO;
	memcpy(ret, reply->data, sizeof(*ret));
	return S_ISREG(ret->mode) ? 0 : -EPROTO;
}

static int ask_open(struct user_files *files, const char *path, struct strbuf *reply, int *ret_fd)
{
	const struct user_files_open wanted = { files->mount };
	_cleanup_(strbuf_release) struct strbuf request = STRBUF_INIT;

	strbuf_add(&request, &wanted, sizeof(wanted));
	strbuf_adds(&request, path);
	return request.size > USER_FILES_PATH_MAX
		       ? -ENAMETOOLONG
		       : ask(files, USER_FILES_OPEN, request.data, request.size,
				 sizeof(struct file_stamp), reply, ret_fd);
}

int user_files_open_file(struct user_files *files, const char *path, struct file_stamp *ret)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	int fd = -EBADF;
	int r = ask_open(files, path, &reply, &fd);
	int kind = fd < 0 ? -EPROTO : judge(files, fd, ret);

	if (kind < 0 && fd >= 0)
		distrust(files->uid);
	if (kind < 0)
		return r < 0 ? r : -EPROTO;
	if (r >= 0 && kind > 0)
		r = take_stamp(&reply, ret);
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

int user_files_stamp(struct user_files *files, int fd, const char *path, struct file_stamp *ret)
{
	_cleanup_(strbuf_release) struct strbuf reply = STRBUF_INIT;
	int kind = judge(files, fd, ret);
	int r;

	if (kind <= 0)
		return kind;
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
