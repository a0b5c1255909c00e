/* SPDX-License-Identifier: MIT */
/*
 * snapshot_fixture - a source folder, a store and an index in a temporary folder
 *
 * Paths of the helpers are relative to the source folder. For the tests of the snapshot alone.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "capture/snapshot.h"
#include "capture/source.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "store/store.h"

struct fixture {
	char *dir;
	char *source;
	char *index;
	int fd; /* of source */
	struct store *store;
	const struct identity *as; /* with whose rights it is taken; NULL: ours */
	struct snapshot_limits limits;
	struct snapshot snapshot; /* the last one */
	struct error err;
};

static inline void fixture_init(struct fixture *f)
{
	const char *temp = getenv("TMPDIR");

	*f = (struct fixture){ .limits = { 1 << 30, 100000, 1 << 30, 100000 } };
	f->dir = mem_printf("%s/snapshot.XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	f->source = path_join(f->dir, "source");
	f->index = path_join(f->dir, "state/index");
	assert_int_equal(mkdir(f->source, 0755), 0);
	f->fd = open(f->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	_cleanup_(freep) char *blobs = path_join(f->dir, "state/blobs");
	assert_int_equal(store_open(blobs, &f->store), 0);
}

static inline void fixture_release(struct fixture *f)
{
	snapshot_release(&f->snapshot);
	store_close(f->store);
	fd_close(f->fd);
	assert_int_equal(tree_remove(AT_FDCWD, f->dir), 0);
	free(f->dir);
	free(f->source);
	free(f->index);
}

static inline void put_bytes(int fd, const char *path, const void *data, size_t size, mode_t mode)
{
	_cleanup_(closep) int file =
		openat(fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	assert_int_equal(file_write_all(file, data, size), 0);
	assert_int_equal(fchmod(file, mode), 0);
}

static inline void put(struct fixture *f, const char *path, const char *text)
{
	put_bytes(f->fd, path, text, strlen(text), 0644);
}

/* That many zeroes. */
static inline void put_size(struct fixture *f, const char *path, off_t size)
{
	_cleanup_(closep) int file = openat(f->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, size), 0);
}

static inline void put_dir(struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(f->fd, path, 0755), 0);
}

static inline void put_link(struct fixture *f, const char *path, const char *target)
{
	assert_int_equal(symlinkat(target, f->fd, path), 0);
}

static inline int take_from(struct fixture *f, struct store *store, const char *index)
{
	_cleanup_(source_close) struct source source = SOURCE_INIT;
	int r = source_open(f->as, f->source, &source, &f->err);

	return r < 0 ? r : snapshot_take(store, index, &source, &f->limits, &f->snapshot, &f->err);
}

static inline int try_take(struct fixture *f)
{
	snapshot_release(&f->snapshot);
	f->err = (struct error)ERROR_INIT;
	return take_from(f, f->store, f->index);
}

static inline struct digest take(struct fixture *f)
{
	int r = try_take(f);

	if (r < 0)
		print_error("%s\n", f->err.message);
	assert_int_equal(r, 0);
	return f->snapshot.id;
}

/* Until the files are older than the clock's grain. */
static inline struct digest take_until_known(struct fixture *f)
{
	do
		take(f);
	while (f->snapshot.files_read > 0);
	return f->snapshot.id;
}

#define assert_same_id(a, b) \
	do { \
		struct digest a_ = (a), b_ = (b); \
		assert_memory_equal(&a_, &b_, sizeof(a_)); \
	} while (0)

#define assert_other_id(a, b) \
	do { \
		struct digest a_ = (a), b_ = (b); \
		assert_memory_not_equal(&a_, &b_, sizeof(a_)); \
	} while (0)
