/* SPDX-License-Identifier: MIT */
/* output - the two streams; see output.h */
#include "cli/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/table.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/utf8.h"

static bool status_shown;

static void clear_status(struct strbuf *line)
{
	if (status_shown)
		strbuf_adds(line, "\r\033[K");
	status_shown = false;
}

static unsigned terminal_width(int fd)
{
	struct winsize size;

	if (!isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) < 0)
		return 0;
	return size.ws_col;
}

void say_status(const char *text)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;

	if (!isatty(STDERR_FILENO))
		return;
	clear_status(&line);
	if (text) {
		_cleanup_(freep) char *whole = mem_printf("amlctl: %s", text);
		unsigned columns = terminal_width(STDERR_FILENO);
		_cleanup_(freep) char *shown = text_cut(whole, columns > 1 ? columns - 1 : 0);

		strbuf_adds(&line, shown);
	}
	status_shown = text != NULL;
	if (line.size)
		file_write_all(STDERR_FILENO, line.data, line.size);
}

static void escape_byte(struct strbuf *to, unsigned char c)
{
	static const char from[] = "\a\b\f\n\r\t\v";
	static const char letters[] = "abfnrtv";
	const char *at = c ? strchr(from, c) : NULL;

	if (at)
		strbuf_addf(to, "\\%c", letters[at - from]);
	else
		strbuf_addf(to, "\\%03o", c);
}

/* Printable as far as UTF-8 tells: no C0 and C1 controls, no DEL. */
static size_t printable(const char *text)
{
	size_t size = utf8_sequence(text, strnlen(text, 4));
	unsigned char c = (unsigned char)text[0];
	bool c1 = size == 2 && c == 0xc2 && (unsigned char)text[1] < 0xa0;

	return c < 0x20 || c == 0x7f || c1 ? 0 : size;
}

void text_escape(struct strbuf *to, const char *text)
{
	while (*text) {
		size_t size = printable(text);

		if (size)
			strbuf_add(to, text, size);
		else
			escape_byte(to, (unsigned char)*text);
		text += size ? size : 1;
	}
}

char *text_first_line(const char *text)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	_cleanup_(freep) char *line = text ? mem_strndup(text, strcspn(text, "\n")) : NULL;

	if (line)
		text_escape(&out, line);
	return strbuf_steal(&out);
}

void say(const char *fmt, ...)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	_cleanup_(freep) char *text = NULL;
	const char *prefix = "amlctl: ";
	va_list args;
	char *rest;
	char *line;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort();
	va_end(args);
	clear_status(&out);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		if (!line[0] && !rest)
			break; /* the text ended with a newline */
		strbuf_adds(&out, prefix);
		text_escape(&out, line);
		strbuf_addc(&out, '\n');
		prefix = "    ";
	}
	/* One write, so that lines of several programs do not mix. Nobody to tell if it fails. */
	file_write_all(STDERR_FILENO, out.data, out.size);
}

void print_json(const struct json *value)
{
	_cleanup_(freep) char *text =
		isatty(STDOUT_FILENO) ? json_print_pretty(value) : json_print(value);

	puts(text);
}

static int failed_output(int r)
{
	if (r == -EPIPE)
		_exit(EXIT_PIPE);
	return r;
}

int write_output(const void *data, size_t size, struct error *err)
{
	int r = failed_output(file_write_all(STDOUT_FILENO, data, size));

	return r < 0 ? error_errno(err, r, "stdout", "cannot write to standard output") : 0;
}

int write_foreign_output(const void *data, size_t size, struct error *err)
{
	static bool after_c2; /* U+0080 to U+009F are control characters as well */
	_cleanup_(freep) char *shown = mem_alloc(size + 1);

	memcpy(shown, data, size);
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)shown[i];
		bool control = (c < 0x20 && !strchr("\n\t\r", c)) || c == 0x7f;

		if (control || !c || (after_c2 && c >= 0x80 && c < 0xa0))
			shown[i] = '?';
		after_c2 = c == 0xc2;
	}
	return write_output(shown, size, err);
}

int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_OK;
	failed_output(-errno);
	say("cannot write to standard output: %s", strerror(errno));
	return EXIT_TROUBLE;
}

bool output_has_colour(void)
{
	const char *term = getenv("TERM");
	const char *off = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !(off && off[0]) && term && strcmp(term, "dumb");
}

unsigned output_width(void)
{
	return terminal_width(STDOUT_FILENO);
}
