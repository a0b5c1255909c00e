/* SPDX-License-Identifier: MIT */
/* http_message - HTTP/1.1 responses, parsed as their bytes come; see http_message.h */
#include "cli/http_message.h"

#include <string.h>
#include <strings.h>

#include "common/mem.h"

void http_message_init(struct http_message *message)
{
	*message = (struct http_message){ 0 };
}

void http_message_release(struct http_message *message)
{
	strbuf_release(&message->line);
}

/* 1: message->line holds a whole line without its end; 0: more is needed; -EBADMSG: too long. */
static int take_line(struct http_message *m, const char *data, size_t size, size_t *ret_used)
{
	const char *end = size ? memchr(data, '\n', size) : NULL;
	size_t used = end ? (size_t)(end - data) + 1 : size;

	m->head_size += used;
	if (m->line.size + used > HTTP_LINE_MAX || m->head_size > HTTP_HEAD_MAX)
		return -EBADMSG;
	strbuf_add(&m->line, data, used);
	*ret_used = used;
	if (!end)
		return 0;
	m->line.size -= m->line.size > 1 && m->line.data[m->line.size - 2] == '\r' ? 2 : 1;
	m->line.data[m->line.size] = '\0';
	return strlen(m->line.data) == m->line.size ? 1 : -EBADMSG;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK"; the reason may be missing. */
static int read_status(struct http_message *m)
{
	const char *line = m->line.data;

	if (strncmp(line, "HTTP/1.", 7) || !is_digit(line[7]) || line[8] != ' ')
		return -EBADMSG;
	if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]))
		return -EBADMSG;
	if (line[9] == '0' || (line[12] != ' ' && line[12] != '\0'))
		return -EBADMSG;
	m->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
	m->keep_alive = line[7] != '0';
	m->has_length = false;
	m->chunked = false;
	m->left = 0;
	m->state = HTTP_IN_HEADERS;
	return 0;
}

static int read_length(struct http_message *m, const char *value)
{
	uint64_t number = 0;
	size_t i;

	for (i = 0; is_digit(value[i]); i++) {
		if (i > 17)
			return -EBADMSG;
		number = number * 10 + (uint64_t)(value[i] - '0');
	}
	if (i == 0 || value[i] || (m->has_length && m->left != number))
		return -EBADMSG;
	m->has_length = true;
	m->left = number;
	return 0;
}

static int read_encoding(struct http_message *m, const char *value)
{
	m->chunked = true;
	return strcasecmp(value, "chunked") ? -EBADMSG : 0;
}

static int read_connection(struct http_message *m, const char *value)
{
	if (!strcasecmp(value, "close"))
		m->keep_alive = false;
	return 0;
}

static const struct {
	const char *name;
	int (*read)(struct http_message *m, const char *value);
} headers[] = {
	{ "Content-Length", read_length },
	{ "Transfer-Encoding", read_encoding },
	{ "Connection", read_connection },
};

static int read_header(struct http_message *m)
{
	char *colon = strchr(m->line.data, ':');
	char *value;
	char *end;

	if (!colon || colon == m->line.data ||
		strcspn(m->line.data, " \t") < (size_t)(colon - m->line.data))
		return -EBADMSG;
	*colon = '\0';
	value = colon + 1 + strspn(colon + 1, " \t");
	for (end = value + strlen(value); end > value && strchr(" \t", end[-1]); end--)
		;
	*end = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(headers); i++)
		if (!strcasecmp(m->line.data, headers[i].name))
			return headers[i].read(m, value);
	return 0;
}

