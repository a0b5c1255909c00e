/* SPDX-License-Identifier: MIT */
/* card - one thing as lines of "Title:  value"; see card.h */
#include "cli/card.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "common/clock.h"
#include "common/mem.h"

/* What the titles take, with the space behind them: of `amlctl show`, "Submitted by:". */
#define TITLE_COLUMNS 15
/* A terminal that is too narrow for that gets whole lines, and breaks them itself. */
#define WRAP_MIN 30

void card_init(struct card *card)
{
	static const struct table_column columns[] = {
		{ NULL, TABLE_LEFT, false },
		{ NULL, TABLE_LEFT, false },
	};

	table_init(&card->table, columns, ARRAY_SIZE(columns));
}

void card_release(struct card *card)
{
	table_release(&card->table);
}

void card_add_coloured(struct card *card, const char *title, const char *value, const char *colour)
{
	_cleanup_(freep) char *copy = NULL;
	char *rest;
	char *line;

	if (!title || !value || !value[0])
		return;
	copy = mem_strdup(value);
	rest = copy;
	while ((line = strsep(&rest, "\n"))) {
		table_addf(&card->table, "%s%s", title, title[0] ? ":" : "");
		table_add_coloured(&card->table, line, colour);
		title = "";
	}
}

void card_add(struct card *card, const char *title, const char *value)
{
	card_add_coloured(card, title, value, NULL);
}

/* text with its spaces replaced by newlines where a line gets wider than that. */
static char *wrap(const char *text, size_t columns)
{
	char *wrapped = mem_strdup(text);
	char *line = wrapped;
	char *last = NULL;

	for (char *c = wrapped; (c = strchr(c, ' ')); c++) {
		*c = '\0';
		if (last && text_width(line) > columns) {
			*last = '\n';
			line = last + 1;
		}
		*c = ' ';
		last = c;
	}
	if (last && text_width(line) > columns)
		*last = '\n';
	return wrapped;
}

void card_add_wrapped(struct card *card, const char *title, const char *value, const char *colour)
{
	unsigned width = output_width();
	_cleanup_(freep) char *wrapped = NULL;

	if (value && width >= TITLE_COLUMNS + WRAP_MIN)
		wrapped = wrap(value, width - TITLE_COLUMNS);
	card_add_coloured(card, title, wrapped ? wrapped : value, colour);
}

void card_addf(struct card *card, const char *title, const char *fmt, ...)
{
	_cleanup_(freep) char *value = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&value, fmt, args) < 0)
		abort();
	va_end(args);
	card_add(card, title, value);
}

void card_add_text(struct card *card, const char *title, const struct json *value)
{
	card_add(card, title, json_string(value));
}

void card_add_time(struct card *card, const char *title, const struct json *value)
{
	_cleanup_(freep) char *relative = NULL;
	const char *text = json_string(value);
	char local[64] = "";
	struct tm tm;
	time_t seconds;
	int64_t us;

	if (!text || clock_parse(text, &us) < 0)
		return;
	seconds = (time_t)(us / USEC_PER_SEC);
	if (localtime_r(&seconds, &tm))
		strftime(local, sizeof(local), "%Y-%m-%d %H:%M:%S %Z", &tm);
	relative = time_relative(clock_utc(), us);
	card_addf(card, title, "%s (%s)", relative, local);
}

void card_print(const struct card *card)
{
	table_print(&card->table);
}
