/* SPDX-License-Identifier: MIT */
/* store_check - a look at the store that changes nothing; see store.h */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/mem.h"
#include "store/store_internal.h"

enum blob_flags {
	BLOB_REFERRED = 1 << 0,
	BLOB_READ = 1 << 1, /* its bytes were compared */
	BLOB_DAMAGED = 1 << 2,
	BLOB_GIVEN = 1 << 3, /* by store_check_read() */
	BLOB_GONE = 1 << 4,  /* was there; a batch that failed took it back */
};

struct blob {
	struct digest digest;
	uint64_t size;
	unsigned flags;
};

struct store_check {
	int blobs_fd;
	struct blob *blobs; /* by digest */
	size_t count, room;
	uint64_t bytes; /* of those that were there at the beginning */
	uint64_t temporary, temporary_bytes;
	store_fault_fn fault;
	void *data;
};

static void tell(struct store_check *check, enum store_fault fault, const char *name, int error)
{
	check->fault(check->data, fault, name, error);
}

/* ---- names, kinds, sizes and modes ---- */

static DIR *open_names(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && !dir)
		fd_close(fd);
	return dir;
}

static struct dirent *next_name(DIR *dir)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = readdir(dir);
	} while (entry && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")));
	return entry;
}

/* Is this the name of a blob that belongs into this folder? Of one name alone: lower case. */
static bool parse_name(const char *folder, const char *name, struct digest *ret)
{
	char formatted[DIGEST_HEX_SIZE + 1];

	if (strlen(name) != DIGEST_HEX_SIZE || digest_parse(name, ret) < 0)
		return false;
	digest_format(ret, formatted);
	return !strcmp(formatted, name) && !strncmp(folder, name, 2);
}

static void note_mode(struct store_check *check, const char *path, mode_t mode)
{
	if (!(mode & S_IRUSR))
		tell(check, STORE_FAULT_UNREADABLE, path, -EACCES);
	else if (mode & (S_IWUSR | S_IWGRP | S_IWOTH))
		tell(check, STORE_FAULT_WRITABLE, path, 0);
}

/* Of a file that goes while we look, a batch that failed has taken it back. */
static void note_blob(struct store_check *check, int dirfd, const char *folder, const char *name)
{
	_cleanup_(freep) char *path = mem_printf("%s/%s", folder, name);
	struct blob blob = { 0 };
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			tell(check, STORE_FAULT_UNREADABLE, path, -errno);
		return;
	}
	if (!S_ISREG(st.st_mode) || !parse_name(folder, name, &blob.digest)) {
		tell(check, STORE_FAULT_STRANGE, path, 0);
		return;
	}
	note_mode(check, path, st.st_mode);
	blob.size = (uint64_t)st.st_size;
	check->bytes += blob.size;
	GROW(check->blobs, check->count, check->room);
	check->blobs[check->count++] = blob;
}

