/* SPDX-License-Identifier: MIT */
/* source - a folder to be looked at with somebody's rights; see source.h */
#include "capture/source.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/user_files.h"
#include "common/mem.h"

#define TARGET "source_directory"

static int open_ours(const char *path, struct source *source)
{
	struct stat st;

	source->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source->root_fd < 0 || fstat(source->root_fd, &st) < 0)
		return -errno;
	source->device = st.st_dev;
	source->inode = st.st_ino;
	source->name = realpath(path, NULL);
	if (!source->name)
		source->name = mem_strdup(path);
	return 0;
}

/* Two users at one path have two names for it: what the one has read is not known to the other. */
static int open_his(const struct identity *as, const char *path, struct source *source)
{
	_cleanup_(freep) char *real = NULL;
	int r = user_files_open(as, path, &source->user, &source->device, &source->inode, &real);

	if (r >= 0)
		source->name = mem_printf("%u:%s", (unsigned)as->uid, real);
	return r;
}

/* A broken mount of a user's is no fault of ours. */
static bool is_of_his_file_system(int r)
{
	static const int faults[] = { -ENOTCONN, -EIO, -ESTALE, -ECONNABORTED, -EHOSTDOWN,
		-ENODEV };

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		if (r == faults[i])
			return true;
	return false;
}

static int explain(int r, const char *path, struct error *err)
{
	switch (r) {
	case -ENOENT:
		return error_set(err, r, TARGET, TARGET ": no such folder: %s", path);
	case -ENOTDIR:
		return error_set(err, r, TARGET, TARGET ": not a folder: %s", path);
	case -EACCES:
		return error_set(err, r, TARGET,
			TARGET ": no permission to read %s: change that (chmod u+rx)", path);
	case -ETIMEDOUT:
		return error_set(
			err, r, TARGET, TARGET ": %s does not answer: its file system hangs", path);
	case -ENOPKG:
		return error_set(err, r, NULL,
			"amlagent-user-helper is not installed: install amlagent again");
	default:
		return error_errno(err, r, TARGET, TARGET ": cannot open %s", path);
	}
}

int source_open(const struct identity *as, const char *path, struct source *ret, struct error *err)
{
	_cleanup_(source_close) struct source source = SOURCE_INIT;
	int r;

	if (!*path)
		return error_set(err, -EINVAL, TARGET, TARGET ": the name is empty");
	r = as ? open_his(as, path, &source) : open_ours(path, &source);
	if (r < 0 && as && is_of_his_file_system(r))
		return error_set(
			err, -EINVAL, TARGET, TARGET ": cannot open %s: %s", path, strerror(-r));
	if (r < 0)
		return explain(r, path, err);
	*ret = source;
	source = (struct source)SOURCE_INIT;
	return 0;
}

void source_close(struct source *source)
{
	user_files_close(source->user);
	fd_close(source->root_fd);
	free(source->name);
	*source = (struct source)SOURCE_INIT;
}

int source_walk(const struct source *source, const struct walk_options *options, struct walk *ret,
	struct error *err)
{
	return source->user ? user_files_walk(source->user, options, ret, err)
			    : walk_run(source->root_fd, options, ret, err);
}

int source_look(const struct source *source, const char *path, mode_t *ret)
{
	struct stat st;

	if (source->user)
		return user_files_look(source->user, path, ret);
	if (fstatat(source->root_fd, path, &st, 0) < 0)
		return -errno;
	*ret = st.st_mode;
	return 0;
}

static int stamp_ours(int fd, struct file_stamp *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = file_stamp_of(&st);
	return 0;
}

int source_open_file(const struct source *source, struct folder_cursor *cursor, const char *path,
	struct file_stamp *ret)
{
	_cleanup_(closep) int fd = -EBADF;
	const char *name;
	int dirfd, r;

	if (source->user)
		return user_files_open_file(source->user, path, ret);
	dirfd = folder_cursor_parent(cursor, path, &name);
	if (dirfd < 0)
		return dirfd;
	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	r = fd < 0 ? -errno : stamp_ours(fd, ret);
	return r < 0 ? r : TAKE_FD(fd);
}

int source_stamp(const struct source *source, int fd, const char *path, struct file_stamp *ret)
{
	return source->user ? user_files_stamp(source->user, fd, path, ret) : stamp_ours(fd, ret);
}
