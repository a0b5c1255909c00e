/* SPDX-License-Identifier: MIT */
/* traceback - the Python traceback that a log ends with; see traceback.h */
#include "runs/traceback.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "runs/traceback_line.h"

#define GROUP "+ Exception Group "
#define FATAL "Fatal Python error: "
#define LAUNCHER "ChildFailedError"
#define MIXED_MAX 32 /* lines of other ranks between two of one */
#define RULE_MIN 10  /* a line of so many '=' is a rule */

enum kind {
	CAUSE,
	ELSEWHERE, /* in a thread or a child: the program went on */
	IGNORED,   /* Python says that it goes on as if nothing had been */
};

struct found {
	enum kind kind;
	char *prefix; /* of each of its lines; "": none */
	bool strict;  /* lines without the prefix are somebody else's */
	bool headless;
	bool fatal; /* the deepest frame comes first */
	bool group;
	size_t first, error, end; /* its lines */
	size_t sub;               /* the line of a group's first sub-exception; 0: none */
	struct frame own, deepest, any;
};

struct finder {
	const struct log_lines *lines;
	const char *work_dir;
	struct found *items;
	size_t count;
	size_t room;
};

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

/* ---- frames ---- */

static void keep_frame(struct frame *place, const struct frame *frame, bool first_wins)
{
	if (!place->file || !first_wins)
		*place = *frame;
}

static void take_frame(const struct finder *finder, struct found *found, const struct frame *frame)
{
	keep_frame(&found->any, frame, found->fatal);
	if (frame->file_size && frame->file[0] != '<')
		keep_frame(&found->deepest, frame, found->fatal);
	if (frame->file_size && frame_is_own(frame, finder->work_dir))
		keep_frame(&found->own, frame, found->fatal);
}

/* ---- lines ---- */

/* A line without the prefix of its traceback; NULL: not one of its lines. */
static const char *line_of(const struct finder *finder, const struct found *found, size_t i)
{
	const char *line = finder->lines->items[i];

	if (starts_with(line, found->prefix))
		return line + strlen(found->prefix);
	return found->strict ? NULL : line;
}

/* "[rank0]: " is in front of all lines of a traceback, between which other ranks' lines may be; the
 * words of a log, or a progress bar, are in front of its first line alone. */
static bool is_on_each_line(const struct finder *finder, const struct found *found)
{
	size_t size = strlen(found->prefix);

	for (size_t i = 1; i < MIXED_MAX && found->first + i < finder->lines->count; i++) {
		const char *line = finder->lines->items[found->first + i];

		if (!strncmp(line, found->prefix, size) && line[size] == ' ')
			return true;
	}
	return false;
}

/* What stands before the header's own words: a group draws a "+" there and "|" below it. */
static void take_prefix(const struct finder *finder, struct found *found, const char *header)
{
	const char *line = finder->lines->items[found->first];

	found->prefix = mem_strndup(line, (size_t)(header - line));
	for (char *c = found->prefix; found->group && *c; c++)
		if (*c == '+')
			*c = '|';
	if (line_is_blank(found->prefix))
		return;
	found->strict = is_on_each_line(finder, found);
	if (!found->strict)
		found->prefix[0] = '\0';
}

static enum kind kind_of(const struct finder *finder, const struct found *found)
{
	static const struct {
		const char *start;
		enum kind kind;
	} announcements[] = {
		{ "Exception ignored ", IGNORED },
		{ "Error in atexit", IGNORED },
		{ "--- Logging error ---", IGNORED },
		{ "Exception in thread ", ELSEWHERE },
		{ "Process ", ELSEWHERE },
		{ "future: <", ELSEWHERE },
	};
	const char *before = NULL;

	for (size_t i = found->first; i-- && (!before || line_is_blank(before));)
		before = line_of(finder, found, i);
	for (size_t i = 0; before && i < ARRAY_SIZE(announcements); i++)
		if (starts_with(before, announcements[i].start))
			return announcements[i].kind;
	return CAUSE;
}

/* ---- the parts of a traceback ---- */

/* Frames with their source lines, all indented, then the exception. When that is not so, `end` is
 * the line that does not fit. */
static bool parse_body(const struct finder *finder, struct found *found, size_t from)
{
	const char *line = NULL;
	size_t i;

	for (i = from; i < finder->lines->count; i++) {
		struct frame frame;

		line = line_of(finder, found, i);
		if (!line)
			continue;
		if (frame_parse(line, &frame))
			take_frame(finder, found, &frame);
		else if ((line[0] != ' ' && line[0] != '\t') || traceback_header(line))
			break;
	}
	found->end = i;
	if (i == finder->lines->count || !found->any.file || !is_exception_line(line))
		return false;
	found->error = i;
	return true;
}

/* What the logging module prints below a traceback that it ignores. */
static bool is_of_logging(const char *line)
{
	return starts_with(line, "Call stack:") || starts_with(line, "Message: ") ||
	       starts_with(line, "Arguments: ");
}

static bool is_of_message(const struct found *found, const char *line)
{
	return line_is_blank(line) || line[0] == ' ' || line[0] == '\t' ||
	       (found->kind == IGNORED && is_of_logging(line));
}

