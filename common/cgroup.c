/* SPDX-License-Identifier: MIT */
/* cgroup - the processes of a run in a cgroup of their own; see cgroup.h */
#include "common/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"

#define PROC_FILE_MAX (16u << 20)
/* Cgroups within cgroups that are looked into; cgroup.kill and cgroup.events know no such limit. */
#define DEPTH_MAX 128
#define FREEZE_TRIES 20
#define FREEZE_PAUSE_NS 1000000
/* A flat file of the kernel's ("key value" lines) is shorter than this. */
#define VALUES_SIZE 1024

/* ---- one cgroup ---- */

static int check_type(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return -errno;
	return st.f_type == CGROUP2_SUPER_MAGIC ? 0 : -ENOTSUP;
}

int cgroup_open(const char *path)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int r = fd < 0 ? -errno : check_type(fd);

	return r < 0 ? r : TAKE_FD(fd);
}

int cgroup_make(const char *path)
{
	bool made = mkdir(path, 0755) == 0;
	_cleanup_(closep) int fd = made || errno == EEXIST ? cgroup_open(path) : -errno;
	int r = fd < 0 ? fd : cgroup_is_populated(fd);

	if (r == 0)
		return TAKE_FD(fd);
	if (made)
		rmdir(path);
	return r < 0 ? r : -EBUSY;
}

