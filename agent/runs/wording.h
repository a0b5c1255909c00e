/* SPDX-License-Identifier: MIT */
/*
 * wording - times and signals as words of a sentence
 *
 * Pure. Who frees: the caller; all are malloc'ed.
 */
#pragma once

#include <stdint.h>

/* "2026-11-22T20:15:35Z" */
char *time_text(int64_t utc_us);
/* "0.3 s", "42 s" */
char *span_text(int64_t us);
/* "signal 9 (SIGKILL)" */
char *signal_text(int number);
