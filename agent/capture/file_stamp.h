/* SPDX-License-Identifier: MIT */
/*
 * file_stamp - by what a file is known to be the one that was read before
 *
 * Every write changes the ctime, but a clock has a grain: a file that was written, read and written
 * again within one tick has the same stamp twice. So a stamp is believed only when the file had
 * been left alone for longer than that when the reading began (git calls the others "racy"). A
 * mtime in the future was set by hand and says nothing; the ctime beside it does.
 *
 * A value type; pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#define NSEC_PER_SEC INT64_C(1000000000)
/* Kernels stamp with the last timer tick: at most 10 ms old. */
#define FILE_STAMP_TICK (20 * NSEC_PER_SEC / 1000)
/* File systems without fractions of a second: FAT counts in steps of two. */
#define FILE_STAMP_COARSE_TICK (2 * NSEC_PER_SEC)

struct file_stamp {
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	int64_t mtime; /* nanoseconds since 1970 */
	int64_t ctime;
	uint32_t mode; /* st_mode, with the type */
};

static inline int64_t file_time_ns(struct timespec time)
{
	return (int64_t)((uint64_t)time.tv_sec * (uint64_t)NSEC_PER_SEC + (uint64_t)time.tv_nsec);
}

static inline struct file_stamp file_stamp_of(const struct stat *st)
{
	return (struct file_stamp){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = (uint64_t)st->st_size,
		.mtime = file_time_ns(st->st_mtim),
		.ctime = file_time_ns(st->st_ctim),
		.mode = st->st_mode,
	};
}

static inline bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->mtime == b->mtime && a->ctime == b->ctime && a->mode == b->mode;
}

/* Had the file been left alone when a reading began at start (CLOCK_REALTIME)? */
static inline bool file_stamp_is_settled(const struct file_stamp *stamp, int64_t start)
{
	bool coarse = stamp->mtime % NSEC_PER_SEC == 0 && stamp->ctime % NSEC_PER_SEC == 0;
	int64_t tick = coarse ? FILE_STAMP_COARSE_TICK : FILE_STAMP_TICK;

	if (start < tick || stamp->ctime >= start - tick)
		return false;
	return stamp->mtime < start - tick || stamp->mtime - FILE_STAMP_COARSE_TICK > start;
}
