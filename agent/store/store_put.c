/* SPDX-License-Identifier: MIT */
/*
 * store_put - bytes on their way into tmp/; see store.h, store_batch.c
 *
 * Most files are small: they are read whole, hashed, looked up and only then written, if at all. A
 * large one is written while it is hashed, and its writeback started meanwhile, so that the flush
 * at the commit finds little left to do.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "store/store_internal.h"

/* Writeback is asked for in steps of this size. */
#define WRITEBACK_STEP ((uint64_t)8 << 20)

static int write_temp(struct store *store, unsigned long long temp, const void *data, size_t size)
{
	_cleanup_(closep) int fd = store_temp_open(store, temp);

	return fd < 0 ? fd : FAIL_POINT(FAIL_BLOB_WRITE, file_write_all(fd, data, size));
}

int store_batch_put(struct store_batch *batch, const void *data, size_t size, struct digest *ret)
{
	unsigned long long temp = store_temp_new(store_batch_store(batch));
	struct digest digest;
	int r;

	digest_of(data, size, &digest);
	r = store_batch_claim(batch, &digest, temp, false);
	if (r > 0)
		r = write_temp(store_batch_store(batch), temp, data, size);
	if (r < 0) {
		store_batch_fail(batch, r);
		return r;
	}
	*ret = digest;
	return 0;
}

/* A large sequence of bytes on its way: hashed, and copied or got onto the disk where it is. */
struct pump {
	int to; /* negative: no copy, the bytes of `in_place` itself are kept */
	int in_place;
	struct digest_sum *sum;
	uint64_t size;    /* so far */
	uint64_t max;     /* more is -EFBIG */
	uint64_t started; /* writeback was asked for up to here */
};

/* A copy is written behind, a file that is there ahead. A hint: the commit does what is left. */
static void pump_writeback(struct pump *pump)
{
	uint64_t due = pump->to < 0 ? pump->size + WRITEBACK_STEP : pump->size;
	int fd = pump->to < 0 ? pump->in_place : pump->to;

	while (pump->started + WRITEBACK_STEP <= due) {
		(void)sync_file_range(
			fd, (off64_t)pump->started, (off64_t)WRITEBACK_STEP, SYNC_FILE_RANGE_WRITE);
		pump->started += WRITEBACK_STEP;
	}
}

static int pump_piece(struct pump *pump, const void *data, size_t size)
{
	int r = pump->to < 0 ? 0
			     : FAIL_POINT(FAIL_BLOB_WRITE, file_write_sparse(pump->to, data, size));

	if (r < 0)
		return r;
	if (size > pump->max - pump->size)
		return -EFBIG;
	pump_writeback(pump);
	digest_sum_update(pump->sum, data, size);
	pump->size += size;
	return 0;
}

/* From fd's offset to its end; the buffer is full with the piece before. */
static int pump_all(struct pump *pump, int fd, char *buffer, struct digest *ret)
{
	ssize_t n = (ssize_t)STORE_PIECE;
	int r = 0;

	pump->sum = digest_sum_new();
	while (r >= 0 && n > 0) {
		r = pump_piece(pump, buffer, (size_t)n);
		if (r >= 0)
			n = store_read_full(fd, buffer, STORE_PIECE);
	}
	digest_sum_final(pump->sum, ret);
	if (n < 0)
		return (int)n;
	return r >= 0 && pump->to >= 0 ? file_end_sparse(pump->to) : r;
}

static int put_large(struct store_batch *batch, int fd, char *buffer, uint64_t max,
	struct digest *ret, uint64_t *ret_size)
{
	unsigned long long temp = store_temp_new(store_batch_store(batch));
	_cleanup_(closep) int to = store_temp_open(store_batch_store(batch), temp);
	struct pump pump = { .to = to, .max = max };
	struct digest digest;
	int r;

	if (to < 0)
		return to;
	r = pump_all(&pump, fd, buffer, &digest);
	if (r < 0) {
		store_temp_remove(store_batch_store(batch), temp);
		return r;
	}
	r = store_batch_claim_temp(batch, &digest, temp, false);
	if (r < 0)
		return r;
	*ret = digest;
	*ret_size = pump.size;
	return 0;
}

static int put_fd(struct store_batch *batch, int fd, char *buffer, uint64_t max, struct digest *ret,
	uint64_t *ret_size)
{
	ssize_t n = store_read_full(fd, buffer, STORE_PIECE);
	int r;

	if (n < 0)
		return (int)n;
	if ((size_t)n == STORE_PIECE)
		return put_large(batch, fd, buffer, max, ret, ret_size);
	if ((uint64_t)n > max)
		return -EFBIG;
	r = store_batch_put(batch, buffer, (size_t)n, ret);
	if (r >= 0)
		*ret_size = (uint64_t)n;
	return r;
}

int store_batch_put_fd(
	struct store_batch *batch, int fd, uint64_t max, struct digest *ret, uint64_t *ret_size)
{
	char *buffer = store_batch_take_buffer(batch);
	int r = put_fd(batch, fd, buffer, max, ret, ret_size);

