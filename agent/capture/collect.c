/* SPDX-License-Identifier: MIT */
/*
 * collect - what a run left in outputs/, logs/ and user_logs/, into the store; see collect.h
 *
 * Every name is looked at before it is opened and opened relative to its directory, so that neither
 * a link nor a pipe gets us anywhere. Moving is linking (store.h): all files stay where they are
 * until whoever called removes the run directory, so a failure or a crash here loses nothing.
 */
#include "capture/collect.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "common/utf8.h"
#include "store/manifest.h"
#include "store/store.h"

#define DEPTH_MAX 200 /* each level holds a descriptor */
#define NAMED_MAX 20  /* warnings that name a file */
#define MANIFEST_SIZE_MAX ((size_t)1 << 30)

#define OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static const char *const folders[] = { "logs", "user_logs", "outputs" };
#define LIVE_FOLDERS 2 /* the first so many are listed while the run goes on */
#define LOG_FOLDER "user_logs"

/* The files that the three folders had in the snapshot. */
struct baseline {
	bool read;
	char *manifest;                 /* the entries point into it */
	struct manifest_entry *entries; /* by path */
	size_t count, room;
};

struct collector {
	struct store *store;
	struct store_batch *batch; /* NULL: paths and sizes only, of a run that goes on */
	const struct collect_options *options;
	struct baseline baseline;
	struct artifacts found;
	struct strbuf path; /* of what is looked at, relative to work/ */
	char ***warnings;
	size_t left_out;
	int log_link_fd; /* the directory that the log's second name was taken from; negative: none
			  */
	struct error *err;
};

static void collector_release(struct collector *collector)
{
	free(collector->baseline.manifest);
	free(collector->baseline.entries);
	artifacts_release(&collector->found);
	strbuf_release(&collector->path);
	fd_close(collector->log_link_fd);
}

/* A path as one line of text. */
static char *printable(const char *path)
{
	char *text = utf8_sanitize(path, strlen(path));

	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == '\x7f')
			*p = '?';
	return text;
}

static bool in_folders(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		size_t size = strlen(folders[i]);

		if (!strncmp(path, folders[i], size) && path[size] == '/')
			return true;
	}
	return false;
}

static int compare_entries(const void *a, const void *b)
{
	return strcmp(
		((const struct manifest_entry *)a)->path, ((const struct manifest_entry *)b)->path);
}

static int parse_baseline(struct baseline *baseline, size_t size)
{
	struct manifest_reader reader;
	struct manifest_entry entry;
	int r = manifest_open(&reader, baseline->manifest, size);

	while (r >= 0 && (r = manifest_next(&reader, &entry)) > 0) {
		if (entry.type != MANIFEST_FILE || !in_folders(entry.path))
			continue;
		GROW(baseline->entries, baseline->count, baseline->room);
		baseline->entries[baseline->count++] = entry;
	}
	if (baseline->count)
		qsort(baseline->entries, baseline->count, sizeof(entry), compare_entries);
	return r;
}

/* Only once there is a file to compare: most runs begin with empty folders and end with a few. */
static void read_baseline(struct collector *collector)
{
	struct baseline *baseline = &collector->baseline;
	size_t size;
	int r;

	if (baseline->read || !collector->options->snapshot_id)
		return;
	baseline->read = true;
	r = store_read(collector->store, collector->options->snapshot_id, MANIFEST_SIZE_MAX,
		&baseline->manifest, &size);
	if (r >= 0)
		r = parse_baseline(baseline, size);
	if (r >= 0)
		return;
	baseline->count = 0;
	strv_addf(collector->warnings,
		"the snapshot cannot be read (%s): its files in outputs and logs count as the run's",
		strerror(-r));
}