/* All headers are there: what kind of body follows? */
static int end_headers(struct http_message *m)
{
	if (m->chunked && m->has_length)
		return -EBADMSG;
	if (m->status < 200) {
		m->state = HTTP_IN_STATUS;
		return HTTP_MORE;
	}
	if (m->status == 204 || m->status == 304 || (m->has_length && m->left == 0))
		m->state = HTTP_DONE;
	else if (m->chunked)
		m->state = HTTP_IN_CHUNK_SIZE;
	else
		m->state = m->has_length ? HTTP_IN_BODY : HTTP_IN_REST;
	if (m->state == HTTP_IN_REST)
		m->keep_alive = false;
	return HTTP_HEAD;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "1f", "1f;extension" */
static int read_chunk_size(struct http_message *m)
{
	const char *line = m->line.data;
	size_t i;

	m->left = 0;
	for (i = 0; hex_value(line[i]) >= 0; i++) {
		if (i > 14)
			return -EBADMSG;
		m->left = m->left * 16 + (uint64_t)hex_value(line[i]);
	}
	if (i == 0 || (line[i] && !strchr("; \t", line[i])))
		return -EBADMSG;
	m->head_size = 0;
	m->state = m->left ? HTTP_IN_CHUNK : HTTP_IN_TRAILERS;
	return 0;
}

static int read_line(struct http_message *m)
{
	bool empty = m->line.size == 0;

	switch (m->state) {
	case HTTP_IN_STATUS:
		return read_status(m);
	case HTTP_IN_HEADERS:
		return empty ? end_headers(m) : read_header(m);
	case HTTP_IN_CHUNK_SIZE:
		return read_chunk_size(m);
	case HTTP_IN_CHUNK_END:
		m->state = HTTP_IN_CHUNK_SIZE;
		return empty ? 0 : -EBADMSG;
	default:
		if (empty)
			m->state = HTTP_DONE;
		return 0;
	}
}

static int next_line(struct http_message *m, const char *data, size_t size, size_t *ret_used)
{
	int r = take_line(m, data, size, ret_used);

	if (r <= 0)
		return r < 0 ? r : HTTP_MORE;
	r = read_line(m);
	strbuf_clear(&m->line);
	return r;
}

static int next_bytes(struct http_message *m, const char *data, size_t size, size_t *ret_used,
	const char **ret_body)
{
	*ret_body = data;
	*ret_used = size;
	if (m->state == HTTP_IN_REST || size == 0)
		return size ? HTTP_BODY : HTTP_MORE;
	if (m->left < size)
		*ret_used = (size_t)m->left;
	m->left -= *ret_used;
	if (m->left == 0)
		m->state = m->state == HTTP_IN_CHUNK ? HTTP_IN_CHUNK_END : HTTP_DONE;
	return HTTP_BODY;
}

int http_message_next(struct http_message *message, const char *data, size_t size, size_t *ret_used,
	const char **ret_body)
{
	size_t total = 0;
	int part = HTTP_MORE;

	*ret_used = 0;
	while (part == HTTP_MORE) {
		size_t used = 0;

		if (message->state == HTTP_DONE) {
			*ret_used = total;
			return HTTP_END;
		}
		if (total == size)
			break;
		if (message->state == HTTP_IN_BODY || message->state == HTTP_IN_REST ||
			message->state == HTTP_IN_CHUNK) {
			/* Body bytes are handed out alone, so that `used` is their size. */
			if (total)
				break;
			return next_bytes(message, data, size, ret_used, ret_body);
		}
		part = next_line(message, data + total, size - total, &used);
		total += used;
	}
	*ret_used = total;
	return part;
}

int http_message_close(struct http_message *message)
{
	if (message->state == HTTP_DONE || message->state == HTTP_IN_REST)
		return HTTP_END;
	return -ECONNRESET;
}

char *http_encode(const char *text, bool keep_slash)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(*text);

		if (letter || strchr("-._~", c) || (c == '/' && keep_slash))
			strbuf_addc(&out, *text);
		else
			strbuf_addf(&out, "%%%02X", c);
	}
	return strbuf_steal(&out);
}

char *http_decode(const char *text)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	for (; *text; text++) {
		int high = *text == '%' ? hex_value(text[1]) : -1;
		int low = high >= 0 ? hex_value(text[2]) : -1;

		if (*text != '%') {
			strbuf_addc(&out, *text);
			continue;
		}
		if (low < 0 || (high == 0 && low == 0))
			return NULL;
		strbuf_addc(&out, (char)(high * 16 + low));
		text += 2;
	}
	return strbuf_steal(&out);
}