static int read_text(int fd, const char *name, char *to, size_t room)
{
	_cleanup_(closep) int file = openat(fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t size;

	if (file < 0)
		return -errno;
	do
		size = read(file, to, room - 1);
	while (size < 0 && errno == EINTR);
	if (size < 0)
		return -errno;
	to[size] = '\0';
	return 0;
}

/* The number after "key " at the beginning of a line; of the whole text without a key. -1: none. */
static int64_t find_value(const char *text, const char *key)
{
	size_t size = strlen(key);
	const char *at = text;
	char *end;
	long long value;

	while (size && at && (strncmp(at, key, size) != 0 || at[size] != ' ')) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return -1;
	at += size;
	value = strtoll(at, &end, 10);
	return end == at || value < 0 ? -1 : value;
}

static int64_t read_value(int fd, const char *name, const char *key)
{
	char text[VALUES_SIZE];

	return read_text(fd, name, text, sizeof(text)) < 0 ? -1 : find_value(text, key);
}

int64_t cgroup_memory_peak(int fd)
{
	return read_value(fd, "memory.peak", "");
}

int64_t cgroup_oom_kills(int fd)
{
	return read_value(fd, "memory.events", "oom_kill");
}

int cgroup_watch(int fd)
{
	int watch_fd = openat(fd, "cgroup.events", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return watch_fd < 0 ? -errno : watch_fd;
}

int cgroup_watch_read(int watch_fd)
{
	char text[VALUES_SIZE];
	int64_t value;
	ssize_t size;

	do
		size = pread(watch_fd, text, sizeof(text) - 1, 0);
	while (size < 0 && errno == EINTR);
	if (size < 0) /* ENODEV: it was removed */
		return errno == ENODEV ? 0 : -errno;
	text[size] = '\0';
	value = find_value(text, "populated");
	return value < 0 ? -EIO : value != 0;
}

int cgroup_is_populated(int fd)
{
	_cleanup_(closep) int watch_fd = cgroup_watch(fd);

	if (watch_fd == -ENOENT || watch_fd == -ENODEV)
		return 0;
	return watch_fd < 0 ? watch_fd : cgroup_watch_read(watch_fd);
}

static int write_text(int fd, const char *name, const char *text)
{
	_cleanup_(closep) int file = openat(fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	return file < 0 ? -errno : file_write_all(file, text, strlen(text));
}

/* ---- all that is in it ---- */

static int each_here(int fd, bool (*found)(void *data, pid_t pid), void *data)
{
	_cleanup_(closep) int file = openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	char text[VALUES_SIZE];
	pid_t pid = 0;
	ssize_t size;

	if (file < 0)
		return -errno;
	while ((size = read(file, text, sizeof(text))) > 0 || (size < 0 && errno == EINTR))
		for (ssize_t i = 0; i < size; i++) {
			if (text[i] != '\n') {
				pid = pid * 10 + (text[i] - '0');
				continue;
			}
			/* 0: of a pid namespace that we do not see. */
			if (pid > 0 && !found(data, pid))
				return 0;
			pid = 0;
		}
	return size < 0 ? -errno : 0;
}

static bool is_below(const struct dirent64 *entry)
{
	return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

/* Call for every cgroup directly below; the first failure is returned at the end. Not opendir(),
 * which allocates. */
static int each_below(int fd, int (*visit)(int dirfd, const char *name, void *data), void *data)
{
	_cleanup_(closep) int dirfd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char buffer[1024] __attribute__((aligned(__alignof__(struct dirent64))));
	ssize_t size;
	int result = 0;

	if (dirfd < 0)
		return -errno;
	while ((size = getdents64(dirfd, buffer, sizeof(buffer))) > 0)
		for (ssize_t at = 0; at < size;) {
			const struct dirent64 *entry = (const void *)(buffer + at);
			int r = 0;

			if (is_below(entry))
				r = visit(dirfd, entry->d_name, data);
			if (r < 0 && !result)
				result = r;
			at += entry->d_reclen;
		}
	return size < 0 ? -errno : result;
}

struct visit {
	bool (*found)(void *data, pid_t pid);
	void *data;
	int depth;
};

static int visit_all(int fd, struct visit *visit);

static int visit_below(int dirfd, const char *name, void *data)
{
	_cleanup_(closep) int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct visit below = *(const struct visit *)data;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return ++below.depth > DEPTH_MAX ? -ELOOP : visit_all(fd, &below);
}

static int visit_all(int fd, struct visit *visit)
{
	int here = each_here(fd, visit->found, visit->data);
	int below = each_below(fd, visit_below, visit);

	if (here == -ENOENT || here == -ENODEV) /* it was removed */
		here = 0;
	return here < 0 ? here : below;
}

int cgroup_each(int fd, bool (*found)(void *data, pid_t pid), void *data)
{
	struct visit visit = { found, data, 0 };

	return visit_all(fd, &visit);
}

struct search {
	pid_t pid;
	bool found;
};

static bool compare_pid(void *data, pid_t pid)
{
	struct search *search = data;

	search->found |= pid == search->pid;
	return !search->found;
}

bool cgroup_has(int fd, pid_t pid)
{
	struct search search = { pid, false };

	cgroup_each(fd, compare_pid, &search);
	return search.found;
}

static bool kill_one(void *data, pid_t pid)
{
	(void)data;
	kill(pid, SIGKILL);
	return true;
}

/* What is frozen does not end by itself, so its number stays its own; SIGKILL ends it as it is. */
int cgroup_kill_frozen(int fd)
{
	const struct timespec pause = { .tv_nsec = FREEZE_PAUSE_NS };
	int r = write_text(fd, "cgroup.freeze", "1");

	for (int i = 0; r >= 0 && i < FREEZE_TRIES && cgroup_is_populated(fd) > 0; i++) {
		if (read_value(fd, "cgroup.events", "frozen") == 1)
			return cgroup_each(fd, kill_one, NULL);
		nanosleep(&pause, NULL);
	}
	return r < 0 ? r : cgroup_each(fd, kill_one, NULL);
}

int cgroup_kill(int fd)
{
	int r = write_text(fd, "cgroup.kill", "1");

	return r == -ENOENT && faccessat(fd, "cgroup.events", F_OK, 0) == 0 ? cgroup_kill_frozen(fd)
									    : r;
}

static int remove_below(int dirfd, const char *name, void *data)
{
	int depth = *(const int *)data + 1;
	_cleanup_(closep) int fd = -EBADF;
	int r;

	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY || depth > DEPTH_MAX)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : each_below(fd, remove_below, &depth);
	if (r >= 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

int cgroup_remove(const char *path)
{
	_cleanup_(closep) int fd = -EBADF;
	int depth = 0;
	int r;

	if (rmdir(path) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY)
		return -errno;
	fd = cgroup_open(path);
	if (fd < 0)
		return fd;
	if (cgroup_is_populated(fd) > 0)
		return -EBUSY;
	r = each_below(fd, remove_below, &depth);
	return r >= 0 && rmdir(path) < 0 && errno != ENOENT ? -errno : r;
}

/* ---- the place ---- */

/* Field number n (from 0) of a line of mountinfo, its \ooo undone. malloc'ed, NULL: none. */
static char *mount_field(const char *line, int n)
{
	char *field, *to;

	for (; n > 0 && line; n--) {
		line = strchr(line, ' ');
		line = line ? line + 1 : NULL;
	}
	if (!line)
		return NULL;
	field = to = mem_strndup(line, strcspn(line, " \n"));
	for (const char *from = field; *from; to++) {
		bool escaped = from[0] == '\\' && from[1] && from[2] && from[3];
		char digits[4] = { from[1], escaped ? from[2] : '\0', escaped ? from[3] : '\0' };

		*to = escaped ? (char)strtol(digits, NULL, 8) : *from;
		from += escaped ? 4 : 1;
	}
	*to = '\0';
	return field;
}

static bool is_cgroup2(const char *line)
{
	static const char mark[] = " - cgroup2 ";
	const char *end = strchrnul(line, '\n');
	const char *found = strstr(line, mark);

	return found && found < end;
}

/* The cgroup that we are in ("0::/a/b"), as it is named in the file system. malloc'ed. */
static char *own_path(const char *own)
{
	static const char gone[] = " (deleted)";
	const char *line = !strncmp(own, "0::", 3) ? own : strstr(own, "\n0::");
	_cleanup_(freep) char *path = NULL;
	size_t size;

	if (!line)
		return NULL;
	line = strchr(line, '/');
	path = line ? mem_strndup(line, strcspn(line, "\n")) : NULL;
	size = path ? strlen(path) : 0;
	if (size > sizeof(gone) && !strcmp(path + size - sizeof(gone) + 1, gone))
		return NULL;
	return TAKE(path);
}

/* Of a mount that shows the hierarchy from `root` on: where is the parent of our own cgroup? */
static char *beside_own(const char *mount_point, const char *root, const char *own)
{
	size_t size = strcmp(root, "/") ? strlen(root) : 0;
	const char *below, *last;

	if (!own || strncmp(own, root, size) != 0 || own[size] != '/' || strstr(own, "/.."))
		return NULL;
	below = own + size;
	last = strrchr(below, '/');
	if (!last[1]) /* we are in the topmost one: there is nothing beside it */
		return NULL;
	return mem_printf("%s%.*s/%s", mount_point, (int)(last - below), below, CGROUP_PARENT_NAME);
}

char *cgroup_choose(const char *mountinfo, const char *own, bool root)
{
	_cleanup_(freep) char *own_cgroup = own_path(own);

	for (const char *line = mountinfo; *line;) {
		_cleanup_(freep) char *top = is_cgroup2(line) ? mount_field(line, 3) : NULL;
		_cleanup_(freep) char *point = top ? mount_field(line, 4) : NULL;
		char *chosen = NULL;

		if (point && root)
			chosen = path_join(point, CGROUP_PARENT_NAME);
		else if (point)
			chosen = beside_own(point, top, own_cgroup);
		if (chosen)
			return chosen;
		line = strchrnul(line, '\n');
		line += *line == '\n';
	}
	return NULL;
}

static char *path_above(const char *path)
{
	const char *slash = strrchr(path, '/');

	return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* The one above must be a cgroup already: no folder is left on another file system. */
static int make_parent(const char *path)
{
	_cleanup_(freep) char *above = path_above(path);
	_cleanup_(closep) int above_fd = cgroup_open(above);
	_cleanup_(closep) int fd = -EBADF;

	if (above_fd < 0)
		return above_fd;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = cgroup_open(path);
	if (fd < 0)
		return fd;
	if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return -errno;
	(void)write_text(fd, "cgroup.subtree_control", "+memory");
	return 0;
}

/* To start a process in a cgroup one must be allowed to write to the nearest that holds both. */
static bool may_start_below(const char *parent)
{
	_cleanup_(freep) char *above = path_above(parent);
	_cleanup_(freep) char *procs = path_join(above, "cgroup.procs");

	return faccessat(AT_FDCWD, procs, W_OK, AT_EACCESS) == 0;
}

static char *find_auto(void)
{
	_cleanup_(strbuf_release) struct strbuf mounts = STRBUF_INIT, own = STRBUF_INIT;
	_cleanup_(freep) char *path = NULL;

	if (file_read(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_MAX, &mounts) < 0 ||
		file_read(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, &own) < 0 || !mounts.size ||
		!own.size)
		return NULL;
	path = cgroup_choose(mounts.data, own.data, geteuid() == 0);
	if (!path || !may_start_below(path) || make_parent(path) < 0)
		return NULL;
	return TAKE(path);
}

int cgroup_find_parent(const char *setting, char **ret)
{
	bool is_auto = !strcmp(setting, CGROUP_PARENT_AUTO);
	_cleanup_(freep) char *path = is_auto ? find_auto() : NULL;

	if (!is_auto && strcmp(setting, CGROUP_PARENT_NONE)) {
		int r = setting[0] == '/' ? 0 : -EINVAL;

		path = r < 0 ? NULL : path_absolute(setting);
		r = r < 0 ? r : make_parent(path);
		if (r < 0)
			return r;
	}
	*ret = TAKE(path);
	return 0;
}
