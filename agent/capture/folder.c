/* SPDX-License-Identifier: MIT */
/* folder - descriptors of folders below a root, found without following links; see folder.h */
#include "capture/folder.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>

#include "common/mem.h"

#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int open_at_once(int root_fd, const char *path)
{
	struct open_how how = {
		.flags = FOLDER_FLAGS,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* For kernels and seccomp filters that do not know openat2(), and for paths too long for it. */
static int open_part_by_part(int root_fd, char *path)
{
	_cleanup_(closep) int fd = openat(root_fd, ".", FOLDER_FLAGS);
	char *rest = path;
	char *part;

	while (fd >= 0 && (part = strsep(&rest, "/"))) {
		int next = *part ? openat(fd, part, FOLDER_FLAGS) : -EBADF;

		if (!*part)
			continue;
		if (next < 0)
			return -errno;
		fd_close(fd);
		fd = next;
	}
	return fd < 0 ? -errno : TAKE_FD(fd);
}

static bool try_part_by_part(int r)
{
	return r == -ENOSYS || r == -EPERM || r == -EINVAL || r == -EAGAIN || r == -ENAMETOOLONG;
}

int folder_open(int root_fd, const char *path, size_t size)
{
	_cleanup_(freep) char *copy = mem_strndup(size ? path : ".", size ? size : 1);
	int r = size < PATH_MAX ? open_at_once(root_fd, copy) : -ENAMETOOLONG;

	return try_part_by_part(r) ? open_part_by_part(root_fd, copy) : r;
}

int folder_cursor_parent(struct folder_cursor *cursor, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t size = slash ? (size_t)(slash - path) : 0;

	if (cursor->fd < 0 || cursor->path.size != size ||
		(size && memcmp(cursor->path.data, path, size) != 0)) {
		int fd = folder_open(cursor->root_fd, path, size);

		if (fd < 0)
			return fd;
		fd_close(cursor->fd);
		cursor->fd = fd;
		strbuf_clear(&cursor->path);
		strbuf_add(&cursor->path, path, size);
	}
	*ret_name = slash ? slash + 1 : path;
	return cursor->fd;
}

void folder_cursor_release(struct folder_cursor *cursor)
{
	cursor->fd = fd_close(cursor->fd);
	strbuf_release(&cursor->path);
}
