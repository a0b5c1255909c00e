/* SPDX-License-Identifier: MIT */
/*
 * collect - what a run left in outputs/, logs/ and user_logs/, into the store; see collect.h
 *
 * Listed first (collect_list.h), then opened one by one, relative to its directory and without
 * following links, or by a process of the run's user; so that neither a link nor a pipe gets us
 * anywhere. Moving is linking (store.h): all files stay where they are
 * until whoever called removes the run directory, so a failure or a crash here loses nothing.
 */
#include "capture/collect.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "capture/collect_list.h"
#include "capture/folder.h"
#include "capture/user_files.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "store/manifest.h"
#include "store/store.h"

#define MANIFEST_SIZE_MAX ((size_t)1 << 30)

#define OPEN_FILE (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define OPEN_DIRECTORY (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

#define LOG_FOLDER "user_logs"
/* A file may have grown so much when all of it has been read. */
#define COLLECT_GROWTH_MAX (UINT64_C(64) << 20)

/* The files that the three folders had in the snapshot. */
struct baseline {
	bool read;
	char *manifest;                 /* the entries point into it */
	struct manifest_entry *entries; /* by path */
	size_t count, room;
};

struct collector {
	struct store *store;
	struct store_batch *batch;
	const struct collect_options *options;
	struct user_files *user; /* who opens the files; NULL: we do */
	struct folder_cursor cursor;
	struct baseline baseline;
	struct collect_list list;
	struct artifacts found;
	char ***warnings;
	int work_fd;
	int log_link_fd; /* the directory that the log's second name was taken from; negative: none
			  */
	struct error *err;
};

static void collector_release(struct collector *collector)
{
	user_files_close(collector->user);
	folder_cursor_release(&collector->cursor);
	collect_list_release(&collector->list);
	free(collector->baseline.manifest);
	free(collector->baseline.entries);
	artifacts_release(&collector->found);
	fd_close(collector->work_fd);
	fd_close(collector->log_link_fd);
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
		if (entry.type != MANIFEST_FILE || !collect_is_inside(entry.path))
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

static void tell_left_out(struct collector *collector)
{
	const struct collect_list *list = &collector->list;

	for (size_t i = 0; list->warnings && list->warnings[i]; i++)
		strv_add(collector->warnings, list->warnings[i]);
	if (list->left_out > COLLECT_NAMED_MAX)
		strv_addf(collector->warnings, "not kept: %zu more",
			list->left_out - COLLECT_NAMED_MAX);
}

static int fail(struct collector *collector, int r, const char *path)
{
	_cleanup_(freep) char *name = collect_printable(path);

	if (r == -EFBIG)
		return error_set(collector->err, r, name,
			"cannot keep %s: it is larger than the disk, or grows while it is read",
			name);
	return error_errno(collector->err, r, name, "cannot keep %s", name);
}

static int64_t modified_us(const struct stat *st)
{
	return st->st_mtim.tv_sec * USEC_PER_SEC + st->st_mtim.tv_nsec / 1000;
}

/* A file of holes has any size for nothing, and reading it takes its time. -EFBIG: it never fits. */
static int check_room(const struct collector *collector, uint64_t size)
{
	struct statvfs room;

	if (fstatvfs(collector->options->run_dirfd, &room) < 0)
		return -errno;
	if (size / room.f_frsize >= room.f_blocks)
		return -EFBIG;
	return size / room.f_frsize > room.f_bfree ? -ENOSPC : 0;
}

/* What it holds now, and a little more: somebody may write to it for ever. */
static int put_fd(
	struct collector *collector, int fd, uint64_t size, struct digest *ret, uint64_t *ret_size)
{
	int r = check_room(collector, size);

	return r < 0 ? r
		     : store_batch_put_fd(
			       collector->batch, fd, size + COLLECT_GROWTH_MAX, ret, ret_size);
}

static int put_copy(struct collector *collector, int dirfd, const char *name, struct digest *ret,
	uint64_t *ret_size)
{
	_cleanup_(closep) int fd = openat(dirfd, name, OPEN_FILE);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return put_fd(collector, fd, (uint64_t)st.st_size, ret, ret_size);
}

static int put(struct collector *collector, int dirfd, const char *name, struct digest *ret,
	uint64_t *ret_size)
{
	if (collector->options->move)
		return store_batch_put_file(collector->batch, dirfd, name, ret, ret_size);
	return put_copy(collector, dirfd, name, ret, ret_size);
}

static void found(struct collector *collector, const char *path, uint64_t size,
	const struct digest *digest, int64_t modified)
{
	if (!is_unchanged(collector, path, digest))
		artifacts_add(&collector->found, path, size, digest, modified);
}

static int keep_ours(struct collector *collector, const struct artifact *file)
{
	struct digest digest;
	const char *name;
	uint64_t size;
	int dirfd = folder_cursor_parent(&collector->cursor, file->path, &name);
	int r = dirfd < 0 ? dirfd : put(collector, dirfd, name, &digest, &size);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return fail(collector, r, file->path);
	found(collector, file->path, size, &digest, file->modified_us);
	return 0;
}

/* What its own user cannot open is none of the run's output: somebody else's file, by a hard link. */
static bool is_not_his(int r)
{
	return r == -EACCES || r == -EPERM || r == -ELOOP || r == -ENXIO || r == -ENOTDIR ||
	       r == -EXDEV;
}

static int keep_his(struct collector *collector, const struct artifact *file)
{
	struct file_stamp stamp;
	_cleanup_(closep) int fd = user_files_open_file(collector->user, file->path, &stamp);
	struct digest digest;
	uint64_t size;
	int r;

	if (fd == -ENOENT)
		return 0;
	if (is_not_his(fd)) {
		collect_list_leave_out(&collector->list, file->path, "its user cannot read it");
		return 0;
	}
	r = fd < 0 ? fd : put_fd(collector, fd, stamp.size, &digest, &size);
	if (r < 0)
		return fail(collector, r, file->path);
	found(collector, file->path, size, &digest, stamp.mtime / 1000);
	return 0;
}

static int keep_files(struct collector *collector)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < collector->list.files.count; i++) {
		const struct artifact *file = &collector->list.files.items[i];

		r = collector->user ? keep_his(collector, file) : keep_ours(collector, file);
	}
	return r;
}