	store_batch_give_buffer(batch, buffer);
	return r;
}

static int hash_in_place(int fd, char *buffer, struct digest *ret, uint64_t *ret_size)
{
	struct pump pump = { .to = -EBADF, .in_place = fd, .max = UINT64_MAX };
	ssize_t n = store_read_full(fd, buffer, STORE_PIECE);
	int r;

	if (n < 0)
		return (int)n;
	if ((size_t)n < STORE_PIECE) {
		digest_of(buffer, (size_t)n, ret);
		*ret_size = (uint64_t)n;
		return 0;
	}
	r = pump_all(&pump, fd, buffer, ret);
	*ret_size = pump.size;
	return r;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A second name for it in tmp/: is it the file that was hashed, unchanged and with no third one? */
static bool link_temp(struct store *store, int dirfd, const char *name, unsigned long long temp,
	const struct stat *hashed)
{
	struct temp_name to = store_temp_name(temp);
	struct stat st;

	if (linkat(dirfd, name, store->temp_fd, to.text, 0) < 0)
		return false;
	if (fstatat(store->temp_fd, to.text, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		same_file(&st, hashed) && st.st_nlink == 2)
		return true;
	store_temp_remove(store, temp);
	return false;
}

static int copy_again(
	struct store_batch *batch, int fd, char *buffer, struct digest *ret, uint64_t *ret_size)
{
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return put_fd(batch, fd, buffer, UINT64_MAX, ret, ret_size);
}

static int put_by_link(struct store_batch *batch, int dirfd, const char *name, int fd,
	const struct stat *st, char *buffer, struct digest *ret, uint64_t *ret_size)
{
	struct store *store = store_batch_store(batch);
	unsigned long long temp = store_temp_new(store);
	struct digest digest;
	uint64_t size = 0;
	int r = hash_in_place(fd, buffer, &digest, &size);

	if (r < 0)
		return r;
	if (size != (uint64_t)st->st_size || !link_temp(store, dirfd, name, temp, st))
		return copy_again(batch, fd, buffer, ret, ret_size);
	r = store_batch_claim_temp(batch, &digest, temp, true);
	if (r < 0)
		return r;
	*ret = digest;
	*ret_size = size;
	return 0;
}

int store_batch_put_file(struct store_batch *batch, int dirfd, const char *name, struct digest *ret,
	uint64_t *ret_size)
{
	_cleanup_(closep) int fd =
		openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st, root;
	char *buffer;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || fstat(store_batch_store(batch)->root_fd, &root) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	buffer = store_batch_take_buffer(batch);
	if (st.st_nlink == 1 && st.st_uid == geteuid() && st.st_dev == root.st_dev)
		r = put_by_link(batch, dirfd, name, fd, &st, buffer, ret, ret_size);
	else
		r = put_fd(batch, fd, buffer, UINT64_MAX, ret, ret_size);
	store_batch_give_buffer(batch, buffer);
	return r;
}

struct store_writer {
	struct store *store;
	unsigned long long temp;
	struct pump pump;
	int error; /* a write failed: what is in the file is not what was summed */
};

int store_writer_begin(struct store *store, struct store_writer **ret)
{
	unsigned long long temp = store_temp_new(store);
	int fd = store_temp_open(store, temp);
	struct store_writer *writer;

	if (fd < 0)
		return fd;
	writer = NEW(struct store_writer);
	writer->store = store;
	writer->temp = temp;
	writer->pump = (struct pump){ .to = fd, .max = UINT64_MAX, .sum = digest_sum_new() };
	*ret = writer;
	return 0;
}

int store_writer_write(struct store_writer *writer, const void *data, size_t size)
{
	if (writer->error >= 0)
		writer->error = pump_piece(&writer->pump, data, size);
	return writer->error;
}

static int commit_one(struct store *store, unsigned long long temp, const struct digest *digest)
{
	struct store_batch *batch;
	int r = store_batch_begin(store, &batch);

	if (r < 0)
		return r;
	r = store_batch_claim_temp(batch, digest, temp, false);
	if (r < 0) {
		store_batch_abort(batch);
		return r;
	}
	return store_batch_commit(batch);
}

int store_writer_commit(struct store_writer *writer, struct digest *ret, uint64_t *ret_size)
{
	uint64_t size = writer->pump.size;
	struct digest digest;
	int r = writer->error;

	if (r < 0) {
		store_writer_abort(writer);
		return r;
	}
	digest_sum_final(TAKE(writer->pump.sum), &digest);
	r = file_end_sparse(writer->pump.to);
	if (r < 0) {
		store_writer_abort(writer);
		return r;
	}
	r = commit_one(writer->store, writer->temp, &digest);
	fd_close(writer->pump.to);
	free(writer);
	if (r < 0)
		return r;
	*ret = digest;
	*ret_size = size;
	return 0;
}

void store_writer_abort(struct store_writer *writer)
{
	if (!writer)
		return;
	digest_sum_free(writer->pump.sum);
	fd_close(writer->pump.to);
	store_temp_remove(writer->store, writer->temp);
	free(writer);
}
