/* SPDX-License-Identifier: MIT */
/* strbuf - a growing byte buffer; see strbuf.h */
#include "common/strbuf.h"

#include <stdarg.h>
#include <string.h>

#include "common/mem.h"

char *strbuf_reserve(struct strbuf *buf, size_t extra)
{
	size_t need = buf->size + extra + 1;
	size_t room = buf->room ? buf->room : 64;

	if (need > buf->room) {
		while (room < need)
			room *= 2;
		buf->data = mem_realloc(buf->data, room);
		buf->room = room;
	}
	return buf->data + buf->size;
}

void strbuf_add(struct strbuf *buf, const void *data, size_t size)
{
	char *to = strbuf_reserve(buf, size);

	if (size)
		memcpy(to, data, size);
	buf->size += size;
	buf->data[buf->size] = '\0';
}

void strbuf_adds(struct strbuf *buf, const char *text)
{
	strbuf_add(buf, text, strlen(text));
}

void strbuf_addc(struct strbuf *buf, char c)
{
	strbuf_add(buf, &c, 1);
}

void strbuf_addf(struct strbuf *buf, const char *fmt, ...)
{
	va_list args;
	int size;

	va_start(args, fmt);
	size = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (size < 0)
		return;

	strbuf_reserve(buf, (size_t)size);
	va_start(args, fmt);
	vsnprintf(buf->data + buf->size, (size_t)size + 1, fmt, args);
	va_end(args);
	buf->size += (size_t)size;
}

void strbuf_clear(struct strbuf *buf)
{
	buf->size = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

char *strbuf_steal(struct strbuf *buf)
{
	char *text;

	strbuf_reserve(buf, 0);
	buf->data[buf->size] = '\0';
	text = buf->data;
	*buf = (struct strbuf)STRBUF_INIT;
	return text;
}

void strbuf_release(struct strbuf *buf)
{
	free(buf->data);
	*buf = (struct strbuf)STRBUF_INIT;
}
