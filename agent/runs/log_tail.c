/* SPDX-License-Identifier: MIT */
/* log_tail - what the end of a log tells of the end of its run; see log_tail.h */
#include "runs/log_tail.h"

#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/utf8.h"

/* The last bytes of a line that is too long for all of them. */
static const char *line_end(const char *line, size_t max)
{
	size_t size = strlen(line);
	const char *at = size > max ? line + size - max : line;

	while ((*at & 0xc0) == 0x80)
		at++;
	return at;
}

/* Whole lines [first, end), the last ones that fit into LOG_TAIL_TEXT_MAX. */
static char *join(const struct log_lines *lines, size_t first, size_t end)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	size_t room = LOG_TAIL_TEXT_MAX;
	size_t from = end;

	while (from > first && strlen(lines->items[from - 1]) < room)
		room -= strlen(lines->items[--from]) + 1;
	if (from == end && first < end)
		return mem_strdup(line_end(lines->items[end - 1], LOG_TAIL_TEXT_MAX));
	for (size_t i = from; i < end; i++)
		strbuf_addf(&text, "%s%s", i > from ? "\n" : "", lines->items[i]);
	return strbuf_steal(&text);
}

/* Where the lines end that are worth showing. */
static size_t end_of(const struct log_lines *lines)
{
	size_t end = lines->count;

	while (end && line_is_blank(lines->items[end - 1]))
		end--;
	return end;
}

void log_tail_read(const char *data, size_t size, const char *work_dir, struct log_tail *ret)
{
	_cleanup_(log_lines_release) struct log_lines lines = { 0 };
	struct log_tail tail = { 0 };
	size_t first;
	size_t end;

	log_lines_split(data, size, &lines);
	traceback_find(&lines, work_dir, &tail.traceback);
	end = end_of(&lines);
	first = end > LOG_TAIL_LINES ? end - LOG_TAIL_LINES : 0;
	if (end)
		tail.last_line = mem_strdup(lines.items[end - 1]);
	if (tail.traceback.error)
		first = tail.traceback.first_line;
	/* The report of a launcher is between its worker's traceback and the log's end. */
	if (tail.traceback.origin)
		end = tail.traceback.end_line;
	tail.text = join(&lines, first, end);
	*ret = tail;
}

void log_tail_release(struct log_tail *tail)
{
	free(tail->last_line);
	free(tail->text);
	traceback_release(&tail->traceback);
	*tail = (struct log_tail){ 0 };
}