static void skip_message(const struct finder *finder, struct found *found)
{
	for (found->end = found->error + 1; found->end < finder->lines->count; found->end++) {
		const char *line = line_of(finder, found, found->end);

		if (!line || !is_of_message(found, line))
			break;
	}
}

/* The tree of sub-exceptions below a group: lines of bars and crosses. */
static void skip_group(const struct finder *finder, struct found *found)
{
	for (found->end = found->error + 1; found->end < finder->lines->count; found->end++) {
		const char *line = finder->lines->items[found->end];
		struct frame frame;

		line += strspn(line, " ");
		if (*line != '|' && *line != '+')
			break;
		if (!found->sub && frame_parse(line, &frame))
			take_frame(finder, found, &frame);
		if (!found->sub && starts_with(line, "| ") && is_exception_line(line + 2))
			found->sub = found->end;
	}
}

static bool find_plain(const struct finder *finder, struct found *found)
{
	const char *line = finder->lines->items[found->first];
	const char *header = traceback_header(line);

	if (!header)
		return false;
	found->group = (size_t)(header - line) >= strlen(GROUP) &&
		       starts_with(header - strlen(GROUP), GROUP);
	take_prefix(finder, found, found->group ? header - strlen(GROUP) + 2 : header);
	if (!parse_body(finder, found, found->first + 1))
		return false;
	found->kind = kind_of(finder, found);
	if (found->group)
		skip_group(finder, found);
	else
		skip_message(finder, found);
	return true;
}

/* Only its own lines are before it, the first of which may be cut in two. */
static bool began_out_of_sight(const struct finder *finder, size_t first)
{
	for (size_t i = 1; i < first; i++)
		if (finder->lines->items[i][0] != ' ')
			return false;
	return true;
}

/* Without a header: a syntax error of the script itself, or the rest of one that began before the
 * first line there is. */
static bool find_headless(const struct finder *finder, struct found *found)
{
	struct frame frame;

	if (!frame_parse(finder->lines->items[found->first], &frame))
		return false;
	found->prefix = mem_strdup("");
	found->headless = true;
	if (!parse_body(finder, found, found->first))
		return false;
	if (!began_out_of_sight(finder, found->first) &&
		!is_syntax_error_line(finder->lines->items[found->error]))
		return false;
	skip_message(finder, found);
	return true;
}

static bool is_of_fatal(const char *line)
{
	static const char *const starts[] = { " ", "\t", "Current thread", "Thread 0x",
		"<no Python", "Extension modules:", "Python runtime state:" };

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		if (starts_with(line, starts[i]))
			return true;
	return line_is_blank(line);
}

/* The stacks of all threads follow; the one called current is meant. */
static bool find_fatal(const struct finder *finder, struct found *found)
{
	bool current = false;

	if (!starts_with(finder->lines->items[found->first], FATAL))
		return false;
	found->prefix = mem_strdup("");
	found->fatal = true;
	found->error = found->first;
	for (found->end = found->first + 1; found->end < finder->lines->count; found->end++) {
		const char *line = finder->lines->items[found->end];
		struct frame frame;

		if (!is_of_fatal(line))
			break;
		if (frame_parse(line, &frame) && current)
			take_frame(finder, found, &frame);
		else if (line[0] != ' ' && !line_is_blank(line))
			current = starts_with(line, "Current thread");
	}
	return true;
}

/* Takes what begins at line i; returns the line to go on with. */
static size_t find_at(struct finder *finder, size_t i)
{
	static bool (*const ways[])(const struct finder *finder, struct found *found) = {
		find_plain,
		find_headless,
		find_fatal,
	};
	size_t next = i + 1;

	for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
		struct found found = { .first = i };

		if (ways[w](finder, &found)) {
			GROW(finder->items, finder->count, finder->room);
			finder->items[finder->count++] = found;
			return found.strict && !found.group ? next : found.end;
		}
		free(found.prefix);
		if (found.headless && found.end > next)
			return found.end; /* a part of what was no body is none either */
	}
	return next;
}

/* ---- a launcher's report on its workers ---- */

static bool is_rule(const char *line)
{
	size_t size = strspn(line, "=");

	return size >= RULE_MIN && line_is_blank(line + size);
}

/* "  exitcode  : -9 (pid: 17)": false when it is not the line of this key. */
static bool take_field(const char *line, const char *key, int64_t *value)
{
	const char *colon = strchr(line, ':');
	char *rest;
	int64_t number;

	line += strspn(line, " ");
	if (!colon || !starts_with(line, key) || line[strlen(key)] != ' ')
		return false;
	number = strtoll(colon + 1, &rest, 10);
	if (rest == colon + 1 || number < INT32_MIN || number > INT32_MAX)
		return false;
	*value = number;
	return true;
}

/* The report is the error's message: it goes to the last rule. The rank that failed first, -1 when
 * it is not named. */
