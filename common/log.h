/* SPDX-License-Identifier: MIT */
/*
 * log - what the daemon has to say, one line each
 *
 * On stderr, with the time. When stderr is systemd's journal, to the journal itself, with its
 * level, and the run that it is about in AMLAGENT_RUN_ID (journal.h); should that fail, on stderr
 * with the journal's "<level>". Floors 0 to 2 never log: they return errors, and a fault is logged
 * once, where it is handled.
 *
 * A line is cut at 2 kB, and what would end it, or steer a terminal, is written as \n or \x1b:
 * whatever names and messages hold, a line is a line.
 *
 * Threads: any.
 */
#pragma once

#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5, /* of audit.h alone, whatever level is set */
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

void log_set_level(enum log_level level);
/* "error", "warning", "info", "debug"; -EINVAL. */
int log_parse_level(const char *text, enum log_level *ret);
/* Its name; NULL for none of these four. */
const char *log_level_name(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* About one run. */
void log_run(enum log_level level, const char *run_id, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* What the others are made of: one entry, whatever its level, with up to 13 fields for the journal.
 * text is one line already. */
struct journal_field;
void log_entry(enum log_level level, const char *text, const struct journal_field *fields,
	size_t field_count);
