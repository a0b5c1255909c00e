/* SPDX-License-Identifier: MIT */
/*
 * output - the two streams: answers on stdout, what amlctl has to say on stderr
 *
 * stdout carries what was asked for and nothing else. Everything that people read goes through
 * text_escape(): a name or message cannot send control sequences to a terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/json.h"
#include "common/strbuf.h"

/* "amlctl: ..." on stderr; further lines of the text are indented. Clears a status line first. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line on a terminal's stderr that the next say(), or NULL, clears; nothing at all elsewhere. It
 * is cut to the terminal's width: a line that is broken could not be cleared. */
void say_status(const char *text);

/* Append text with what is no printable UTF-8 as \n, \t, \033, ...: as `ls -b` does it. */
void text_escape(struct strbuf *to, const char *text);
/* The first line of text, escaped; malloc'ed, "" for NULL. */
char *text_first_line(const char *text);

/* One line, or indented on a terminal. */
void print_json(const struct json *value);

/* Bytes on stdout, past stdio. -EPIPE ends the program with EXIT_PIPE, quietly, as SIGPIPE would.
 */
int write_output(const void *data, size_t size, struct error *err);
/* The same of bytes that somebody else made, for a terminal: control characters but newline, tab and
 * return are shown as '?', so that they cannot tell the terminal to do anything. */
int write_foreign_output(const void *data, size_t size, struct error *err);
/* Flush stdout: 0, or EXIT_TROUBLE with a line on stderr when it could not be written. */
int finish_output(void);

/* Colour on stdout: a terminal, not TERM=dumb, not NO_COLOR. */
bool output_has_colour(void);
/* Columns of the terminal on stdout, 0 when it is none. */
unsigned output_width(void);
