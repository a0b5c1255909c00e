/* SPDX-License-Identifier: MIT */
/*
 * table - aligned columns and times for people
 *
 * Pure: text in, text out (tested without a terminal). Cells are escaped (output.h) when they are
 * added. Width is counted in what a terminal shows: wide characters take two columns.
 *
 * With a width to fit, the columns marked so are cut, with an ellipsis, until the lines fit: the
 * widest first, none below TABLE_CELL_MIN. Without (not a terminal) nothing is ever cut.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

#define TABLE_COLUMNS_MAX 8
#define TABLE_CELL_MIN 8

enum table_align { TABLE_LEFT, TABLE_RIGHT };

struct table_column {
	const char *title; /* NULL: the table has no titles */
	enum table_align align;
	bool may_cut;
};

struct table {
	const struct table_column *columns;
	size_t column_count;
	char **cells;         /* row after row */
	const char **colours; /* beside them: an escape sequence or NULL; not owned */
	size_t used;
	size_t room;
	size_t colours_room;
};

void table_init(struct table *table, const struct table_column *columns, size_t count);
void table_release(struct table *table);
/* The next cell, left to right. text NULL: "-". */
void table_add(struct table *table, const char *text);
/* In a colour, e.g. "\033[31m"; NULL: none. */
void table_add_coloured(struct table *table, const char *text, const char *colour);
void table_addf(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* width 0: do not cut. */
void table_format(const struct table *table, unsigned width, bool colour, struct strbuf *ret);
/* To stdout as it is. */
void table_print(const struct table *table);

/* Columns that text takes on a terminal. */
size_t text_width(const char *text);
/* text, escaped (output.h), cut to so many columns with an ellipsis; malloc'ed. */
char *text_cut(const char *text, size_t columns);

/* "just now", "3 min ago", "2 h ago", "5 days ago", "2026-11-22". malloc'ed. */
char *time_relative(int64_t now_us, int64_t then_us);
/* "27 ms", "4.2 s", "12 s", "3 min 20 s", "2 h 05 min", "3 d 4 h". malloc'ed. */
char *time_duration(int64_t us);
