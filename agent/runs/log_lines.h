/* SPDX-License-Identifier: MIT */
/*
 * log_lines - bytes of a log as the lines that a terminal shows
 *
 * Any bytes in, valid UTF-8 out: escape sequences (colours, cursor movements, titles) are dropped;
 * of a line that was written over (a progress bar's carriage returns) the last state stays; what is
 * no UTF-8 becomes U+FFFD, NUL bytes too. Pure.
 *
 * Who frees: log_lines_release(); the text_...() below return malloc'ed strings.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct log_lines {
	char *text;   /* what the items point into */
	char **items; /* without their line ends */
	size_t count;
	size_t room;
};

void log_lines_split(const char *data, size_t size, struct log_lines *ret);
void log_lines_release(struct log_lines *lines);

bool line_is_blank(const char *line);

/* For a place in a sentence: one line without control characters, of at most `max` bytes (4 or
 * more); what had to go is shown by an ellipsis at the end, or in front. */
char *text_cut(const char *text, size_t max);
char *text_cut_front(const char *text, size_t max);
