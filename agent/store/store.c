/* SPDX-License-Identifier: MIT */
/* store - content-addressed blobs, stored once: opening and reading; see store.h, store_batch.c */
#include "store/store.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "common/file.h"
#include "common/mem.h"
#include "store/store_internal.h"

static int open_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int make_dir(int dirfd, const char *name)
{
	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* What a crash left half-written. */
static int empty_temp(int temp_fd)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int fd = open_dir(temp_fd, ".");
	int r = 0;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	for (struct dirent *entry; r >= 0 && (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = tree_remove(temp_fd, entry->d_name);
	return r;
}

/* All at once: then no batch ever has to make one durable. fsync of an old one costs 40 us. */
static int make_fanout(struct store *store)
{
	for (unsigned i = 0; i < STORE_FANOUT; i++) {
		char name[3];
		int r;

		snprintf(name, sizeof(name), "%02hhx", (unsigned char)i);
		r = make_dir(store->blobs_fd, name);
		if (r < 0)
			return r;
	}
	return file_fsync(store->blobs_fd);
}

static int open_folders(struct store *store, const char *root)
{
	_cleanup_(closep) int parent_fd = -EBADF;
	int r = dir_make(root, 0700);

	if (r < 0)
		return r;
	store->root_fd = open_dir(AT_FDCWD, root);
	if (store->root_fd < 0)
		return store->root_fd;
	r = make_dir(store->root_fd, "sha256");
	if (r >= 0)
		r = make_dir(store->root_fd, "tmp");
	if (r < 0)
		return r;
	store->blobs_fd = open_dir(store->root_fd, "sha256");
	if (store->blobs_fd < 0)
		return store->blobs_fd;
	store->temp_fd = open_dir(store->root_fd, "tmp");
	if (store->temp_fd < 0)
		return store->temp_fd;
	parent_fd = open_dir(store->root_fd, "..");
	if (parent_fd < 0)
		return parent_fd;
	r = file_fsync(store->root_fd);
	return r < 0 ? r : file_fsync(parent_fd);
}

int store_open(const char *root, struct store **ret)
{
	_cleanup_(store_closep) struct store *store = NEW(struct store);
	int r;

	store->root_fd = store->blobs_fd = store->temp_fd = -EBADF;
	pthread_mutex_init(&store->publish_lock, NULL);
	r = open_folders(store, root);
	if (r >= 0)
		r = make_fanout(store);
	if (r >= 0)
		r = empty_temp(store->temp_fd);
	if (r < 0)
		return r;
	*ret = TAKE(store);
	return 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	fd_close(store->root_fd);
	fd_close(store->blobs_fd);
	fd_close(store->temp_fd);
	pthread_mutex_destroy(&store->publish_lock);
	free(store);
}

static bool is_empty(int dirfd, const char *name)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	int fd = open_dir(dirfd, name);
	bool found = false;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd_close(fd);
		return fd == -ENOENT;
	}
	for (struct dirent *entry; !found && (entry = readdir(dir));)
		found = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	return !found;
}

bool store_is_empty(const struct store *store)
{
	for (unsigned i = 0; i < STORE_FANOUT; i++) {
		char name[3];

		snprintf(name, sizeof(name), "%02hhx", (unsigned char)i);
		if (!is_empty(store->blobs_fd, name))
			return false;
	}
	return true;
}

struct blob_path store_blob_path(const struct digest *digest)
{
	struct blob_path path;

	digest_format(digest, path.text + 3);
	memcpy(path.text, path.text + 3, 2);
	path.text[2] = '/';
	return path;
}

struct temp_name store_temp_name(unsigned long long temp)
{
	struct temp_name name;

	snprintf(name.text, sizeof(name.text), "%llx", temp);
	return name;
}

unsigned long long store_temp_new(struct store *store)
{
	return atomic_fetch_add(&store->next_temp, 1);
}

/* The umask of the process may take more away; the folder is the owner's alone in any case. */
int store_temp_open(struct store *store, unsigned long long temp)
{
	struct temp_name name = store_temp_name(temp);
	int fd = openat(store->temp_fd, name.text,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);

	return fd < 0 ? -errno : fd;
}

void store_temp_remove(struct store *store, unsigned long long temp)
{
	struct temp_name name = store_temp_name(temp);

	unlinkat(store->temp_fd, name.text, 0);
}

