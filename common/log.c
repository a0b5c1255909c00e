/* SPDX-License-Identifier: MIT */
/* log - what the daemon has to say, one line each; see log.h */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/journal.h"

#define LINE_SIZE 2048
/* Before the text: the time, or "<level>". */
#define LEAD_SIZE 64
#define OWN_FIELDS 3
#define FIELDS_MAX 16

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
	__atomic_store_n(&threshold, level, __ATOMIC_RELAXED);
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

const char *log_level_name(enum log_level level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (levels[i].level == level)
			return levels[i].name;
	return NULL;
}

/* ---- one entry ---- */

static int send_to_journal(enum log_level level, const char *text,
	const struct journal_field *fields, size_t field_count)
{
	const char priority[] = { (char)('0' + (int)level), '\0' };
	struct journal_field all[FIELDS_MAX] = {
		{ "MESSAGE", text },
		{ "PRIORITY", priority },
		{ "SYSLOG_IDENTIFIER", program_invocation_short_name },
	};

	if (field_count > ARRAY_SIZE(all) - OWN_FIELDS)
		return -E2BIG;
	for (size_t i = 0; i < field_count; i++)
		all[OWN_FIELDS + i] = fields[i];
	return journal_send(all, OWN_FIELDS + field_count);
}

static void write_to_stderr(enum log_level level, const char *text, bool is_journal)
{
	char line[LEAD_SIZE + 2 * LINE_SIZE];
	char when[CLOCK_TEXT_SIZE];
	int size;

	clock_format(clock_utc(), when);
	if (is_journal)
		size = snprintf(line, sizeof(line) - 1, "<%d>%s", (int)level, text);
	else
		size = snprintf(line, sizeof(line) - 1, "%s %s", when, text);
	if (size > (int)sizeof(line) - 2)
		size = (int)sizeof(line) - 2;
	line[size++] = '\n';
	/* One write, so that lines of several threads do not mix. */
	(void)file_write_all(STDERR_FILENO, line, (size_t)size);
}

void log_entry(enum log_level level, const char *text, const struct journal_field *fields,
	size_t field_count)
{
	bool is_journal = journal_is_stderr();

	if (!is_journal || send_to_journal(level, text, fields, field_count) < 0)
		write_to_stderr(level, text, is_journal);
}

/* ---- a line is a line ---- */

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

static void escape(const char *text, char *to, size_t room)
{
	char *end = to + room - sizeof("\\xHH");

	for (; *text && to < end; text++)
		if (*text == '\n')
			to = stpcpy(to, "\\n");
		else if (is_control((unsigned char)*text) && *text != '\t')
			to += sprintf(to, "\\x%02x", (unsigned char)*text);
		else
			*to++ = *text;
	*to = '\0';
}

static void __attribute__((format(printf, 3, 0)))
say(enum log_level level, const char *run_id, const char *fmt, va_list args)
{
	const struct journal_field field = { "AMLAGENT_RUN_ID", run_id };
	char text[LINE_SIZE];
	char line[LINE_SIZE];

	if (level > __atomic_load_n(&threshold, __ATOMIC_RELAXED))
		return;
	vsnprintf(text, sizeof(text), fmt, args);
	escape(text, line, sizeof(line));
	log_entry(level, line, &field, 1);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(level, NULL, fmt, args);
	va_end(args);
}

void log_run(enum log_level level, const char *run_id, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(level, run_id, fmt, args);
	va_end(args);
}
