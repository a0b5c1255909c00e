/* SPDX-License-Identifier: MIT */
/*
 * log - what the daemon has to say, one line each, on stderr
 *
 * Under systemd (JOURNAL_STREAM set) a line begins with the journal's "<level>", else with the
 * time. Floors 0 to 2 never log: they return errors, and a fault is logged once, where it is
 * handled.
 */
#pragma once

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

void log_set_level(enum log_level level);
/* "error", "warning", "info", "debug"; -EINVAL. */
int log_parse_level(const char *text, enum log_level *ret);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
