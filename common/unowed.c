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

#define REMOVE_TRIES 100 /* more than one user can have deletes of one run under way */
#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

int unowed_mark(const char *run_dir)
{
	_cleanup_(closep) int dirfd = open(run_dir, OPEN_DIR);
	_cleanup_(closep) int fd = -EBADF;

	if (dirfd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	fd = openat(dirfd, UNOWED_MARK, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return file_fsync(dirfd);
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

/* Takes over fd. */
static int dir_of(int fd, DIR **ret)
{
	_cleanup_(closep) int mine = fd;

	*ret = fdopendir(mine);
	if (!*ret)
		return -errno;
	(void)TAKE_FD(mine);
	return 0;
}

static int open_dir(int dirfd, const char *path, DIR **ret)
{
	int fd = openat(dirfd, path, OPEN_DIR);

	if (fd < 0)
		return errno == ELOOP ? -ENOTDIR : -errno;
	return dir_of(fd, ret);
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

static int is_marked(DIR *dir)
{
	if (faccessat(dirfd(dir), UNOWED_MARK, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

/* The mark is the last that goes, so it is looked for before all else; and the first that comes, so it is
 * looked for after it. */
int unowed_look(int runs_fd, const char *name)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	const char *entry;
	int r = open_dir(runs_fd, name, &dir);

	r = r < 0 ? r : is_marked(dir);
	if (r != 0)
		return r;
	while ((entry = next_name(dir)) && !strcmp(entry, UNOWED_MARK))
		;
	if (!entry)
		return errno ? -errno : 1;
	return is_marked(dir);
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
	return r < 0 || is_marked(dir) <= 0 ? r : file_fsync(dirfd(dir));
}

static int remove_once(const char *run_dir)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int fd = dir_open_to_empty(AT_FDCWD, run_dir);
	int r = fd < 0 ? fd : dir_of(fd, &dir);

	if (r >= 0)
		r = remove_but_mark(dir);
	else if (r == -ENOTDIR || r == -ENOENT)
		r = 0; /* a link and the like go as they are */
	return r < 0 ? r : tree_remove(AT_FDCWD, run_dir);
}

/* A mark that came after the last look keeps the folder there. It comes once from each delete. */
int unowed_remove(const char *run_dir)
{
	int r = -ENOTEMPTY;

	for (int i = 0; r == -ENOTEMPTY && i < REMOVE_TRIES; i++)
		r = remove_once(run_dir);
	return r == -ENOENT ? 0 : r; /* somebody else was faster */
}
