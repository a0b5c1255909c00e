/* SPDX-License-Identifier: MIT */
/*
 * user_files_serve - amlagent-user-helper IDENTITY files: the user's side; see user_files.h
 *
 * One request after the other until the socket is closed. It is the user already: whatever it is asked
 * for, it can do no more than he can.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/collect_list.h"
#include "capture/file_stamp.h"
#include "capture/folder.h"
#include "capture/mount_trust.h"
#include "capture/user_confine.h"
#include "capture/user_files.h"
#include "capture/user_files_wire.h"
#include "capture/walk_text.h"
#include "common/fd_pass.h"
#include "common/file.h"
#include "common/mem.h"

#define FOR_EVER (-1)
#define PIECE (256u * 1024)

struct server {
	int root_fd;
	struct folder_cursor cursor;
	uint64_t trusted; /* a mount that is */
};

struct answer {
	struct strbuf data;
	int fd;
};

static int add_error(struct answer *answer, int r, const struct error *err)
{
	strbuf_add(&answer->data, err->target, strlen(err->target) + 1);
	strbuf_add(&answer->data, err->message, strlen(err->message) + 1);
	return r;
}

static int check_size(struct answer *answer, size_t max)
{
	if (answer->data.size <= max)
		return 0;
	strbuf_clear(&answer->data);
	return -EFBIG;
}

static int set_root(struct server *server, const struct strbuf *request, struct answer *answer)
{
	_cleanup_(closep) int fd = open(request->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(freep) char *real = NULL;
	struct user_files_root root;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	real = realpath(request->data, NULL);
	memset(&root, 0, sizeof(root));
	root.device = st.st_dev;
	root.inode = st.st_ino;
	strbuf_add(&answer->data, &root, sizeof(root));
	strbuf_adds(&answer->data, real ? real : request->data);
	folder_cursor_release(&server->cursor);
	fd_close(server->root_fd);
	server->root_fd = TAKE_FD(fd);
	server->cursor = (struct folder_cursor)FOLDER_CURSOR_INIT(server->root_fd);
	return 0;
}

static int look(struct server *server, const struct strbuf *request, struct answer *answer)
{
	struct stat st;
	uint32_t mode;

	if (fstatat(server->root_fd, request->data, &st, 0) < 0)
		return -errno;
	mode = st.st_mode;
	strbuf_add(&answer->data, &mode, sizeof(mode));
	return 0;
}

static int walk(struct server *server, const struct strbuf *request, struct answer *answer)
{
	_cleanup_(walk_release) struct walk result = { 0 };
	struct user_files_walk wanted;
	struct walk_options options;
	struct error err = ERROR_INIT;
	int r;

	if (request->size != sizeof(wanted))
		return -EINVAL;
	memcpy(&wanted, request->data, sizeof(wanted));
	options =
		(struct walk_options){ wanted.entries_max, wanted.skip_device, wanted.skip_inode };
	r = walk_run(server->root_fd, &options, &result, &err);
	if (r < 0)
		return add_error(answer, r, &err);
	walk_text_format(&result, &answer->data);
	return check_size(answer, WALK_TEXT_MAX);
}

static void add_stamp(struct answer *answer, const struct stat *st)
{
	struct file_stamp stamp;

	memset(&stamp, 0, sizeof(stamp)); /* the padding too */
	stamp = file_stamp_of(st);
	strbuf_add(&answer->data, &stamp, sizeof(stamp));
}

/* Names what the daemon has been told of. The folder's descriptor, the cursor's; or a negative errno. */
static int find(struct server *server, const char *path, const char **ret_name, struct stat *ret)
{
	int dirfd;

	if (!path_is_inside(path))
		return -EINVAL;
	dirfd = folder_cursor_parent(&server->cursor, path, ret_name);
	if (dirfd < 0)
		return dirfd;
	return fstatat(dirfd, *ret_name, ret, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : dirfd;
}

/* All of it, or as much as can be read: the size tells. */
static void pump(int from, int to)
{
	_cleanup_(freep) char *buffer = mem_alloc(PIECE);
	ssize_t n;

	while ((n = read(from, buffer, PIECE)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && file_write_all(to, buffer, (size_t)n) < 0)
			return;
}

/* By a process of its own: this one goes on answering, whatever the file system does. */
static int make_stream(int fd, int *ret)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	(void)fcntl(ends[1], F_SETPIPE_SZ, PIECE);
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		if (user_die_with_parent() >= 0)
			pump(fd, ends[1]);
		_exit(0);
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -EAGAIN;
	}
	*ret = ends[0];
	return 0;
}

/* The daemon does not take a descriptor of a mount that its user can make hang. */
static bool is_taken(struct server *server, int fd, uint64_t mount_given)
{
	struct file_stamp stamp;
	uint64_t mount;

	if (mount_look(fd, &stamp, &mount) < 0)
		return false;
	if (mount && (mount == mount_given || mount == server->trusted))
		return true;
	if (!mount_is_trusted(mount))
		return false;
	server->trusted = mount;
	return true;
}

static int hand_over(struct server *server, int fd, uint64_t mount, struct answer *answer)
{
	_cleanup_(closep) int file = fd;

	if (!is_taken(server, fd, mount))
		return make_stream(fd, &answer->fd);
	answer->fd = TAKE_FD(file);
	return 0;
}

/* What is no regular file by now is not opened. */
static int open_file(struct server *server, const struct strbuf *request, struct answer *answer)
{
	const char *path = request->data + sizeof(struct user_files_open), *name;
	struct user_files_open wanted;
	struct stat st;
	int dirfd, fd;

	if (request->size < sizeof(wanted))
		return -EINVAL;
	memcpy(&wanted, request->data, sizeof(wanted));
	dirfd = find(server, path, &name, &st);
	if (dirfd < 0)
		return dirfd;
	if (!S_ISREG(st.st_mode))
		return S_ISLNK(st.st_mode) ? -ELOOP : -ENXIO;
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) { /* something else stands there by now */
		close(fd);
		return -ENXIO;
	}
	add_stamp(answer, &st);
	return hand_over(server, fd, wanted.mount, answer);
}