static int64_t read_report(const struct finder *finder, struct found *found, int64_t *ret_status)
{
	int64_t rank = -1;
	bool root = false;

	for (size_t i = found->error + 1; i < finder->lines->count; i++) {
		const char *line = finder->lines->items[i];

		root |= starts_with(line, "Root Cause");
		if (is_rule(line))
			found->end = i + 1;
		if (root && rank < 0)
			take_field(line, "rank", &rank);
		else if (root && take_field(line, "exitcode", ret_status))
			break;
	}
	for (size_t i = found->end; i < finder->lines->count && root; i++)
		if (is_rule(finder->lines->items[i]))
			found->end = i + 1;
	return rank;
}

static bool is_launcher(const struct finder *finder, const struct found *found)
{
	return strstr(finder->lines->items[found->error], LAUNCHER) != NULL;
}

/* The traceback of that rank before the launcher's own; when none is marked so, the last one. */
static struct found *find_worker(struct finder *finder, const struct found *launcher, int64_t rank)
{
	_cleanup_(freep) char *mark = mem_printf("[rank%lld]", (long long)rank);
	struct found *worker = NULL;

	for (struct found *f = finder->items; f < launcher; f++)
		if (f->kind == CAUSE && !is_launcher(finder, f) &&
			(!worker || !strstr(worker->prefix, mark) || strstr(f->prefix, mark)))
			worker = f;
	return worker;
}

static char *describe_rank(int64_t rank, int64_t status)
{
	if (rank < 0)
		return NULL;
	if (status < 0)
		return mem_printf("rank %lld failed first, by signal %lld", (long long)rank,
			-(long long)status);
	return mem_printf(
		"rank %lld failed first, with exit code %lld", (long long)rank, (long long)status);
}

/* ---- the answer ---- */

static size_t count_lines_after(const struct finder *finder, const struct found *found)
{
	size_t count = 0;

	for (size_t i = found->end; i < finder->lines->count; i++)
		count += !line_is_blank(finder->lines->items[i]);
	for (const struct found *f = finder->items; f < finder->items + finder->count; f++) {
		size_t i = f->first ? f->first - 1 : 0; /* with what announces it */

		if (f->kind != IGNORED || f->first < found->end)
			continue;
		for (; i < f->end; i++)
			count -= i >= found->end && !line_is_blank(finder->lines->items[i]);
	}
	return count;
}

static char *error_text(const struct finder *finder, const struct found *found)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *more = NULL;

	strbuf_adds(&text, line_of(finder, found, found->error));
	while (text.size && text.data[text.size - 1] == ' ')
		text.data[--text.size] = '\0';
	/* "RuntimeError: Error(s) in loading state_dict for Net:" */
	if (text.size && text.data[text.size - 1] == ':' && found->error + 1 < found->end &&
		!is_launcher(finder, found))
		more = line_of(finder, found, found->error + 1);
	if (more)
		strbuf_addf(&text, " %s", more + strspn(more, " \t|"));
	if (found->sub) {
		const char *sub = finder->lines->items[found->sub];

		strbuf_addf(&text, ", the first: %s", sub + strspn(sub, " |"));
	}
	return strbuf_steal(&text);
}

static void take_place(
	const struct finder *finder, const struct found *found, struct traceback *ret)
{
	const struct frame *frame = found->own.file       ? &found->own
				    : found->deepest.file ? &found->deepest
							  : &found->any;
	size_t skip;

	if (!frame->file)
		return;
	skip = frame_skip(frame, finder->work_dir);
	ret->file = mem_strndup(frame->file + skip, frame->file_size - skip);
	ret->line = frame->line;
	if (frame->function && strcmp(frame->function, "<module>"))
		ret->function = mem_strdup(frame->function);
}

static void answer(struct finder *finder, struct found *found, struct traceback *ret)
{
	struct found *told = found;
	int64_t rank = -1;
	int64_t status = 0;
	size_t after;

	if (is_launcher(finder, found)) {
		rank = read_report(finder, found, &status);
		told = status < 0 ? NULL : find_worker(finder, found, rank);
		told = told ? told : found;
	}
	after = count_lines_after(finder, found);
	if (after > TRACEBACK_NOISE_MAX)
		return;
	ret->at_end = after == 0 && found->kind == CAUSE;
	ret->error = error_text(finder, told);
	ret->origin = describe_rank(rank, status);
	ret->first_line = told->first;
	ret->end_line = told->end;
	if (!is_launcher(finder, told)) /* whose own code is not at fault */
		take_place(finder, told, ret);
}

void traceback_find(const struct log_lines *lines, const char *work_dir, struct traceback *ret)
{
	struct finder finder = { .lines = lines, .work_dir = work_dir };
	struct found *last = NULL;

	*ret = (struct traceback){ 0 };
	for (size_t i = 0; i < lines->count;)
		i = find_at(&finder, i);
	for (size_t i = 0; i < finder.count; i++)
		if (finder.items[i].kind != IGNORED)
			last = &finder.items[i];
	if (last)
		answer(&finder, last, ret);
	for (size_t i = 0; i < finder.count; i++)
		free(finder.items[i].prefix);
	free(finder.items);
}

void traceback_release(struct traceback *traceback)
{
	free(traceback->error);
	free(traceback->file);
	free(traceback->function);
	free(traceback->origin);
	*traceback = (struct traceback){ 0 };
}
