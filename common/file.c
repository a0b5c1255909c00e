/* SPDX-License-Identifier: MIT */
/* file - whole files, atomic replacement, directories; see file.h */
#include "common/file.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fail_point.h"
#include "common/mem.h"

int file_read_fd(int fd, size_t max, struct strbuf *ret)
{
	for (;;) {
		char *to = strbuf_reserve(ret, 8192);
		ssize_t n = read(fd, to, ret->room - ret->size - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		ret->size += (size_t)n;
		ret->data[ret->size] = '\0';
		if (ret->size > max)
			return -EFBIG;
		if (n == 0)
			return 0;
	}
}

int file_read(int dirfd, const char *path, size_t max, struct strbuf *ret)
{
	_cleanup_(closep) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? -errno : file_read_fd(fd, max, ret);
}

int file_write_all(int fd, const void *data, size_t size)
{
	const char *from = data;

	while (size) {
		ssize_t n = fail_point_write(fd, from, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		from += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Smaller holes are written out. */
#define HOLE ((size_t)64 << 10)

static bool is_hole(const char *data, size_t size)
{
	return size >= HOLE && !data[0] && !memcmp(data, data + 1, HOLE - 1);
}

/* The bytes until what `holes` says of them changes, in steps of HOLE. */
static size_t stretch(const char *data, size_t size, bool holes)
{
	size_t n = 0;

	while (n < size && is_hole(data + n, size - n) == holes)
		n += size - n < HOLE ? size - n : HOLE;
	return n;
}

int file_write_sparse(int fd, const void *data, size_t size)
{
	const char *from = data;

	while (size) {
		size_t hole = stretch(from, size, true);
		size_t full = stretch(from + hole, size - hole, false);
		int r = hole && lseek(fd, (off_t)hole, SEEK_CUR) < 0 ? -errno : 0;

		if (r >= 0)
			r = file_write_all(fd, from + hole, full);
		if (r < 0)
			return r;
		from += hole + full;
		size -= hole + full;
	}
	return 0;
}

/* A hole at the end is one only by the size. */
int file_end_sparse(int fd)
{
	off_t end = lseek(fd, 0, SEEK_CUR);

	return end < 0 || ftruncate(fd, end) < 0 ? -errno : 0;
}

int file_fsync(int fd)
{
	int r;

	do
		r = fail_point_fsync(fd);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int write_temp(int dirfd, const char *temp, const void *data, size_t size, mode_t mode,
	enum file_sync sync)
{
	_cleanup_(closep) int fd =
		openat(dirfd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	int r;

	if (fd < 0)
		return -errno;
	r = file_write_all(fd, data, size);
	return r >= 0 && sync == FILE_SYNC ? file_fsync(fd) : r;
}

static int sync_parent(int dirfd, const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_(freep) char *parent =
		slash ? mem_strndup(path, (size_t)(slash - path) + 1) : NULL;
	_cleanup_(closep) int fd =
		openat(dirfd, parent ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : file_fsync(fd);
}

/* Zeros and no hole: only what was written once can be written over without room. */
int file_set_aside(int dirfd, const char *path, mode_t mode)
{
	static const char zeros[FILE_SPARE_SIZE];
	_cleanup_(freep) char *spare = mem_printf("%s" FILE_SPARE_SUFFIX, path);

	return write_temp(dirfd, spare, zeros, sizeof(zeros), mode, FILE_NO_SYNC);
}

static int write_spare(
	int dirfd, const char *spare, const void *data, size_t size, enum file_sync sync)
{
	_cleanup_(closep) int fd = openat(dirfd, spare, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	if (fd < 0 || size > FILE_SPARE_SIZE)
		return -ENOSPC;
	r = file_write_all(fd, data, size);
	if (r >= 0 && ftruncate(fd, (off_t)size) < 0)
		r = -errno;
	return r >= 0 && sync == FILE_SYNC ? file_fsync(fd) : r;
}

/* Take the name of what is to be replaced; temp is gone then, whatever comes of it. */
static int put_in_place(int dirfd, const char *temp, const char *path, int written)
{
	int r = written;

	if (r >= 0 && renameat(dirfd, temp, dirfd, path) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, temp, 0);
	return r;
}

static bool is_full(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

int file_replace(int dirfd, const char *path, const void *data, size_t size, mode_t mode,
	enum file_sync sync)
{
	_cleanup_(freep) char *temp = mem_printf("%s.tmp.%d", path, (int)gettid());
	_cleanup_(freep) char *spare = mem_printf("%s" FILE_SPARE_SUFFIX, path);
	int r = put_in_place(dirfd, temp, path, write_temp(dirfd, temp, data, size, mode, sync));

	if (is_full(r) && faccessat(dirfd, spare, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r = put_in_place(dirfd, spare, path, write_spare(dirfd, spare, data, size, sync));
	if (r < 0)
		return r;
	return sync == FILE_SYNC ? sync_parent(dirfd, path) : 0;
}

/* What lies in it may be promised to last: so does its name. A parent that we may write to but not
 * read cannot be flushed. */
static int make_one(const char *path, mode_t mode)
{
	int r;

	if (mkdir(path, mode) < 0)
		return -errno;
	r = sync_parent(AT_FDCWD, path);
	return r == -EACCES ? 0 : r;
}

int dir_make(const char *path, mode_t mode)
{
	_cleanup_(freep) char *copy = mem_strdup(path);
	struct stat st;
	int r;

	for (char *p = copy + 1; *copy && *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		r = make_one(copy, mode);
		if (r < 0 && r != -EEXIST && r != -EROFS && r != -EACCES)
			return r;
		*p = '/';
	}
	r = make_one(copy, mode);
	if (r < 0 && r != -EEXIST)
		return r;
	if (stat(copy, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* Directories deeper than this are first moved up: a tree may be deeper than the stack or the
 * number of descriptors that we have. */
#define REMOVE_DEPTH 64

struct removal {
	int topfd;      /* the topmost directory, where deep ones are moved to */
	unsigned moved; /* how many were, in this pass */
	unsigned serial;
	int result; /* the first failure */
};

static void remove_entry(struct removal *removal, int dirfd, const char *name, int depth);

static void failed(struct removal *removal)
{
	if (!removal->result && errno != ENOENT)
		removal->result = -errno;
}

static int open_to_empty(int dirfd, const char *name)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, name, flags);

	/* Root is refused by file systems of users alone, and would follow a link here. */
	if (fd < 0 && errno == EACCES && geteuid() != 0 && fchmodat(dirfd, name, 0700, 0) == 0)
		fd = openat(dirfd, name, flags);
	/* One without write permission could not be emptied; root need not care. */
	if (fd >= 0 && geteuid() != 0)
		fchmod(fd, 0700);
	return fd;
}

int dir_open_to_empty(int dirfd, const char *path)
{
	int fd = open_to_empty(dirfd, path);

	if (fd < 0)
		return errno == ELOOP ? -ENOTDIR : -errno;
	return fd;
}

/* Takes over fd. */
static void empty_directory(struct removal *removal, int fd, int depth)
{
	_cleanup_(closedirp) DIR *dir = fdopendir(fd);

	if (!dir) {
		failed(removal);
		close(fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			remove_entry(removal, fd, entry->d_name, depth + 1);
}

static void move_up(struct removal *removal, int dirfd, const char *name)
{
	char to[32];
	int r;

	do {
		snprintf(to, sizeof(to), ".deep.%u", removal->serial++);
		r = renameat2(dirfd, name, removal->topfd, to, RENAME_NOREPLACE);
	} while (r < 0 && errno == EEXIST);
	if (r < 0)
		failed(removal);
	else
		removal->moved++;
}

static void remove_directory(struct removal *removal, int dirfd, const char *name, int depth)
{
	int fd = open_to_empty(dirfd, name);

	if (fd < 0) {
		failed(removal);
		return;
	}
	empty_directory(removal, fd, depth);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
		failed(removal);
}

static void remove_entry(struct removal *removal, int dirfd, const char *name, int depth)
{
	if (unlinkat(dirfd, name, 0) == 0)
		return;
	if (errno != EISDIR && errno != EPERM)
		failed(removal);
	else if (depth > REMOVE_DEPTH && unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
		move_up(removal, dirfd, name);
	else if (depth <= REMOVE_DEPTH)
		remove_directory(removal, dirfd, name, depth);
}

int tree_remove(int dirfd, const char *path)
{
	struct removal removal = { 0 };
	_cleanup_(closep) int topfd = -EBADF;
	bool again = true;

	if (unlinkat(dirfd, path, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM && errno != EACCES)
		return -errno;
	topfd = open_to_empty(dirfd, path);
	if (topfd < 0) /* another may be at it, too */
		return errno == ENOENT ? 0 : -errno;
	removal.topfd = topfd;
	/* Each pass that moved something has made the tree less deep. */
	while (again && !removal.result) {
		int fd = openat(topfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		removal.moved = 0;
		if (fd < 0)
			return errno == ENOENT ? 0 : -errno;
		empty_directory(&removal, fd, 0);
		again = removal.moved > 0;
	}
	if (unlinkat(dirfd, path, AT_REMOVEDIR) < 0)
		failed(&removal);
	return removal.result;
}

bool path_is_inside(const char *relative)
{
	for (const char *part = relative;; part++) {
		size_t size = strcspn(part, "/");

		if (size == 0 || (size == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		part += size;
		if (!*part)
			return true;
	}
}

char *path_join(const char *dir, const char *name)
{
	size_t size = strlen(dir);

	if (name[0] == '/')
		return mem_strdup(name);
	return mem_printf("%s%s%s", dir, size && dir[size - 1] == '/' ? "" : "/", name);
}

static void append_normal(struct strbuf *out, const char *path)
{
	while (*path) {
		size_t size = strcspn(path, "/");

		if (size == 2 && !strncmp(path, "..", 2)) {
			while (out->size && out->data[--out->size] != '/')
				;
		} else if (size && !(size == 1 && path[0] == '.')) {
			strbuf_addc(out, '/');
			strbuf_add(out, path, size);
		}
		path += size + (path[size] == '/');
	}
}

char *path_absolute(const char *path)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	if (path[0] != '/') {
		_cleanup_(freep) char *cwd = getcwd(NULL, 0);

		if (!cwd)
			return NULL;
		append_normal(&out, cwd);
	}
	append_normal(&out, path);
	if (!out.size)
		strbuf_addc(&out, '/');
	out.data[out.size] = '\0';
	return strbuf_steal(&out);
}