static int name_exists(struct store *store, const struct digest *digest)
{
	struct blob_path path = store_blob_path(digest);

	if (faccessat(store->blobs_fd, path.text, F_OK, 0) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int store_look(struct store *store, const struct digest *digest)
{
	atomic_uint *epoch = &store->epoch[store_fanout_of(digest)];
	unsigned before = atomic_load(epoch);
	int r = name_exists(store, digest);

	if (r <= 0 || (before % 2 == 0 && atomic_load(epoch) == before))
		return r;
	pthread_mutex_lock(&store->publish_lock);
	r = name_exists(store, digest);
	pthread_mutex_unlock(&store->publish_lock);
	return r;
}

bool store_has(struct store *store, const struct digest *digest)
{
	return store_look(store, digest) > 0;
}

int store_open_blob(
	struct store *store, const struct digest *digest, int *ret_fd, uint64_t *ret_size)
{
	struct blob_path path = store_blob_path(digest);
	_cleanup_(closep) int fd =
		openat(store->blobs_fd, path.text, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* A pipe that is not to be waited for in vain. */
static int wait_for_bytes(int fd)
{
	struct pollfd look = { .fd = fd, .events = POLLIN };
	int n = poll(&look, 1, STORE_STREAM_TIMEOUT_MS);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n ? 0 : -ETIMEDOUT;
}

ssize_t store_read_full(int fd, void *to, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(fd, (char *)to + have, size - have);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n < 0 && errno == EAGAIN) {
			int r = wait_for_bytes(fd);

			if (r < 0)
				return r;
		}
		if (n == 0)
			break;
		have += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)have;
}

/* All of an open blob that should have size bytes; data has room for one more. */
static int read_whole(int fd, const struct digest *digest, char *data, size_t size)
{
	struct digest found;
	ssize_t n = store_read_full(fd, data, size + 1);

	if (n < 0)
		return (int)n;
	if ((size_t)n != size)
		return -EBADMSG;
	digest_of(data, size, &found);
	return digest_equal(&found, digest) ? 0 : -EBADMSG;
}

int store_read(
	struct store *store, const struct digest *digest, size_t max, char **ret, size_t *ret_size)
{
	_cleanup_(closep) int fd = -EBADF;
	_cleanup_(freep) char *data = NULL;
	uint64_t size;
	int r = store_open_blob(store, digest, &fd, &size);

	if (r < 0)
		return r;
	if (size > max)
		return -EFBIG;
	data = mem_realloc(NULL, size + 1);
	r = read_whole(fd, digest, data, size);
	if (r < 0)
		return r;
	data[size] = '\0';
	*ret = TAKE(data);
	*ret_size = size;
	return 0;
}

/* From fd's offset to its end: sum it, and write it into to unless that is negative. */
static int copy_pieces(int fd, int to, const struct digest *digest)
{
	_cleanup_(freep) char *data = mem_realloc(NULL, STORE_PIECE);
	struct digest_sum *sum = digest_sum_new();
	struct digest found;
	ssize_t n;
	int r = 0;

	while (r >= 0 && (n = store_read_full(fd, data, STORE_PIECE)) != 0) {
		r = n < 0 ? (int)n : 0;
		if (r < 0)
			break;
		digest_sum_update(sum, data, (size_t)n);
		if (to >= 0)
			r = file_write_sparse(to, data, (size_t)n);
	}
	digest_sum_final(sum, &found);
	if (r >= 0 && to >= 0)
		r = file_end_sparse(to);
	if (r >= 0 && !digest_equal(&found, digest))
		r = -EBADMSG;
	return r;
}

static int copy_small(int from, int to, const struct digest *digest, size_t size)
{
	_cleanup_(freep) char *data = mem_realloc(NULL, size + 1);
	int r = read_whole(from, digest, data, size);

	return r < 0 ? r : file_write_all(to, data, size);
}

int store_copy(struct store *store, const struct digest *digest, int fd)
{
	_cleanup_(closep) int from = -EBADF;
	uint64_t size;
	int r = store_open_blob(store, digest, &from, &size);

	if (r < 0)
		return r;
	if (size <= STORE_PIECE)
		return copy_small(from, fd, digest, size);
	if (ioctl(fd, FICLONE, from) == 0)
		r = copy_pieces(from, -EBADF, digest);
	else
		r = copy_pieces(from, fd, digest);
	/* What is wrong must not be taken for the file, whoever looks at it later. */
	if (r < 0 && ftruncate(fd, 0) < 0 && r != -EBADMSG)
		r = -errno;
	return r;
}
