/* SPDX-License-Identifier: MIT */
/* record - the files of the run directory, without heap; see record.h */
#include "supervisor/record.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
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

static int write_temp(const char *temp, const void *data, size_t size, enum file_sync sync)
{
	_cleanup_(closep) int fd =
		open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = file_write_all(fd, data, size);
	if (r >= 0 && sync == FILE_SYNC && fsync(fd) < 0)
		r = -errno;
	return r;
}

static int sync_directory(void)
{
	_cleanup_(closep) int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int record_write(const char *name, const void *data, size_t size, enum file_sync sync)
{
	char temp[NAME_SIZE];
	int r;

	snprintf(temp, sizeof(temp), "%s.tmp", name);
	r = write_temp(temp, data, size, sync);
	if (r >= 0 && rename(temp, name) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temp);
		return r;
	}
	return sync == FILE_SYNC ? sync_directory() : 0;
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
