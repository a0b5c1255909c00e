/* SPDX-License-Identifier: MIT */
/* give_away - a tree that root has made becomes a user's; see give_away.h */
#include "runs/give_away.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"

#define DEPTH_USUAL 100

struct giving {
	uid_t uid;
	gid_t gid;
	struct error *err;
};

static int fail(const struct giving *giving, int r, const char *name)
{
	if (r == -EDQUOT)
		return error_set(giving->err, -EPERM, NULL,
			"the disk quota of the run's user does not take its folder");
	return error_errno(giving->err, r, NULL, "cannot give \"%s\" to the run's user", name);
}

static int give_content(const struct giving *giving, int fd, int depth);

static int give_folder(const struct giving *giving, int dirfd, const char *name, int depth)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	/* One descriptor a level: who nests thousands is not to look like a machine without. */
	if (fd < 0)
		return fail(giving, errno == EMFILE && depth > DEPTH_USUAL ? -ELOOP : -errno, name);
	return give_content(giving, fd, depth + 1);
}

static int give(const struct giving *giving, int dirfd, const char *name, int depth)
{
	struct stat st;
	int r = 0;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(giving, -errno, name);
	if (S_ISDIR(st.st_mode) && st.st_mode & (S_ISUID | S_ISGID))
		return fail(giving, -EPERM, name);
	if (S_ISDIR(st.st_mode))
		r = give_folder(giving, dirfd, name, depth);
	if (r >= 0 && fchownat(dirfd, name, giving->uid, giving->gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = fail(giving, -errno, name);
	return r;
}

/* Takes over fd. */
static int give_content(const struct giving *giving, int fd, int depth)
{
	_cleanup_(closedirp) DIR *dir = fdopendir(fd);
	int r = 0;

	if (!dir) {
		r = fail(giving, -errno, ".");
		fd_close(fd);
		return r;
	}
	errno = 0;
	for (struct dirent *entry; r >= 0 && (entry = readdir(dir)); errno = 0)
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			r = give(giving, fd, entry->d_name, depth);
	return r >= 0 && errno ? fail(giving, -errno, ".") : r;
}

int give_away(int dirfd, uid_t uid, gid_t gid, struct error *err)
{
	const struct giving giving = { uid, gid, err };
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? fail(&giving, -errno, "work") : give_content(&giving, fd, 0);

	if (r >= 0 && fchown(dirfd, uid, gid) < 0)
		r = fail(&giving, -errno, "work");
	return r;
}