static int stamp(struct server *server, const struct strbuf *request, struct answer *answer)
{
	const char *name;
	struct stat st;
	int dirfd = find(server, request->data, &name, &st);

	if (dirfd >= 0)
		add_stamp(answer, &st);
	return dirfd < 0 ? dirfd : 0;
}

static int list(struct server *server, const struct strbuf *request, struct answer *answer)
{
	_cleanup_(collect_list_release) struct collect_list result = { 0 };
	struct user_files_list wanted;
	struct error err = ERROR_INIT;
	int r;

	if (request->size != sizeof(wanted))
		return -EINVAL;
	memcpy(&wanted, request->data, sizeof(wanted));
	r = collect_list_make(server->root_fd, wanted.live, &result, &err);
	if (r < 0)
		return add_error(answer, r, &err);
	collect_list_format(&result, &answer->data);
	return check_size(answer, COLLECT_LIST_TEXT_MAX);
}

static int (*const operations[USER_FILES_OP_COUNT])(
	struct server *server, const struct strbuf *request, struct answer *answer) = {
	[USER_FILES_ROOT] = set_root,
	[USER_FILES_LOOK] = look,
	[USER_FILES_WALK] = walk,
	[USER_FILES_OPEN] = open_file,
	[USER_FILES_STAMP] = stamp,
	[USER_FILES_LIST] = list,
};

static int receive(uint32_t *ret_op, struct strbuf *ret)
{
	struct user_files_request request;
	int r = fd_pass_receive(STDIN_FILENO, &request, sizeof(request), NULL, FOR_EVER);

	if (r < 0)
		return r;
	if (request.op >= USER_FILES_OP_COUNT || request.size > USER_FILES_PATH_MAX)
		return -EBADMSG;
	r = fd_pass_receive(
		STDIN_FILENO, strbuf_reserve(ret, request.size), request.size, NULL, FOR_EVER);
	ret->size = request.size;
	ret->data[request.size] = '\0';
	*ret_op = request.op;
	return r;
}

static int reply(int error, struct answer *answer)
{
	const struct user_files_reply head = { error, (uint32_t)answer->data.size };
	int r = fd_pass_send(STDIN_FILENO, &head, sizeof(head), answer->fd, FOR_EVER);

	return r < 0 ? r
		     : fd_pass_send(STDIN_FILENO, answer->data.data, answer->data.size, -EBADF,
			       FOR_EVER);
}

static int serve_one(struct server *server)
{
	_cleanup_(strbuf_release) struct strbuf request = STRBUF_INIT;
	struct answer answer = { .fd = -EBADF };
	uint32_t op;
	int error, r = receive(&op, &request);

	if (r < 0)
		return r;
	error = server->root_fd < 0 && op != USER_FILES_ROOT
			? -EINVAL
			: operations[op](server, &request, &answer);
	r = reply(error, &answer);
	fd_close(answer.fd);
	strbuf_release(&answer.data);
	return r;
}

int user_files_main(void)
{
	struct server server = { .root_fd = -EBADF, .cursor = FOLDER_CURSOR_INIT(-EBADF) };

	signal(SIGCHLD, SIG_IGN); /* nobody waits for those of make_stream() */
	while (serve_one(&server) >= 0)
		;
	folder_cursor_release(&server.cursor);
	fd_close(server.root_fd);
	return 0;
}
