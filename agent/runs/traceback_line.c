/* SPDX-License-Identifier: MIT */
/* traceback_line - what one line of a Python traceback says; see traceback_line.h */
#include "runs/traceback_line.h"

#include <stdlib.h>
#include <string.h>

#include "runs/log_lines.h"

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

static bool ends_with(const char *text, size_t size, const char *end)
{
	size_t n = strlen(end);

	return size >= n && !memcmp(text + size - n, end, n);
}

const char *traceback_header(const char *line)
{
	static const char words[] = "Traceback (most recent call last):";
	const char *header = strstr(line, words);

	return header && line_is_blank(header + strlen(words)) ? header : NULL;
}

bool frame_parse(const char *text, struct frame *ret)
{
	static const char mark[] = "\", line ";
	struct frame frame = { 0 };
	const char *end;
	char *rest;

	text += strspn(text, " |");
	if (!starts_with(text, "File \""))
		return false;
	frame.file = text + strlen("File \"");
	end = strstr(frame.file, mark);
	if (!end)
		return false;
	frame.file_size = (size_t)(end - frame.file);
	frame.line = strtoll(end + strlen(mark), &rest, 10);
	if (rest == end + strlen(mark) || frame.line <= 0)
		return false;
	rest += *rest == ',';
	if (starts_with(rest, " in "))
		frame.function = rest + strlen(" in ");
	*ret = frame;
	return true;
}

size_t frame_skip(const struct frame *frame, const char *work_dir)
{
	size_t size = work_dir ? strlen(work_dir) : 0;

	if (size && frame->file_size > size && !memcmp(frame->file, work_dir, size) &&
		frame->file[size] == '/')
		return size + 1;
	return frame->file_size > 2 && starts_with(frame->file, "./") ? 2 : 0;
}

static bool is_installed(const struct frame *frame)
{
	return memmem(frame->file, frame->file_size, "/site-packages/", 15) ||
	       memmem(frame->file, frame->file_size, "/dist-packages/", 15);
}

/* Python before 3.9 names the script as it was given, relative; so are the names of Cython's
 * sources, which are nobody's here. */
bool frame_is_own(const struct frame *frame, const char *work_dir)
{
	bool relative = frame->file[0] != '/' && ends_with(frame->file, frame->file_size, ".py");

	return (relative || frame_skip(frame, work_dir)) && !is_installed(frame);
}

static bool is_of_name(char c, const char *others)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c & 0x80 ||
	       (c && strchr(others, c));
}

bool is_exception_line(const char *line)
{
	if (!is_of_name(*line, "_"))
		return false;
	while (is_of_name(*line, "_.<>0123456789"))
		line++;
	return !*line || (*line == ':' && (!line[1] || line[1] == ' '));
}

bool is_syntax_error_line(const char *line)
{
	return starts_with(line, "SyntaxError") || starts_with(line, "IndentationError") ||
	       starts_with(line, "TabError");
}
