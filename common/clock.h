/* SPDX-License-Identifier: MIT */
/*
 * clock - times as int64_t microseconds
 *
 * clock_utc(): since 1970, what records show; it may jump. clock_boot(): since boot, suspend
 * included, what limits are measured with; it never jumps. 0 means "not known" in records.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#define USEC_PER_SEC INT64_C(1000000)
#define CLOCK_TEXT_SIZE 40

static inline int64_t clock_now(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return now.tv_sec * USEC_PER_SEC + now.tv_nsec / 1000;
}

static inline int64_t clock_utc(void)
{
	return clock_now(CLOCK_REALTIME);
}

static inline int64_t clock_boot(void)
{
	return clock_now(CLOCK_BOOTTIME);
}

/* ISO 8601 with microseconds: 2026-11-22T20:15:35.123456Z */
void clock_format(int64_t utc_us, char ret[static CLOCK_TEXT_SIZE]);
/* The inverse; -EINVAL. */
int clock_parse(const char *text, int64_t *ret_utc_us);

/* The kernel's boot id, 36 characters and a NUL; -errno when /proc is not there. */
int clock_boot_id(char ret[static 37]);