static bool is_unchanged(struct collector *collector, const char *path, const struct digest *digest)
{
	struct manifest_entry key = { .path = path };
	const struct manifest_entry *entry;

	read_baseline(collector);
	if (!collector->baseline.count)
		return false;
	entry = bsearch(&key, collector->baseline.entries, collector->baseline.count, sizeof(key),
		compare_entries);
	return entry && digest_equal(&entry->digest, digest);
}

static void leave_out(struct collector *collector, const char *why)
{
	_cleanup_(freep) char *name = printable(collector->path.data);

	if (!collector->warnings || collector->left_out++ >= NAMED_MAX)
		return;
	strv_addf(collector->warnings, "not kept: %s (%s)", name, why);
}

static void count_left_out(struct collector *collector)
{
	if (collector->left_out > NAMED_MAX)
		strv_addf(collector->warnings, "not kept: %zu more that are not regular files",
			collector->left_out - NAMED_MAX);
}

static int fail(struct collector *collector, int r, const char *path)
{
	_cleanup_(freep) char *name = printable(path);

	return error_errno(collector->err, r, name, "cannot keep %s", name);
}

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFLNK:
		return "a symbolic link";
	case S_IFIFO:
		return "a named pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFDIR:
		return "a directory";
	default:
		return "a device";
	}
}

static int64_t modified_us(const struct stat *st)
{
	return st->st_mtim.tv_sec * USEC_PER_SEC + st->st_mtim.tv_nsec / 1000;
}

static int put_copy(struct store_batch *batch, int dirfd, const char *name, struct digest *ret,
	uint64_t *ret_size)
{
	_cleanup_(closep) int fd = openat(dirfd, name, OPEN_FILE);

	return fd < 0 ? -errno : store_batch_put_fd(batch, fd, ret, ret_size);
}

static int put(struct collector *collector, int dirfd, const char *name, struct digest *ret,
	uint64_t *ret_size)
{
	if (collector->options->move)
		return store_batch_put_file(collector->batch, dirfd, name, ret, ret_size);
	return put_copy(collector->batch, dirfd, name, ret, ret_size);
}

