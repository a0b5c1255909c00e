/* SPDX-License-Identifier: MIT */
/* log_lines - bytes of a log as the lines that a terminal shows; see log_lines.h */
#include "runs/log_lines.h"

#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/utf8.h"

#define ESCAPE '\033'
#define ELLIPSIS "\xe2\x80\xa6"

static bool is_between(char c, unsigned char low, unsigned char high)
{
	return (unsigned char)c >= low && (unsigned char)c <= high;
}

/* "\033]0;title\a", also ended by "\033\\"; never longer than its line. */
static size_t command_size(const char *at, size_t left)
{
	size_t size = 2;

	while (size < left && at[size] != '\a' && at[size] != '\n' && at[size] != ESCAPE)
		size++;
	if (size < left && at[size] == '\a')
		return size + 1;
	return size + 1 < left && at[size] == ESCAPE && at[size + 1] == '\\' ? size + 2 : size;
}

/* "\033[1;31m": parameters, then one letter (ECMA-48, 5.4). */
static size_t control_size(const char *at, size_t left)
{
	size_t size = 2;

	while (size < left && is_between(at[size], 0x20, 0x3f))
		size++;
	return size < left && is_between(at[size], 0x40, 0x7e) ? size + 1 : size;
}

/* How many bytes the escape sequence at `at` has; 1 when it is none. */
static size_t escape_size(const char *at, size_t left)
{
	if (left < 2)
		return 1;
	if (at[1] == '[')
		return control_size(at, left);
	if (at[1] == ']')
		return command_size(at, left);
	if (is_between(at[1], 0x20, 0x2f)) /* "\033(B": a character set */
		return left > 2 && is_between(at[2], 0x30, 0x7e) ? 3 : 2;
	return is_between(at[1], 0x30, 0x7e) ? 2 : 1;
}

static char *without_escapes(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf plain = STRBUF_INIT;

	for (size_t at = 0; at < size;) {
		const char *escape = memchr(data + at, ESCAPE, size - at);
		size_t until = escape ? (size_t)(escape - data) : size;

		strbuf_add(&plain, data + at, until - at);
		at = until;
		if (escape)
			at += escape_size(escape, size - at);
	}
	return utf8_sanitize(plain.data ? plain.data : "", plain.size);
}

/* What is left to see of a line: the text after its last carriage return. */
static char *shown(char *line)
{
	size_t size = strlen(line);
	char *last;

	while (size && line[size - 1] == '\r')
		line[--size] = '\0';
	last = strrchr(line, '\r');
	return last ? last + 1 : line;
}

void log_lines_split(const char *data, size_t size, struct log_lines *ret)
{
	struct log_lines lines = { .text = without_escapes(data, size) };
	char *rest = lines.text;

	while (rest && *rest) {
		char *line = strsep(&rest, "\n");

		GROW(lines.items, lines.count, lines.room);
		lines.items[lines.count++] = shown(line);
	}
	*ret = lines;
}

void log_lines_release(struct log_lines *lines)
{
	free(lines->items);
	free(lines->text);
	*lines = (struct log_lines){ 0 };
}

bool line_is_blank(const char *line)
{
	return !line[strspn(line, " \t\r\v\f")];
}

static char *in_one_line(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	return text;
}

static bool is_inside_character(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

char *text_cut(const char *text, size_t max)
{
	size_t size = strlen(text);
	char *cut;

	if (size <= max)
		return in_one_line(mem_strdup(text));
	size = max - strlen(ELLIPSIS);
	while (size && is_inside_character(text[size]))
		size--;
	cut = mem_printf("%.*s" ELLIPSIS, (int)size, text);
	return in_one_line(cut);
}

char *text_cut_front(const char *text, size_t max)
{
	size_t size = strlen(text);
	char *cut;

	if (size <= max)
		return in_one_line(mem_strdup(text));
	text += size - (max - strlen(ELLIPSIS));
	while (is_inside_character(*text))
		text++;
	cut = mem_printf(ELLIPSIS "%s", text);
	return in_one_line(cut);
}
