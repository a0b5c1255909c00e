/* SPDX-License-Identifier: MIT */
/* unowed - a run folder that says itself that it is owed to nobody; see unowed.h */
#include "common/unowed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int unowed_mark(int dirfd)
{
	_cleanup_(closep) int fd =
		openat(dirfd, UNOWED_MARK, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : 0;
}

int unowed_unmark(const char *run_dir)
{
	_cleanup_(freep) char *path = path_join(run_dir, UNOWED_MARK);

	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int unowed_become(const char *run_dir, const char *name)
{
	_cleanup_(freep) char *mark = path_join(run_dir, UNOWED_MARK);
	_cleanup_(freep) char *file = path_join(run_dir, name);

	struct stat st;

	if (lstat(mark, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!st.st_size || faccessat(AT_FDCWD, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return unowed_unmark(run_dir);
	return rename(mark, file) < 0 && errno != ENOENT ? -errno : 0;
}

static int open_dir(int dirfd, const char *path, DIR **ret)
{
	_cleanup_(closep) int fd = openat(dirfd, path, OPEN_DIR);

	if (fd < 0)
		return errno == ELOOP ? -ENOTDIR : -errno;
	*ret = fdopendir(fd);
	if (!*ret)
		return -errno;
	(void)TAKE_FD(fd);
	return 0;
}

/* The next that is no ".", "..". errno is 0 after the last. */
static const char *next_name(DIR *dir)
{
	struct dirent *entry;

	while ((errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return entry->d_name;
	return NULL;
}

int unowed_look(int runs_fd, const char *name)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int r = open_dir(runs_fd, name, &dir);

	if (r < 0)
		return r;
	if (faccessat(dirfd(dir), UNOWED_MARK, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	if (errno != ENOENT)
		return -errno;
	if (next_name(dir))
		return 0;
	return errno ? -errno : 1;
}

/* A crash, or a loss of power, leaves no folder that is half removed and has no mark any more. The
 * mark may come while we are at it: a run can be deleted while its folder is cleaned up. */
static int remove_but_mark(DIR *dir)
{
	const char *name;
	int r = 0;

	while ((name = next_name(dir)))
		if (strcmp(name, UNOWED_MARK) != 0) {
			int one = tree_remove(dirfd(dir), name);

			r = r < 0 ? r : one;
		}
	if (r < 0 || faccessat(dirfd(dir), UNOWED_MARK, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return r;
	return file_fsync(dirfd(dir));
}

int unowed_remove(const char *run_dir)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int r = open_dir(AT_FDCWD, run_dir, &dir);

	r = r < 0 ? 0 : remove_but_mark(dir); /* a link and the like go as they are */
	return r < 0 ? r : tree_remove(AT_FDCWD, run_dir);
}
