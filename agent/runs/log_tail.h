/* SPDX-License-Identifier: MIT */
/*
 * log_tail - what the end of a log tells of the end of its run
 *
 * Pure: bytes in (the last LOG_TAIL_BYTES of the log, or all of it), a traceback and the last lines
 * out, as valid UTF-8 without a terminal's escape sequences.
 *
 * Who frees: log_tail_release().
 */
#pragma once

#include "runs/traceback.h"

#define LOG_TAIL_BYTES (64u << 10)
#define LOG_TAIL_LINES 10
#define LOG_TAIL_TEXT_MAX 1500

struct log_tail {
	char *last_line;            /* the last one that is not blank; NULL: there is none */
	struct traceback traceback; /* .error is NULL: none */
	/* For people, at most LOG_TAIL_TEXT_MAX bytes, the end of it when there is more: the
	 * traceback and what follows it, else the last LOG_TAIL_LINES lines. */
	char *text;
};

/* work_dir: as in traceback.h. */
void log_tail_read(const char *data, size_t size, const char *work_dir, struct log_tail *ret);
void log_tail_release(struct log_tail *tail);
