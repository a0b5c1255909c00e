/* SPDX-License-Identifier: MIT */
/*
 * strbuf - a growing byte buffer
 *
 * A low-level primitive: it knows only memory. `data` is always NUL-terminated after the first
 * append (the NUL is not counted in `size`); it may hold NUL bytes itself.
 *
 *	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
 *	strbuf_addf(&text, "%s/%s", dir, name);
 *	return strbuf_steal(&text);          (the caller frees)
 *
 * Errors: none. Out of memory ends the program (mem.h): runs outlive the daemon, so that is honest.
 */
#pragma once

#include <stddef.h>

#include "common/cleanup.h"

struct strbuf {
	char *data; /* NULL while nothing was ever added */
	size_t size;
	size_t room;
};

#define STRBUF_INIT \
	{ \
		NULL, 0, 0 \
	}

void strbuf_add(struct strbuf *buf, const void *data, size_t size);
void strbuf_adds(struct strbuf *buf, const char *text);
void strbuf_addc(struct strbuf *buf, char c);
void strbuf_addf(struct strbuf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Make room for `extra` more bytes and return where they go; set `size` afterwards. */
char *strbuf_reserve(struct strbuf *buf, size_t extra);

/* Forget the content, keep the memory. */
void strbuf_clear(struct strbuf *buf);

/* The content as a malloc'ed string ("" when empty); buf is empty afterwards. */
char *strbuf_steal(struct strbuf *buf);

/* Free the content; buf may be used again. */
void strbuf_release(struct strbuf *buf);
