/* SPDX-License-Identifier: MIT */
/* log - one line each on stderr; see log.h */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"

static enum log_level threshold = LOG_LEVEL_INFO;

static const struct {
	const char *name;
	enum log_level level;
} levels[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warning", LOG_LEVEL_WARNING },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
};

void log_set_level(enum log_level level)
{
	threshold = level;
}

int log_parse_level(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (!strcmp(levels[i].name, text)) {
			*ret = levels[i].level;
			return 0;
		}
	return -EINVAL;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[2048];
	char when[CLOCK_TEXT_SIZE];
	int used;
	va_list args;

	if (level > threshold)
		return;
	clock_format(clock_utc(), when);
	if (getenv("JOURNAL_STREAM"))
		used = snprintf(line, sizeof(line), "<%d>", (int)level);
	else
		used = snprintf(line, sizeof(line), "%s ", when);
	va_start(args, fmt);
	vsnprintf(line + used, sizeof(line) - (size_t)used - 1, fmt, args);
	va_end(args);
	/* One write, so that lines of several threads do not mix. */
	strcat(line, "\n");
	fputs(line, stderr);
}