static bool is_fanout(const char *name)
{
	return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

static int list_fanout(struct store_check *check, const char *folder)
{
	_cleanup_(closedirp) DIR *dir = NULL;

	if (!is_fanout(folder)) {
		tell(check, STORE_FAULT_STRANGE, folder, 0);
		return 0;
	}
	dir = open_names(check->blobs_fd, folder);
	if (!dir && errno == ENOTDIR) {
		tell(check, STORE_FAULT_STRANGE, folder, 0);
		return 0;
	}
	if (!dir)
		return -errno;
	for (struct dirent *entry; (entry = next_name(dir));)
		note_blob(check, dirfd(dir), folder, entry->d_name);
	return -errno;
}

static int compare(const void *a, const void *b)
{
	return memcmp(((const struct blob *)a)->digest.bytes,
		((const struct blob *)b)->digest.bytes, DIGEST_SIZE);
}

static int list_blobs(struct store_check *check)
{
	_cleanup_(closedirp) DIR *dir = open_names(check->blobs_fd, ".");
	int r = 0;

	if (!dir)
		return -errno;
	for (struct dirent *entry; r >= 0 && (entry = next_name(dir));)
		r = list_fanout(check, entry->d_name);
	if (r >= 0)
		r = -errno;
	if (check->count)
		qsort(check->blobs, check->count, sizeof(*check->blobs), compare);
	return r;
}

static int list_temporary(struct store_check *check, int root_fd)
{
	_cleanup_(closedirp) DIR *dir = open_names(root_fd, "tmp");
	struct stat st;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	for (struct dirent *entry; (entry = next_name(dir));) {
		check->temporary++;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			check->temporary_bytes += (uint64_t)st.st_size;
	}
	return -errno;
}

int store_check_open(const char *root, store_fault_fn fault, void *data, struct store_check **ret)
{
	_cleanup_(store_check_closep) struct store_check *check = NEW(struct store_check);
	_cleanup_(closep) int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	check->blobs_fd = -EBADF;
	check->fault = fault;
	check->data = data;
	if (root_fd < 0)
		return -errno;
	check->blobs_fd = openat(root_fd, "sha256", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (check->blobs_fd < 0 && errno != ENOENT)
		return -errno;
	r = check->blobs_fd < 0 ? 0 : list_blobs(check);
	if (r >= 0)
		r = list_temporary(check, root_fd);
	if (r < 0)
		return r;
	*ret = TAKE(check);
	return 0;
}

void store_check_close(struct store_check *check)
{
	if (!check)
		return;
	fd_close(check->blobs_fd);
	free(check->blobs);
	free(check);
}

/* ---- what is referred to ---- */

/* Where it is, or belongs. */
static size_t place_of(const struct store_check *check, const struct digest *digest)
{
	size_t low = 0;
	size_t high = check->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(check->blobs[middle].digest.bytes, digest->bytes, DIGEST_SIZE) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool stat_blob(
	const struct store_check *check, const struct digest *digest, struct stat *ret)
{
	struct blob_path path = store_blob_path(digest);

	return check->blobs_fd >= 0 &&
	       fstatat(check->blobs_fd, path.text, ret, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(ret->st_mode);
}

/* One that a daemon has stored since we looked at the names. */
static struct blob *add_late(
	struct store_check *check, size_t place, const struct digest *digest, const struct stat *st)
{
	GROW(check->blobs, check->count, check->room);
	memmove(&check->blobs[place + 1], &check->blobs[place],
		(check->count - place) * sizeof(*check->blobs));
	check->blobs[place] = (struct blob){ *digest, (uint64_t)st->st_size, 0 };
	check->count++;
	return &check->blobs[place];
}

static struct blob *find(struct store_check *check, const struct digest *digest)
{
	size_t place = place_of(check, digest);
	struct blob *blob = place < check->count ? &check->blobs[place] : NULL;
	bool known = blob && digest_equal(&blob->digest, digest);
	struct stat st;

	if (known && !(blob->flags & BLOB_GONE))
		return blob;
	if (!stat_blob(check, digest, &st))
		return NULL;
	if (!known)
		return add_late(check, place, digest, &st);
	blob->flags &= ~(unsigned)BLOB_GONE;
	return blob;
}

int store_check_refer(struct store_check *check, const struct digest *digest, uint64_t *ret_size)
{
	struct blob *blob = find(check, digest);

	if (!blob)
		return -ENOENT;
	blob->flags |= BLOB_REFERRED;
	if (ret_size)
		*ret_size = blob->size;
	return blob->flags & BLOB_DAMAGED ? -EBADMSG : 0;
}

/* ---- the bytes ---- */

/* Looking is not reading for the user's sake: the times of access stay, where they are ours. */
static int open_quietly(int dirfd, const char *path)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = openat(dirfd, path, flags | O_NOATIME);

	if (fd < 0 && errno == EPERM)
		fd = openat(dirfd, path, flags);
	return fd < 0 ? -errno : fd;
}

static int read_and_sum(
	int fd, char *buffer, struct store_check_progress *progress, struct digest *ret)
{
	struct digest_sum *sum = digest_sum_new();
	ssize_t n;

	while ((n = store_read_full(fd, buffer, STORE_PIECE)) > 0) {
		digest_sum_update(sum, buffer, (size_t)n);
		progress->done += (uint64_t)n;
		if (progress->tell)
			progress->tell(progress);
	}
	if (n < 0)
		digest_sum_free(sum);
	else
		digest_sum_final(sum, ret);
	return (int)n;
}

static void compare_blob(struct store_check *check, struct blob *blob, char *buffer,
	struct store_check_progress *progress)
{
	struct blob_path path = store_blob_path(&blob->digest);
	_cleanup_(closep) int fd = open_quietly(check->blobs_fd, path.text);
	struct digest found;
	int r;

	if (fd == -ENOENT) {
		blob->flags |= BLOB_GONE; /* who refers to it will miss it */
		return;
	}
	r = fd < 0 ? fd : read_and_sum(fd, buffer, progress, &found);
	if (r < 0) {
		tell(check, STORE_FAULT_UNREADABLE, path.text, r);
		return;
	}
	blob->flags |= BLOB_READ;
	if (digest_equal(&found, &blob->digest))
		return;
	blob->flags |= BLOB_DAMAGED;
	tell(check, STORE_FAULT_DAMAGED, path.text, -EBADMSG);
}

void store_check_bytes(struct store_check *check, struct store_check_progress *progress)
{
	_cleanup_(freep) char *buffer = mem_realloc(NULL, STORE_PIECE);

	progress->done = 0;
	progress->total = check->bytes;
	for (size_t i = 0; i < check->count; i++)
		compare_blob(check, &check->blobs[i], buffer, progress);
}

static int read_blob(
	struct store_check *check, const char *path, const struct blob *blob, char *data)
{
	_cleanup_(closep) int fd = open_quietly(check->blobs_fd, path);
	struct digest found;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = store_read_full(fd, data, blob->size + 1);
	if (n < 0)
		return (int)n;
	digest_of(data, (size_t)n, &found);
	return digest_equal(&found, &blob->digest) ? 0 : -EBADMSG;
}

int store_check_read(struct store_check *check, const struct digest *digest, size_t max, char **ret,
	size_t *ret_size)
{
	struct blob_path path = store_blob_path(digest);
	struct blob *blob = find(check, digest);
	_cleanup_(freep) char *data = NULL;
	int r;

	if (!blob)
		return -ENOENT;
	if (blob->flags & BLOB_GIVEN)
		return -EALREADY;
	if (blob->size > max)
		return -EFBIG;
	data = mem_realloc(NULL, blob->size + 1);
	r = read_blob(check, path.text, blob, data);
	if (r == -EBADMSG)
		blob->flags |= BLOB_DAMAGED;
	if (r < 0)
		return r;
	blob->flags |= BLOB_READ | BLOB_GIVEN;
	data[blob->size] = '\0';
	*ret = TAKE(data);
	*ret_size = blob->size;
	return 0;
}

void store_check_totals(const struct store_check *check, struct store_check_totals *ret)
{
	*ret = (struct store_check_totals){
		.temporary = check->temporary,
		.temporary_bytes = check->temporary_bytes,
	};
	for (size_t i = 0; i < check->count; i++) {
		const struct blob *blob = &check->blobs[i];

		if (blob->flags & BLOB_GONE)
			continue;
		ret->blobs++;
		ret->bytes += blob->size;
		ret->read += (blob->flags & BLOB_READ) != 0;
		if (blob->flags & BLOB_REFERRED)
			continue;
		ret->unreferred++;
		ret->unreferred_bytes += blob->size;
	}
}
