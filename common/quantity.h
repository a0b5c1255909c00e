/* SPDX-License-Identifier: MIT */
/*
 * quantity - durations and sizes as people write and read them
 *
 * Pure. Errors: -EINVAL. Who frees: the caller; texts are malloc'ed.
 */
#pragma once

#include <stdint.h>

/* "90", "90s", "90m", "2h", "1.5h", "7d" -> seconds, at least 1. */
int duration_parse(const char *text, int64_t *ret_seconds);
/* "512", "512K", "8G", "1.5GiB" -> bytes (powers of 1024), at least 1. */
int size_parse(const char *text, int64_t *ret_bytes);
/* "512 B", "1.5 KiB", "230 MiB". */
char *size_text(int64_t bytes);
