/* SPDX-License-Identifier: MIT */
/*
 * card - one thing as lines of "Title:  value", the values aligned
 *
 * A thin layer over table.h that also breaks texts of several lines. Titles are kept as pointers,
 * values are copied. A title of "" goes on with the line before.
 */
#pragma once

#include "cli/table.h"
#include "common/json.h"

struct card {
	struct table table;
};

void card_init(struct card *card);
void card_release(struct card *card);
/* title NULL or value NULL or "": nothing is added. */
void card_add(struct card *card, const char *title, const char *value);
void card_add_coloured(struct card *card, const char *title, const char *value, const char *colour);
/* A sentence: on a terminal it is broken between words, so that it stays beside its title. */
void card_add_wrapped(struct card *card, const char *title, const char *value, const char *colour);
void card_addf(struct card *card, const char *title, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A JSON string; nothing for other values. */
void card_add_text(struct card *card, const char *title, const struct json *value);
/* A time: how long ago, and when. */
void card_add_time(struct card *card, const char *title, const struct json *value);
void card_print(const struct card *card);
