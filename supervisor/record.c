/* SPDX-License-Identifier: MIT */
/* record - the files of the run directory, without heap; see record.h */
#include "supervisor/record.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/run_dir.h"

#define NAME_SIZE 32

ssize_t record_read(const char *name, char to[static RECORD_MAX])
{
	_cleanup_(closep) int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	size_t size = 0;

	if (fd < 0)
		return -errno;
	while (size < RECORD_MAX) {
		ssize_t n = read(fd, to + size, RECORD_MAX - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return (ssize_t)size;
		size += (size_t)n;
	}
	return -EFBIG;
}

static int open_temp(const char *name, char temp[static NAME_SIZE])
{
	int fd;

	snprintf(temp, NAME_SIZE, "%s.tmp", name);
	fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/* From its start, over what is there: the room that it has is not given back before. */
static int write_over(int fd, const void *data, size_t size)
{
	int r = file_write_all(fd, data, size);

	return r >= 0 && ftruncate(fd, (off_t)size) < 0 ? -errno : r;
}

/* Zeros and no hole: only what was written once can be written over without room. */
int record_reserve(const char *name)
{
	static const char zeros[RECORD_MAX];
	char temp[NAME_SIZE];
	_cleanup_(closep) int fd = open_temp(name, temp);

	return fd < 0 ? fd : file_write_all(fd, zeros, sizeof(zeros));
}

static int rename_temp(const char *temp, const char *name)
{
	return rename(temp, name) < 0 ? -errno : 0;
}

static int sync_directory(void)
{
	_cleanup_(closep) int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : file_fsync(fd);
}

int record_replace(const char *name, const void *data, size_t size)
{
	char temp[NAME_SIZE];
	_cleanup_(closep) int fd = open_temp(name, temp);
	int r = fd < 0 ? fd : write_over(fd, data, size);

	if (r >= 0)
		r = rename_temp(temp, name);
	if (r < 0)
		unlink(temp);
	return r;
}

int record_commit(const char *name, const void *data, size_t size)
{
	char temp[NAME_SIZE];
	_cleanup_(closep) int fd = open_temp(name, temp);
	int r = fd < 0 ? fd : FAIL_POINT(FAIL_EXIT_WRITE, write_over(fd, data, size));

	if (r >= 0)
		r = FAIL_POINT(FAIL_EXIT_SYNC, file_fsync(fd));
	if (r >= 0)
		r = FAIL_POINT(FAIL_EXIT_RENAME, rename_temp(temp, name));
	if (r < 0) /* the room is kept for the next try */
		return r;
	return FAIL_POINT(FAIL_EXIT_SYNC_DIR, sync_directory());
}

void record_note(const char *fmt, ...)
{
	_cleanup_(closep) int fd = open(RUN_DIR_SUPERVISOR_LOG,
		O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	char line[512];
	va_list args;
	size_t used;

	clock_format(clock_utc(), line);
	used = strlen(line);
	line[used++] = ' ';
	va_start(args, fmt);
	vsnprintf(line + used, sizeof(line) - used - 1, fmt, args);
	va_end(args);
	strcat(line, "\n");
	if (fd >= 0)
		(void)file_write_all(fd, line, strlen(line));
}
