/* SPDX-License-Identifier: MIT */
/* output_file - a file below a folder, made whole or not at all; see output_file.h */
#include "cli/output_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"

/* Into the folder `name`, made when it is not there; never through a link. */
static int enter(int folder, const char *name)
{
	int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(folder, name, flags);

	if (fd < 0 && errno == ENOENT) {
		if (mkdirat(folder, name, 0777) < 0 && errno != EEXIST)
			return -errno;
		fd = openat(folder, name, flags);
	}
	return fd < 0 ? -errno : fd;
}

/* The folder that holds the last part of relative, which *ret_name points to. */
static int enter_parent(int root, char *relative, char **ret_name, struct error *err)
{
	_cleanup_(closep) int folder = fcntl(root, F_DUPFD_CLOEXEC, 0);
	char *part = relative;
	char *slash;

	if (folder < 0)
		return error_errno(err, -errno, relative, "cannot write %s", relative);
	while ((slash = strchr(part, '/'))) {
		int next;

		*slash = '\0';
		next = enter(folder, part);
		if (next < 0) {
			bool blocked = next == -ENOTDIR || next == -ELOOP;

			return error_errno(err, next, relative,
				blocked ? "%s is in the way: a file or a link where a folder must be"
					: "cannot make the folder %s",
				relative);
		}
		*slash = '/';
		close(folder);
		folder = next;
		part = slash + 1;
	}
	*ret_name = part;
	return TAKE_FD(folder);
}

int output_file_open(struct output_file *file, int root, const char *relative, struct error *err)
{
	_cleanup_(freep) char *copy = mem_strdup(relative);
	char *name = NULL;

	if (!path_is_inside(relative))
		return error_set(err, -EBADMSG, relative,
			"refusing to write \"%s\": it would lead out of the folder", relative);
	file->folder = enter_parent(root, copy, &name, err);
	if (file->folder < 0)
		return file->folder;
	file->name = mem_strdup(name);
	/* Of this process alone, and out of the way of every artifact's name in practice. */
	snprintf(file->temp, sizeof(file->temp), ".amlctl-%d.part", (int)getpid());
	file->fd = openat(file->folder, file->temp,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (file->fd < 0)
		return error_errno(err, -errno, relative, "cannot write %s", relative);
	return 0;
}

int output_file_commit(struct output_file *file, int64_t modified_us, struct error *err)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };

	if (modified_us)
		times[1] = (struct timespec){ modified_us / USEC_PER_SEC,
			modified_us % USEC_PER_SEC * 1000 };
	if (futimens(file->fd, times) < 0 ||
		renameat(file->folder, file->temp, file->folder, file->name) < 0)
		return error_errno(err, -errno, file->name, "cannot write %s", file->name);
	closep(&file->fd);
	return 0;
}

void output_file_release(struct output_file *file)
{
	if (file->fd >= 0)
		unlinkat(file->folder, file->temp, 0);
	closep(&file->fd);
	closep(&file->folder);
	free(file->name);
	file->name = NULL;
}
