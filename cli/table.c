/* SPDX-License-Identifier: MIT */
/* table - aligned columns and times for people; see table.h */
#include "cli/table.h"

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "cli/output.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/utf8.h"

#define GAP 2

void table_init(struct table *table, const struct table_column *columns, size_t count)
{
	*table = (struct table){ .columns = columns, .column_count = count };
	for (size_t i = 0; i < count && columns[0].title; i++)
		table_add(table, columns[i].title);
}

void table_release(struct table *table)
{
	for (size_t i = 0; i < table->used; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table->colours);
	*table = (struct table){ 0 };
}

void table_add_coloured(struct table *table, const char *text, const char *colour)
{
	_cleanup_(strbuf_release) struct strbuf cell = STRBUF_INIT;
	size_t used = table->used;

	text_escape(&cell, text ? text : "-");
	GROW(table->cells, table->used, table->room);
	GROW(table->colours, used, table->colours_room);
	table->colours[table->used] = colour;
	table->cells[table->used++] = strbuf_steal(&cell);
}

void table_add(struct table *table, const char *text)
{
	table_add_coloured(table, text, NULL);
}

void table_addf(struct table *table, const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort();
	va_end(args);
	table_add(table, text);
}

static wchar_t decode(const char *text, size_t size)
{
	static const unsigned char first_mask[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	wchar_t c = (unsigned char)text[0] & first_mask[size];

	for (size_t i = 1; i < size; i++)
		c = (c << 6) | ((unsigned char)text[i] & 0x3f);
	return c;
}

/* wcwidth() knows wide and combining characters in a UTF-8 locale alone: the locale is set when the
 * first such text is met, since setting it at the start costs every command a file. */
static size_t char_width(const char *text, size_t size)
{
	static bool locale_set;
	int width;

	if (size <= 1)
		return 1;
	if (!locale_set && !setlocale(LC_CTYPE, ""))
		setlocale(LC_CTYPE, "C.UTF-8");
	locale_set = true;
	width = wcwidth(decode(text, size));
	return width < 0 ? 1 : (size_t)width;
}

/* The bytes of text that fit into so many columns. */
static size_t fit(const char *text, size_t columns, size_t *ret_width)
{
	size_t at = 0;
	size_t width = 0;

	while (text[at]) {
		size_t size = utf8_sequence(text + at, strnlen(text + at, 4));
		size_t more = char_width(text + at, size);

		if (width + more > columns)
			break;
		width += more;
		at += size ? size : 1;
	}
	*ret_width = width;
	return at;
}

size_t text_width(const char *text)
{
	size_t width;

	fit(text, SIZE_MAX, &width);
	return width;
}

char *text_cut(const char *text, size_t columns)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	size_t width;

	text_escape(&out, text);
	if (columns && text_width(out.data ? out.data : "") > columns) {
		out.size = fit(out.data, columns - 1, &width);
		out.data[out.size] = '\0';
		strbuf_adds(&out, "\xe2\x80\xa6");
	}
	return strbuf_steal(&out);
}

static size_t line_width(const size_t *widths, size_t count)
{
	size_t total = count ? (count - 1) * GAP : 0;

	for (size_t i = 0; i < count; i++)
		total += widths[i];
	return total;
}

/* Take columns from the widest that may be cut until the line fits or none is left. */
static void shrink(const struct table *table, size_t *widths, unsigned width)
{
	while (line_width(widths, table->column_count) > width) {
		size_t widest = SIZE_MAX;

		for (size_t i = 0; i < table->column_count; i++)
			if (table->columns[i].may_cut && widths[i] > TABLE_CELL_MIN &&
				(widest == SIZE_MAX || widths[i] > widths[widest]))
				widest = i;
		if (widest == SIZE_MAX)
			return;
		widths[widest]--;
	}
}

static void add_spaces(struct strbuf *to, size_t count)
{
	while (count--)
		strbuf_addc(to, ' ');
}

static void add_cell(struct strbuf *to, const char *text, size_t width, enum table_align align,
	const char *colour)
{
	size_t shown = text_width(text);
	size_t size = strlen(text);
	const char *end = "";

	if (shown > width) {
		size = fit(text, width - 1, &shown);
		end = "\xe2\x80\xa6";
		shown++;
	}
	if (align == TABLE_RIGHT)
		add_spaces(to, width - shown);
	if (colour)
		strbuf_adds(to, colour);
	strbuf_add(to, text, size);
	strbuf_adds(to, end);
	if (colour)
		strbuf_adds(to, "\033[0m");
	if (align == TABLE_LEFT)
		add_spaces(to, width - shown);
}

static void measure(const struct table *table, size_t *widths)
{
	for (size_t i = 0; i < table->used; i++) {
		size_t width = text_width(table->cells[i]);
		size_t column = i % table->column_count;

		if (width > widths[column])
			widths[column] = width;
	}
}

void table_format(const struct table *table, unsigned width, bool colour, struct strbuf *ret)
{
	size_t widths[TABLE_COLUMNS_MAX] = { 0 };

	measure(table, widths);
	if (width)
		shrink(table, widths, width);
	for (size_t i = 0; i < table->used; i++) {
		size_t column = i % table->column_count;

		add_cell(ret, table->cells[i], widths[column], table->columns[column].align,
			colour ? table->colours[i] : NULL);
		if (column + 1 < table->column_count) {
			add_spaces(ret, GAP);
			continue;
		}
		while (ret->size && ret->data[ret->size - 1] == ' ')
			ret->data[--ret->size] = '\0';
		strbuf_addc(ret, '\n');
	}
}

void table_print(const struct table *table)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	table_format(table, output_width(), output_has_colour(), &text);
	fwrite(text.data, 1, text.size, stdout);
}

char *time_relative(int64_t now_us, int64_t then_us)
{
	int64_t seconds = (now_us - then_us) / USEC_PER_SEC;
	char date[CLOCK_TEXT_SIZE];

	if (seconds < -5 || seconds >= 30 * 86400) {
		clock_format(then_us, date);
		return mem_strndup(date, strcspn(date, "T"));
	}
	if (seconds < 5)
		return mem_strdup("just now");
	if (seconds < 60)
		return mem_printf("%lld s ago", (long long)seconds);
	if (seconds < 3600)
		return mem_printf("%lld min ago", (long long)seconds / 60);
	if (seconds < 86400)
		return mem_printf("%lld h ago", (long long)seconds / 3600);
	return mem_printf(
		"%lld day%s ago", (long long)seconds / 86400, seconds < 172800 ? "" : "s");
}

char *time_duration(int64_t us)
{
	long long seconds = us < 0 ? 0 : us / USEC_PER_SEC;

	if (seconds < 1)
		return mem_printf("%lld ms", us < 0 ? 0 : (long long)us / 1000);
	if (seconds < 10)
		return mem_printf("%.1f s", (double)(us / 100000) / 10);
	if (seconds < 60)
		return mem_printf("%lld s", seconds);
	if (seconds < 3600)
		return mem_printf("%lld min %02lld s", seconds / 60, seconds % 60);
	if (seconds < 86400)
		return mem_printf("%lld h %02lld min", seconds / 3600, seconds / 60 % 60);
	return mem_printf("%lld d %lld h", seconds / 86400, seconds / 3600 % 24);
}