static int open_work(int run_dirfd)
{
	int fd = openat(run_dirfd, RUN_DIR_WORK, OPEN_DIRECTORY);

	return fd < 0 ? -errno : fd;
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

/* Its name in the run directory is the daemon's, whoever the run is. */
static int collect_log(struct collector *collector)
{
	int run_dirfd = collector->options->run_dirfd;
	struct digest digest;
	struct stat st;
	uint64_t size;
	int r;

	if (fstatat(run_dirfd, RUN_DIR_LOG, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(collector, -errno, RUN_LOG_ARTIFACT);
	if (!S_ISREG(st.st_mode))
		return fail(collector, -EINVAL, RUN_LOG_ARTIFACT);
	if (collector->options->move && collector->work_fd >= 0)
		take_log_link(collector, collector->work_fd, &st);
	r = put(collector, run_dirfd, RUN_DIR_LOG, &digest, &size);
	if (r == -EACCES &&
		fchmodat(run_dirfd, RUN_DIR_LOG, (st.st_mode & 07777) | S_IRUSR, 0) == 0)
		r = put(collector, run_dirfd, RUN_DIR_LOG, &digest, &size);
	if (r < 0)
		return fail(collector, r, RUN_LOG_ARTIFACT);
	found(collector, RUN_LOG_ARTIFACT, size, &digest, modified_us(&st));
	return 0;
}

static int list_ours(struct collector *collector)
{
	collector->work_fd = open_work(collector->options->run_dirfd);
	if (collector->work_fd < 0)
		return collector->work_fd == -ENOENT
			       ? 0
			       : fail(collector, collector->work_fd, RUN_DIR_WORK);
	collector->cursor.root_fd = collector->work_fd;
	return collect_list_make(collector->work_fd, false, &collector->list, collector->err);
}

/* The user has a process open his work/: 0 with NULL when there is none. */
static int open_user(
	const struct collect_options *options, struct user_files **ret, struct error *err)
{
	_cleanup_(freep) char *work = path_join(options->run_dir, RUN_DIR_WORK);
	_cleanup_(freep) char *real = NULL;
	uint64_t device, inode;
	int r = user_files_open(options->as, work, ret, &device, &inode, &real);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return error_errno(err, r, RUN_DIR_WORK, "cannot open %s as its user", work);
	user_files_set_mount(*ret, options->run_dirfd);
	return 0;
}

static int list_his(struct collector *collector)
{
	const struct collect_options *options = collector->options;
	int r = open_user(options, &collector->user, collector->err);

	return r < 0 || !collector->user
		       ? r
		       : user_files_list(collector->user, false, &collector->list, collector->err);
}

static int collect_all(struct collector *collector)
{
	int r = collector->options->as ? list_his(collector) : list_ours(collector);

	if (r >= 0)
		r = keep_files(collector);
	return r < 0 ? r : collect_log(collector);
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
		.cursor = FOLDER_CURSOR_INIT(-EBADF),
		.warnings = warnings,
		.work_fd = -EBADF,
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
	tell_left_out(&collector);
	if (r < 0) {
		put_log_link_back(&collector);
		return error_errno(err, r, NULL, "cannot write to the store");
	}
	hand_over(&collector.found, list);
	return 0;
}

static void add_log(int run_dirfd, struct artifacts *list)
{
	struct stat st;

	if (fstatat(run_dirfd, RUN_DIR_LOG, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		artifacts_add(list, RUN_LOG_ARTIFACT, (uint64_t)st.st_size, NULL, modified_us(&st));
}

static int list_live(const struct collect_options *options, struct collect_list *ret)
{
	_cleanup_(user_files_closep) struct user_files *user = NULL;
	_cleanup_(closep) int work_fd = -EBADF;
	int r;

	if (options->as) {
		r = open_user(options, &user, NULL);
		return r < 0 || !user ? r : user_files_list(user, true, ret, NULL);
	}
	work_fd = open_work(options->run_dirfd);
	return work_fd < 0 ? work_fd : collect_list_make(work_fd, true, ret, NULL);
}

int collect_list_live(const struct collect_options *options, struct artifacts *list)
{
	_cleanup_(collect_list_release) struct collect_list live = { 0 };
	int r = list_live(options, &live);

	if (r < 0 && r != -ENOENT)
		return r;
	add_log(options->run_dirfd, &live.files);
	hand_over(&live.files, list);
	return 0;
}

/* What is wrong with a name is for the caller that it names no file. */
static int not_a_file(int r)
{
	switch (r) {
	case -ELOOP:
	case -EXDEV:
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
static int open_ours(int run_dirfd, const char *path, int *ret_fd)
{
	_cleanup_(closep) int work_fd = open_work(run_dirfd);
	_cleanup_(folder_cursor_release) struct folder_cursor cursor = FOLDER_CURSOR_INIT(work_fd);
	const char *name;
	int dirfd = work_fd < 0 ? work_fd : folder_cursor_parent(&cursor, path, &name);

	return dirfd < 0 ? not_a_file(dirfd) : open_regular(dirfd, name, ret_fd);
}

static int open_his(const struct collect_options *options, const char *path, int *ret_fd)
{
	_cleanup_(user_files_closep) struct user_files *user = NULL;
	int r = open_user(options, &user, NULL);
	struct file_stamp stamp;

	if (r >= 0)
		r = user ? user_files_open_file(user, path, &stamp) : -ENOENT;
	if (r >= 0 && lseek(r, 0, SEEK_CUR) < 0) { /* a pipe: something is mounted there */
		close(r);
		r = -ENOENT;
	}
	if (r < 0)
		return not_a_file(r);
	*ret_fd = r;
	return 0;
}

int collect_open_live(const struct collect_options *options, const char *path, int *ret_fd)
{
	if (!strcmp(path, RUN_LOG_ARTIFACT))
		return open_regular(options->run_dirfd, RUN_DIR_LOG, ret_fd);
	if (!collect_is_inside(path) || !path_is_inside(path))
		return -ENOENT;
	return options->as ? open_his(options, path, ret_fd)
			   : open_ours(options->run_dirfd, path, ret_fd);
}