/* The script's user owns its files: what it has forbidden itself to read is its output too. */
static int make_readable(int dirfd, const char *name, mode_t mode, mode_t wanted)
{
	return fchmodat(dirfd, name, (mode & 07777) | wanted, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int keep_file(struct collector *collector, int dirfd, const char *name, const char *path,
	const struct stat *st)
{
	struct digest digest;
	uint64_t size;
	int r = put(collector, dirfd, name, &digest, &size);

	if (r == -EACCES && make_readable(dirfd, name, st->st_mode, S_IRUSR) >= 0)
		r = put(collector, dirfd, name, &digest, &size);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return fail(collector, r, path);
	if (!is_unchanged(collector, path, &digest))
		artifacts_add(&collector->found, path, size, &digest, modified_us(st));
	return 0;
}

static int visit_file(
	struct collector *collector, int dirfd, const char *name, const struct stat *st)
{
	const char *path = collector->path.data;

	if (collector->batch)
		return keep_file(collector, dirfd, name, path, st);
	artifacts_add(&collector->found, path, (uint64_t)st->st_size, NULL, modified_us(st));
	return 0;
}

static int open_to_visit(
	struct collector *collector, int dirfd, const char *name, const struct stat *st, int *ret)
{
	int fd = openat(dirfd, name, OPEN_DIRECTORY);

	if (fd < 0 && errno == EACCES && collector->batch &&
		make_readable(dirfd, name, st->st_mode, S_IRUSR | S_IXUSR) >= 0)
		fd = openat(dirfd, name, OPEN_DIRECTORY);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

static int visit(struct collector *collector, int dirfd, const char *name, unsigned depth);

static int visit_entries(struct collector *collector, DIR *dir, unsigned depth)
{
	struct dirent *entry;
	int r = 0;

	while (r >= 0 && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = visit(collector, dirfd(dir), entry->d_name, depth);
	if (r >= 0 && errno)
		r = fail(collector, -errno, collector->path.data);
	return r;
}

static int visit_directory(struct collector *collector, int dirfd, const char *name,
	const struct stat *st, unsigned depth)
{
	_cleanup_(closep) int fd = -EBADF;
	_cleanup_(closedirp) DIR *dir = NULL;
	int r;

	if (depth > DEPTH_MAX) {
		leave_out(collector, "nested too deeply");
		return 0;
	}
	r = open_to_visit(collector, dirfd, name, st, &fd);
	if (r == -ENOENT || (r < 0 && !collector->batch))
		return 0;
	if (r < 0)
		return fail(collector, r, collector->path.data);
	dir = fdopendir(fd);
	if (!dir)
		return -ENOMEM;
	TAKE_FD(fd);
	return visit_entries(collector, dir, depth + 1);
}

/* The path is that of name; depth 0 is one of the folders. */
static int visit_named(struct collector *collector, int dirfd, const char *name, unsigned depth)
{
	bool is_log = !strcmp(collector->path.data, RUN_LOG_ARTIFACT);
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(collector, -errno, collector->path.data);
	if (S_ISDIR(st.st_mode) && !is_log)
		return visit_directory(collector, dirfd, name, &st, depth);
	if (S_ISREG(st.st_mode) && depth == 0) {
		leave_out(collector, "a file, not a folder");
		return 0;
	}
	if (S_ISREG(st.st_mode))
		/* Under the log's name there is the log, from the run directory. */
		return is_log ? 0 : visit_file(collector, dirfd, name, &st);
	leave_out(collector, kind_of(st.st_mode));
	return 0;
}

static int visit(struct collector *collector, int dirfd, const char *name, unsigned depth)
{
	size_t size = collector->path.size;
	int r;

	if (size)
		strbuf_addc(&collector->path, '/');
	strbuf_adds(&collector->path, name);
	r = visit_named(collector, dirfd, name, depth);
	collector->path.size = size;
	collector->path.data[size] = '\0';
	return r;
}

static int visit_folders(struct collector *collector, int work_fd, size_t count)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < count; i++)
		r = visit(collector, work_fd, folders[i], 0);
	return r;
}

static int open_work(int run_dirfd, int *ret)
{
	int fd = openat(run_dirfd, RUN_DIR_WORK, OPEN_DIRECTORY);

	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

/*
 * The log has a second name in work/. Without it the file has one name and can be moved; a failure
 * puts it back.
 */
static void take_log_link(struct collector *collector, int work_fd, const struct stat *log)
{
	_cleanup_(closep) int fd = openat(work_fd, LOG_FOLDER, OPEN_DIRECTORY);
	struct stat st;

	if (fd < 0 || fstatat(fd, RUN_DIR_LOG, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (st.st_dev != log->st_dev || st.st_ino != log->st_ino)
		return;
	if (unlinkat(fd, RUN_DIR_LOG, 0) == 0)
		collector->log_link_fd = TAKE_FD(fd);
}

static void put_log_link_back(struct collector *collector)
{
	if (collector->log_link_fd >= 0)
		(void)linkat(collector->options->run_dirfd, RUN_DIR_LOG, collector->log_link_fd,
			RUN_DIR_LOG, 0);
}

static int collect_log(struct collector *collector, int work_fd)
{
	int run_dirfd = collector->options->run_dirfd;
	struct stat st;

	if (fstatat(run_dirfd, RUN_DIR_LOG, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(collector, -errno, RUN_LOG_ARTIFACT);
	if (!S_ISREG(st.st_mode))
		return fail(collector, -EINVAL, RUN_LOG_ARTIFACT);
	if (collector->options->move && work_fd >= 0)
		take_log_link(collector, work_fd, &st);
	return keep_file(collector, run_dirfd, RUN_DIR_LOG, RUN_LOG_ARTIFACT, &st);
}

static int collect_all(struct collector *collector)
{
	_cleanup_(closep) int work_fd = -EBADF;
	int r = open_work(collector->options->run_dirfd, &work_fd);

	if (r < 0 && r != -ENOENT)
		return fail(collector, r, RUN_DIR_WORK);
	if (work_fd >= 0)
		r = visit_folders(collector, work_fd, ARRAY_SIZE(folders));
	else
		r = 0;
	return r < 0 ? r : collect_log(collector, work_fd);
}

static void hand_over(struct artifacts *from, struct artifacts *list)
{
	artifacts_sort(from);
	for (size_t i = 0; i < from->count; i++) {
		const struct artifact *item = &from->items[i];

		artifacts_add(list, item->path, item->size, &item->digest, item->modified_us);
	}
}

int collect_outputs(struct store *store, const struct collect_options *options,
	struct artifacts *list, char ***warnings, struct error *err)
{
	_cleanup_(collector_release) struct collector collector = { .store = store,
		.options = options,
		.warnings = warnings,
		.log_link_fd = -EBADF,
		.err = err };
	int r = store_batch_begin(store, &collector.batch);

	if (r < 0)
		return error_errno(err, r, NULL, "cannot write to the store");
	r = collect_all(&collector);
	if (r < 0)
		store_batch_abort(collector.batch);
	else
		r = store_batch_commit(collector.batch);
	count_left_out(&collector);
	if (r < 0) {
		put_log_link_back(&collector);
		return error_errno(err, r, NULL, "cannot write to the store");
	}
	hand_over(&collector.found, list);
	return 0;
}

int collect_list_live(int run_dirfd, struct artifacts *list)
{
	_cleanup_(collector_release) struct collector collector = { .log_link_fd = -EBADF };
	_cleanup_(closep) int work_fd = -EBADF;
	struct stat st;
	int r = open_work(run_dirfd, &work_fd);

	if (r >= 0)
		r = visit_folders(&collector, work_fd, LIVE_FOLDERS);
	if (r < 0 && r != -ENOENT)
		return r;
	if (fstatat(run_dirfd, RUN_DIR_LOG, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		artifacts_add(&collector.found, RUN_LOG_ARTIFACT, (uint64_t)st.st_size, NULL,
			modified_us(&st));
	hand_over(&collector.found, list);
	return 0;
}

/* What is wrong with a name is for the caller that it names no file. */
static int not_a_file(int r)
{
	switch (r) {
	case -ELOOP:
	case -ENOTDIR:
	case -ENXIO:
	case -ENODEV:
	case -ENAMETOOLONG:
		return -ENOENT;
	default:
		return r;
	}
}

static int open_regular(int dirfd, const char *name, int *ret)
{
	_cleanup_(closep) int fd = -EBADF;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return not_a_file(-errno);
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	fd = openat(dirfd, name, OPEN_FILE);
	if (fd < 0 || fstat(fd, &st) < 0)
		return not_a_file(-errno);
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	*ret = TAKE_FD(fd);
	return 0;
}

/* Part by part, each without following a link: there is no way up or out. */
int collect_open_live(int run_dirfd, const char *path, int *ret_fd)
{
	_cleanup_(closep) int fd = -EBADF;
	_cleanup_(freep) char *copy = NULL;
	char *part, *rest;
	int r;

	if (!strcmp(path, RUN_LOG_ARTIFACT))
		return open_regular(run_dirfd, RUN_DIR_LOG, ret_fd);
	if (!in_folders(path) || !path_is_inside(path))
		return -ENOENT;
	r = open_work(run_dirfd, &fd);
	if (r < 0)
		return not_a_file(r);
	rest = copy = mem_strdup(path);
	for (part = strsep(&rest, "/"); rest; part = strsep(&rest, "/")) {
		int below = openat(fd, part, OPEN_DIRECTORY);

		if (below < 0)
			return not_a_file(-errno);
		fd_close(fd);
		fd = below;
	}
	return open_regular(fd, part, ret_fd);
}
