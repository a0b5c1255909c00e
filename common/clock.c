/* SPDX-License-Identifier: MIT */
/* clock - times as int64_t microseconds; see clock.h */
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

void clock_format(int64_t utc_us, char ret[static CLOCK_TEXT_SIZE])
{
	time_t seconds = (time_t)(utc_us / USEC_PER_SEC);
	unsigned micros = (unsigned)(utc_us % USEC_PER_SEC) % 1000000u;
	struct tm tm;
	char date[24];

	gmtime_r(&seconds, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret, CLOCK_TEXT_SIZE, "%s.%06uZ", date, micros);
}

int clock_parse(const char *text, int64_t *ret_utc_us)
{
	struct tm tm = { 0 };
	int micros = 0;
	int used = 0;
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!rest)
		return -EINVAL;
	if (rest[0] == '.') {
		if (sscanf(rest, ".%6d%n", &micros, &used) != 1 || used != 7)
			return -EINVAL;
		rest += used;
	}
	if (strcmp(rest, "Z"))
		return -EINVAL;
	*ret_utc_us = (int64_t)timegm(&tm) * USEC_PER_SEC + micros;
	return 0;
}

int clock_boot_id(char ret[static 37])
{
	_cleanup_(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (read(fd, ret, 36) != 36)
		return -EIO;
	ret[36] = '\0';
	return 0;
}
