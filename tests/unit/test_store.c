/* SPDX-License-Identifier: MIT */
/* test_store - blobs: once, whole, durable, and never half-there */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/file.h"
#include "common/mem.h"
#include "store/store.h"

#define LARGE (((size_t)3 << 20) + 17)

/* These stand before libc's: what is flushed is counted, and can be made to fail. */
static _Atomic int file_flushes, dir_flushes, fs_flushes;
static int failing_flush; /* so many from now fails; 0: none */

int fsync(int fd)
{
	struct stat st;

	if (failing_flush && --failing_flush == 0) {
		errno = EIO;
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		dir_flushes++;
	else
		file_flushes++;
	return (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	if (failing_flush && --failing_flush == 0) {
		errno = EIO;
		return -1;
	}
	fs_flushes++;
	return (int)syscall(SYS_syncfs, fd);
}

static int flushes(void)
{
	return file_flushes + dir_flushes + fs_flushes;
}

static void forget_flushes(void)
{
	file_flushes = dir_flushes = fs_flushes = failing_flush = 0;
}

struct fixture {
	char *dir;
	char *root;
	int dirfd;
	struct store *store;
};

static int set_up(void **state)
{
	struct fixture *fixture = NEW(struct fixture);
	const char *base = getenv("TMPDIR");

	fixture->dir = mem_printf("%s/test_store.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(fixture->dir))
		return -1;
	fixture->root = path_join(fixture->dir, "blobs");
	fixture->dirfd = open(fixture->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = fixture;
	if (fixture->dirfd < 0 || store_open(fixture->root, &fixture->store) < 0)
		return -1;
	forget_flushes();
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	forget_flushes();
	store_close(fixture->store);
	fd_close(fixture->dirfd);
	tree_remove(AT_FDCWD, fixture->dir);
	free(fixture->dir);
	free(fixture->root);
	free(fixture);
	return 0;
}

static struct store_batch *begin(struct fixture *fixture)
{
	struct store_batch *batch;

	assert_int_equal(store_batch_begin(fixture->store, &batch), 0);
	return batch;
}

static struct digest keep(struct fixture *fixture, const void *data, size_t size)
{
	struct store_batch *batch = begin(fixture);
	struct digest digest;

	assert_int_equal(store_batch_put(batch, data, size, &digest), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	return digest;
}

static char *blob_file(struct fixture *fixture, const struct digest *digest)
{
	char hex[DIGEST_HEX_SIZE + 1];

	digest_format(digest, hex);
	return mem_printf("%s/sha256/%.2s/%s", fixture->root, hex, hex);
}

static struct stat blob_stat(struct fixture *fixture, const struct digest *digest)
{
	_cleanup_(freep) char *path = blob_file(fixture, digest);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st;
}

static size_t count_names(const char *root, const char *below)
{
	_cleanup_(freep) char *path = path_join(root, below);
	_cleanup_(closedirp) DIR *dir = opendir(path);
	size_t count = 0;

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	return count;
}

static size_t count_blobs(struct fixture *fixture)
{
	size_t count = 0;

	for (unsigned i = 0; i < 256; i++) {
		char name[16];

		snprintf(name, sizeof(name), "sha256/%02x", i);
		count += count_names(fixture->root, name);
	}
	return count;
}

static size_t count_temps(struct fixture *fixture)
{
	return count_names(fixture->root, "tmp");
}

/* Bytes that differ with seed, without long repetitions. */
static char *make_bytes(size_t size, unsigned seed)
{
	char *data = mem_alloc(size + 1);

	for (size_t i = 0; i < size; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (char)(seed >> 24);
	}
	return data;
}

static void make_file(struct fixture *fixture, const char *name, const void *data, size_t size)
{
	_cleanup_(closep) int fd =
		openat(fixture->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0640), 0);
	assert_int_equal(file_write_all(fd, data, size), 0);
}

static struct stat stat_file(struct fixture *fixture, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(fixture->dirfd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static void assert_holds(
	struct fixture *fixture, const struct digest *digest, const void *data, size_t size)
{
	_cleanup_(freep) char *found = NULL;
	size_t found_size;

	assert_int_equal(store_read(fixture->store, digest, size, &found, &found_size), 0);
	assert_int_equal(found_size, size);
	assert_memory_equal(found, data, size);
	assert_int_equal(found[size], 0);
}

static void a_committed_blob_is_a_file_named_by_its_digest(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = keep(fixture, "abc", 3);
	struct digest expected;
	mode_t mask = umask(0);
	struct stat st = blob_stat(fixture, &digest);

	umask(mask);
	digest_of("abc", 3, &expected);
	assert_true(digest_equal(&digest, &expected));
	assert_int_equal(st.st_mode, S_IFREG | (0444 & ~mask));
	assert_int_equal(st.st_nlink, 1);
	assert_true(store_has(fixture->store, &digest));
	assert_holds(fixture, &digest, "abc", 3);
	assert_int_equal(count_temps(fixture), 0);
}

static void the_same_bytes_are_stored_once(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	struct digest digest, again;
	struct stat before;

	for (int i = 0; i < 3; i++)
		assert_int_equal(store_batch_put(batch, "abc", 3, &digest), 0);
	assert_int_equal(count_temps(fixture), 1);
	assert_int_equal(store_batch_commit(batch), 0);
	before = blob_stat(fixture, &digest);
	again = keep(fixture, "abc", 3);
	assert_true(digest_equal(&digest, &again));
	assert_int_equal(blob_stat(fixture, &again).st_ino, before.st_ino);
	assert_int_equal(count_blobs(fixture), 1);
}

static void an_aborted_batch_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) char *large = make_bytes(LARGE, 1);
	struct store_batch *batch = begin(fixture);
	_cleanup_(closep) int fd = -EBADF;
	struct digest small, big;
	uint64_t size;

	make_file(fixture, "large", large, LARGE);
	fd = openat(fixture->dirfd, "large", O_RDONLY | O_CLOEXEC);
	assert_int_equal(store_batch_put(batch, "abc", 3, &small), 0);
	assert_int_equal(store_batch_put_fd(batch, fd, UINT64_MAX, &big, &size), 0);
	assert_int_equal(count_temps(fixture), 2);
	assert_false(store_has(fixture->store, &small));
	store_batch_abort(batch);
	store_batch_abort(NULL);
	assert_false(store_has(fixture->store, &small));
	assert_false(store_has(fixture->store, &big));
	assert_int_equal(count_blobs(fixture) + count_temps(fixture), 0);
}

/* Dies with a batch under way. */
static void crash(struct fixture *fixture)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct store_batch *batch;
		struct digest digest;

		if (store_batch_begin(fixture->store, &batch) < 0 ||
			store_batch_put(batch, "lost", 4, &digest) < 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void what_a_crash_left_is_removed_at_open(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = keep(fixture, "abc", 3);
	struct digest lost;

	digest_of("lost", 4, &lost);
	crash(fixture);
	make_file(fixture, "blobs/tmp/foreign", "x", 1);
	assert_int_equal(count_temps(fixture), 2);
	store_close(fixture->store);
	fixture->store = NULL;
	assert_int_equal(store_open(fixture->root, &fixture->store), 0);
	assert_int_equal(count_temps(fixture), 0);
	assert_false(store_has(fixture->store, &lost));
	assert_holds(fixture, &digest, "abc", 3);
}

static void bytes_come_from_a_pipe_and_from_files_of_any_size(void **state)
{
	static const size_t sizes[] = { 0, 1, ((size_t)1 << 20) - 1, (size_t)1 << 20,
		((size_t)1 << 20) + 1, LARGE, (size_t)17 << 20 };
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	struct digest digests[ARRAY_SIZE(sizes)], piped;
	int ends[2];
	uint64_t size;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(freep) char *data = make_bytes(sizes[i], (unsigned)i);
		_cleanup_(freep) char *name = mem_printf("file%zu", i);
		_cleanup_(closep) int fd = -EBADF;

		make_file(fixture, name, data, sizes[i]);
		fd = openat(fixture->dirfd, name, O_RDONLY | O_CLOEXEC);
		assert_int_equal(store_batch_put_fd(batch, fd, UINT64_MAX, &digests[i], &size), 0);
		assert_int_equal(size, sizes[i]);
	}
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "through a pipe", 14), 14);
	close(ends[1]);
	assert_int_equal(store_batch_put_fd(batch, ends[0], UINT64_MAX, &piped, &size), 0);
	close(ends[0]);
	assert_int_equal(store_batch_commit(batch), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(freep) char *data = make_bytes(sizes[i], (unsigned)i);

		assert_holds(fixture, &digests[i], data, sizes[i]);
	}
	assert_holds(fixture, &piped, "through a pipe", 14);
}

static blkcnt_t blocks_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_blocks;
}

/* Whoever makes a file of holes, which costs him nothing, must not fill our disk with it. */
static void zeros_take_no_room(void **state)
{
	static const size_t size = ((size_t)64 << 20) + 77;
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	_cleanup_(closep) int fd =
		openat(fixture->dirfd, "holes", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	_cleanup_(closep) int blob = -EBADF, copy = -EBADF;
	_cleanup_(freep) char *data = mem_alloc(size);
	struct digest digest;
	uint64_t found;

	memcpy(data + ((size_t)9 << 20), "not all of it", 13);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, "not all of it", 13, (off_t)9 << 20), 13);
	assert_int_equal(store_batch_put_fd(batch, fd, size, &digest, &found), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_equal(found, size);
	assert_holds(fixture, &digest, data, size);
	assert_int_equal(store_open_blob(fixture->store, &digest, &blob, &found), 0);
	assert_true(blocks_of(blob) * 512 < (1 << 20));
	copy = openat(fixture->dirfd, "copy", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(store_copy(fixture->store, &digest, copy), 0);
	assert_true(blocks_of(copy) * 512 < (1 << 20));
	assert_int_equal(lseek(copy, 0, SEEK_END), size);
}

static void more_than_was_agreed_is_not_kept(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	_cleanup_(freep) char *data = make_bytes(LARGE, 3);
	_cleanup_(closep) int fd = -EBADF;
	struct digest digest;
	uint64_t size;

	make_file(fixture, "file", data, LARGE);
	fd = openat(fixture->dirfd, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(store_batch_put_fd(batch, fd, LARGE - 1, &digest, &size), -EFBIG);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_equal(count_temps(fixture), 0);
}

static void reading_starts_at_the_offset(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	struct digest digest;
	uint64_t size;
	_cleanup_(closep) int fd = -EBADF;

	make_file(fixture, "file", "0123456789", 10);
	fd = openat(fixture->dirfd, "file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
	assert_int_equal(store_batch_put_fd(batch, fd, UINT64_MAX, &digest, &size), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_equal(size, 6);
	assert_holds(fixture, &digest, "456789", 6);
}

static void damage(struct fixture *fixture, const struct digest *digest, off_t at)
{
	_cleanup_(freep) char *path = blob_file(fixture, digest);
	_cleanup_(closep) int fd = -EBADF;

	assert_int_equal(chmod(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\x55\xaa", 2, at), 2);
}

static void a_damaged_blob_is_not_handed_on(void **state)
{
	static const size_t sizes[] = { 3, LARGE };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(freep) char *data = make_bytes(sizes[i], 7);
		struct digest digest = keep(fixture, data, sizes[i]);
		_cleanup_(freep) char *found = NULL;
		_cleanup_(closep) int fd = -EBADF;
		struct stat st;
		size_t size;

		damage(fixture, &digest, i ? (off_t)sizes[i] - 1 : 1);
		assert_int_equal(
			store_read(fixture->store, &digest, LARGE + 1, &found, &size), -EBADMSG);
		fd = openat(fixture->dirfd, "copy", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_int_equal(store_copy(fixture->store, &digest, fd), -EBADMSG);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, 0);
	}
}

static void a_copy_is_equal_and_shares_no_bytes_to_write(void **state)
{
	static const size_t sizes[] = { 0, 5, LARGE };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(freep) char *data = make_bytes(sizes[i], 9);
		_cleanup_(freep) char *name = mem_printf("copy%zu", i);
		_cleanup_(strbuf_release) struct strbuf copy = STRBUF_INIT;
		struct digest digest = keep(fixture, data, sizes[i]);
		_cleanup_(closep) int fd =
			openat(fixture->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		assert_int_equal(store_copy(fixture->store, &digest, fd), 0);
		assert_int_equal(file_read(fixture->dirfd, name, LARGE, &copy), 0);
		assert_int_equal(copy.size, sizes[i]);
		if (copy.size)
			assert_memory_equal(copy.data, data, sizes[i]);
		assert_int_equal(pwrite(fd, "overwritten", 11, 0), 11);
		assert_holds(fixture, &digest, data, sizes[i]);
	}
}

static void reading_is_bounded_and_says_what_is_missing(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = keep(fixture, "abc", 3);
	struct digest absent;
	char *data = NULL;
	uint64_t blob_size;
	size_t size;
	int fd = -EBADF;

	digest_of("absent", 6, &absent);
	assert_int_equal(store_read(fixture->store, &digest, 2, &data, &size), -EFBIG);
	assert_int_equal(store_read(fixture->store, &absent, 100, &data, &size), -ENOENT);
	assert_int_equal(store_open_blob(fixture->store, &absent, &fd, &blob_size), -ENOENT);
	assert_int_equal(store_copy(fixture->store, &absent, fixture->dirfd), -ENOENT);
	assert_null(data);
	assert_int_equal(fd, -EBADF);
	assert_int_equal(store_open_blob(fixture->store, &digest, &fd, &blob_size), 0);
	assert_int_equal(blob_size, 3);
	close(fd);
}

static void what_another_batch_has_not_committed_is_not_there(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *first = begin(fixture);
	struct store_batch *second = begin(fixture);
	struct digest digest;

	assert_int_equal(store_batch_put(first, "abc", 3, &digest), 0);
	assert_int_equal(store_batch_put(second, "abc", 3, &digest), 0);
	assert_int_equal(count_temps(fixture), 2);
	assert_int_equal(store_batch_commit(second), 0);
	store_batch_abort(first);
	assert_holds(fixture, &digest, "abc", 3);

	first = begin(fixture);
	second = begin(fixture);
	assert_int_equal(store_batch_put(first, "def", 3, &digest), 0);
	assert_int_equal(store_batch_put(second, "def", 3, &digest), 0);
	assert_int_equal(store_batch_commit(first), 0);
	assert_int_equal(store_batch_commit(second), 0);
	assert_int_equal(count_blobs(fixture), 2);
	assert_int_equal(count_temps(fixture), 0);
}

static void bytes_that_are_there_cost_no_flush(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch;

	keep(fixture, "", 0);
	assert_int_equal(file_flushes, 1);
	assert_int_equal(dir_flushes, 1);
	forget_flushes();
	keep(fixture, "", 0);
	assert_int_equal(store_batch_begin(fixture->store, &batch), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_equal(flushes(), 0);
}

static void a_name_left_by_another_process_is_made_durable_once(void **state)
{
	struct fixture *fixture = *state;

	keep(fixture, "abc", 3);
	store_close(fixture->store);
	fixture->store = NULL;
	assert_int_equal(store_open(fixture->root, &fixture->store), 0);
	forget_flushes();
	keep(fixture, "abc", 3);
	assert_int_equal(dir_flushes, 1);
	assert_int_equal(flushes(), 1);
	keep(fixture, "abc", 3);
	assert_int_equal(flushes(), 1);
}

static void many_files_cost_two_flushes(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);

	for (unsigned i = 0; i < 500; i++) {
		struct digest digest;

		assert_int_equal(store_batch_put(batch, &i, sizeof(i), &digest), 0);
	}
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_equal(count_blobs(fixture), 500);
	assert_int_equal(fs_flushes, 2);
	assert_int_equal(flushes(), 2);
}

static void a_failed_flush_leaves_nothing_new(void **state)
{
	struct fixture *fixture = *state;

	/* The two files, then their directories. */
	for (int at = 1; at <= 4; at++) {
		struct store_batch *batch = begin(fixture);
		struct digest digest, moved;
		uint64_t size;

		make_file(fixture, "output", "0123456789", 10);
		assert_int_equal(store_batch_put(batch, "abc", 3, &digest), 0);
		assert_int_equal(
			store_batch_put_file(batch, fixture->dirfd, "output", &moved, &size), 0);
		failing_flush = at;
		assert_int_equal(store_batch_commit(batch), -EIO);
		assert_int_equal(failing_flush, 0);
		assert_false(store_has(fixture->store, &digest));
		assert_false(store_has(fixture->store, &moved));
		assert_int_equal(count_blobs(fixture) + count_temps(fixture), 0);
		assert_int_equal(stat_file(fixture, "output").st_nlink, 1);
		assert_int_equal(stat_file(fixture, "output").st_mode & 0777, 0640);
		assert_int_equal(unlinkat(fixture->dirfd, "output", 0), 0);
	}
	keep(fixture, "abc", 3);
	assert_int_equal(count_blobs(fixture), 1);
}

static void a_failed_write_fails_the_batch(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit old, low = { .rlim_cur = 100, .rlim_max = RLIM_INFINITY };
	struct store_batch *batch = begin(fixture);
	_cleanup_(freep) char *data = make_bytes(LARGE, 3);
	struct store_writer *writer;
	struct digest digest;
	uint64_t size;

	assert_int_equal(store_writer_begin(fixture->store, &writer), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	low.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_int_equal(store_batch_put(batch, data, LARGE, &digest), -EFBIG);
	assert_int_equal(store_writer_write(writer, data, LARGE), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(store_batch_commit(batch), -EFBIG);
	assert_int_equal(store_writer_write(writer, data, LARGE), -EFBIG);
	assert_int_equal(store_writer_commit(writer, &digest, &size), -EFBIG);
	assert_int_equal(count_blobs(fixture) + count_temps(fixture), 0);
}

static void a_moved_file_becomes_the_blob(void **state)
{
	static const size_t sizes[] = { 0, 10, LARGE, (size_t)17 << 20 };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(freep) char *data = make_bytes(sizes[i], 5);
		_cleanup_(freep) char *name = mem_printf("output%zu", i);
		struct store_batch *batch = begin(fixture);
		struct digest digest, expected;
		struct stat before;
		uint64_t size;

		make_file(fixture, name, data, sizes[i]);
		before = stat_file(fixture, name);
		assert_int_equal(
			store_batch_put_file(batch, fixture->dirfd, name, &digest, &size), 0);
		assert_int_equal(stat_file(fixture, name).st_mode, before.st_mode);
		assert_int_equal(store_batch_commit(batch), 0);
		digest_of(data, sizes[i], &expected);
		assert_true(digest_equal(&digest, &expected));
		assert_int_equal(size, sizes[i]);
		assert_int_equal(blob_stat(fixture, &digest).st_ino, before.st_ino);
		assert_int_equal(blob_stat(fixture, &digest).st_mode & 07777, 0444);
		assert_int_equal(unlinkat(fixture->dirfd, name, 0), 0);
		assert_holds(fixture, &digest, data, sizes[i]);
	}
	assert_int_equal(count_temps(fixture), 0);
}

static void moving_is_undone_by_an_abort(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	struct digest digest;
	uint64_t size;

	make_file(fixture, "output", "abc", 3);
	assert_int_equal(store_batch_put_file(batch, fixture->dirfd, "output", &digest, &size), 0);
	store_batch_abort(batch);
	assert_int_equal(stat_file(fixture, "output").st_nlink, 1);
	assert_int_equal(stat_file(fixture, "output").st_mode & 0777, 0640);
	assert_int_equal(count_blobs(fixture) + count_temps(fixture), 0);
}

static void a_file_with_other_names_is_copied(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	struct digest digest, again;
	uint64_t size;

	make_file(fixture, "mine", "abc", 3);
	assert_int_equal(linkat(fixture->dirfd, "mine", fixture->dirfd, "output", 0), 0);
	assert_int_equal(store_batch_put_file(batch, fixture->dirfd, "output", &digest, &size), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_not_equal(blob_stat(fixture, &digest).st_ino, stat_file(fixture, "mine").st_ino);
	assert_int_equal(stat_file(fixture, "mine").st_nlink, 2);

	/* Moved twice, as after a crash: the second time the blob is there. */
	make_file(fixture, "twice", "twice", 5);
	for (int i = 0; i < 2; i++) {
		batch = begin(fixture);
		assert_int_equal(
			store_batch_put_file(batch, fixture->dirfd, "twice", &again, &size), 0);
		assert_int_equal(store_batch_commit(batch), 0);
		assert_int_equal(stat_file(fixture, "twice").st_nlink, 2);
	}
	assert_int_equal(count_blobs(fixture), 2);
}

static void a_moved_duplicate_stays_where_it_is(void **state)
{
	struct fixture *fixture = *state;
	struct digest stored = keep(fixture, "abc", 3);
	struct store_batch *batch = begin(fixture);
	struct digest digest;
	uint64_t size;

	make_file(fixture, "output", "abc", 3);
	assert_int_equal(store_batch_put_file(batch, fixture->dirfd, "output", &digest, &size), 0);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_true(digest_equal(&digest, &stored));
	assert_int_equal(stat_file(fixture, "output").st_nlink, 1);
	assert_int_equal(stat_file(fixture, "output").st_mode & 0777, 0640);
}

static void only_regular_files_are_moved(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = begin(fixture);
	struct digest digest;
	uint64_t size;

	assert_int_equal(mkfifoat(fixture->dirfd, "pipe", 0600), 0);
	assert_int_equal(symlinkat("/etc/passwd", fixture->dirfd, "link"), 0);
	assert_int_equal(mkdirat(fixture->dirfd, "dir", 0700), 0);
	assert_int_equal(
		store_batch_put_file(batch, fixture->dirfd, "pipe", &digest, &size), -EINVAL);
	assert_int_equal(
		store_batch_put_file(batch, fixture->dirfd, "link", &digest, &size), -ELOOP);
	assert_int_equal(
		store_batch_put_file(batch, fixture->dirfd, "dir", &digest, &size), -EINVAL);
	assert_int_equal(
		store_batch_put_file(batch, fixture->dirfd, "none", &digest, &size), -ENOENT);
	assert_int_equal(store_batch_commit(batch), 0);
	assert_int_equal(count_blobs(fixture), 0);
}

static void a_writer_takes_pieces(void **state)
{
	struct fixture *fixture = *state;
	_cleanup_(freep) char *data = make_bytes(LARGE, 11);
	struct digest digest, expected;
	uint64_t size;

	digest_of(data, LARGE, &expected);
	for (int i = 0; i < 2; i++) {
		struct store_writer *writer;

		assert_int_equal(store_writer_begin(fixture->store, &writer), 0);
		for (size_t at = 0; at < LARGE; at += 65536)
			assert_int_equal(store_writer_write(writer, data + at,
						 LARGE - at < 65536 ? LARGE - at : 65536),
				0);
		assert_int_equal(store_writer_commit(writer, &digest, &size), 0);
		assert_int_equal(size, LARGE);
		assert_true(digest_equal(&digest, &expected));
	}
	assert_holds(fixture, &digest, data, LARGE);
	assert_int_equal(count_blobs(fixture), 1);
	assert_int_equal(count_temps(fixture), 0);
}

static void an_aborted_writer_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct store_writer *writer;

	assert_int_equal(store_writer_begin(fixture->store, &writer), 0);
	assert_int_equal(store_writer_write(writer, "abc", 3), 0);
	store_writer_abort(writer);
	store_writer_abort(NULL);
	assert_int_equal(count_blobs(fixture) + count_temps(fixture), 0);
}

#define THREADS 4
#define NUMBERS 120

struct crowd {
	struct fixture *fixture;
	struct store_batch *batch; /* one for all; NULL: one for each ten puts */
	int failures;
};

static int put_numbers(struct crowd *crowd, unsigned from, unsigned to)
{
	struct store_batch *batch = crowd->batch;
	int r = batch ? 0 : store_batch_begin(crowd->fixture->store, &batch);

	for (unsigned i = from; r >= 0 && i < to; i++) {
		struct digest digest;

		r = store_batch_put(batch, &i, sizeof(i), &digest);
	}
	if (crowd->batch)
		return r;
	if (r >= 0)
		r = store_batch_commit(batch);
	/* Committed is there, whatever the others are at. */
	for (unsigned i = from; r >= 0 && i < to; i++) {
		struct digest digest;

		digest_of(&i, sizeof(i), &digest);
		if (!store_has(crowd->fixture->store, &digest))
			r = -ENOENT;
	}
	return r;
}

static void *put_in_crowd(void *data)
{
	struct crowd *crowd = data;

	for (unsigned i = 0; i < NUMBERS; i += 10)
		if (put_numbers(crowd, i, i + 10) < 0)
			__atomic_fetch_add(&crowd->failures, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void run_crowd(struct crowd *crowd)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, put_in_crowd, crowd), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(crowd->failures, 0);
}

static void threads_share_a_batch(void **state)
{
	struct fixture *fixture = *state;
	struct crowd crowd = { .fixture = fixture, .batch = begin(fixture) };

	run_crowd(&crowd);
	assert_int_equal(count_temps(fixture), NUMBERS);
	assert_int_equal(store_batch_commit(crowd.batch), 0);
	assert_int_equal(count_blobs(fixture), NUMBERS);
	assert_int_equal(count_temps(fixture), 0);
}

static void batches_of_the_same_bytes_meet(void **state)
{
	struct fixture *fixture = *state;
	struct crowd crowd = { .fixture = fixture };

	run_crowd(&crowd);
	assert_int_equal(count_blobs(fixture), NUMBERS);
	assert_int_equal(count_temps(fixture), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_committed_blob_is_a_file_named_by_its_digest),
		TEST(the_same_bytes_are_stored_once),
		TEST(an_aborted_batch_leaves_nothing),
		TEST(what_a_crash_left_is_removed_at_open),
		TEST(bytes_come_from_a_pipe_and_from_files_of_any_size),
		TEST(zeros_take_no_room),
		TEST(more_than_was_agreed_is_not_kept),
		TEST(reading_starts_at_the_offset),
		TEST(a_damaged_blob_is_not_handed_on),
		TEST(a_copy_is_equal_and_shares_no_bytes_to_write),
		TEST(reading_is_bounded_and_says_what_is_missing),
		TEST(what_another_batch_has_not_committed_is_not_there),
		TEST(bytes_that_are_there_cost_no_flush),
		TEST(a_name_left_by_another_process_is_made_durable_once),
		TEST(many_files_cost_two_flushes),
		TEST(a_failed_flush_leaves_nothing_new),
		TEST(a_failed_write_fails_the_batch),
		TEST(a_moved_file_becomes_the_blob),
		TEST(moving_is_undone_by_an_abort),
		TEST(a_file_with_other_names_is_copied),
		TEST(a_moved_duplicate_stays_where_it_is),
		TEST(only_regular_files_are_moved),
		TEST(a_writer_takes_pieces),
		TEST(an_aborted_writer_leaves_nothing),
		TEST(threads_share_a_batch),
		TEST(batches_of_the_same_bytes_meet),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
