/* SPDX-License-Identifier: MIT */
/* cgroup - the processes of a run in a cgroup of their own; see cgroup.h */
#include "common/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"

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

int cgroup_write(int fd, const char *name, const char *text)
{
	_cleanup_(closep) int file = openat(fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	return file < 0 ? -errno : file_write_all(file, text, strlen(text));
}

int cgroup_write_number(int fd, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	return cgroup_write(fd, name, text);
}

void cgroup_enable_controllers(int fd)
{
	static const char *const controllers[] = { "+memory", "+pids", "+cpu" };

	/* One by one: what is not there does not hinder the others. */
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++)
		(void)cgroup_write(fd, "cgroup.subtree_control", controllers[i]);
}

/* The C library has no such call. The parent waits until the child has executed something, or has
 * ended. */
pid_t cgroup_fork(int fd)
{
	struct clone_args args = {
		.flags = CLONE_VFORK,
		.exit_signal = SIGCHLD,
	};
	long pid;

	if (fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (__u64)fd;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	return pid < 0 ? -errno : (pid_t)pid;
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
	int r = cgroup_write(fd, "cgroup.freeze", "1");

	for (int i = 0; r >= 0 && i < FREEZE_TRIES && cgroup_is_populated(fd) > 0; i++) {
		if (read_value(fd, "cgroup.events", "frozen") == 1)
			return cgroup_each(fd, kill_one, NULL);
		nanosleep(&pause, NULL);
	}
	return r < 0 ? r : cgroup_each(fd, kill_one, NULL);
}

int cgroup_kill(int fd)
{
	int r = cgroup_write(fd, "cgroup.kill", "1");

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
