/* SPDX-License-Identifier: MIT */
/*
 * http_message - HTTP/1.1 responses, parsed as their bytes come
 *
 * Pure: no sockets, any bytes (fuzzed). Knows what a response of our daemon can hold: a status
 *line, headers, and a body that has a Content-Length, comes in chunks, or ends with the connection.
 * Interim responses (1xx) are skipped. A starting amlctl links this instead of libcurl, which alone
 * takes longer to load (4 ms) than all of `amlctl run` may.
 *
 *	for (;;) {
 *		part = http_message_next(&message, data, size, &used, &body);
 *		data += used; size -= used;
 *		... HTTP_MORE: go on; once size is 0, read more; at the end of input
 *http_message_close()
 *		... HTTP_HEAD: message.status is there, once
 *		... HTTP_BODY: body points into data, used holds its size; any number of times
 *		... HTTP_END: the response is whole; what is left of data is not part of it
 *	}
 *
 * Errors: -EBADMSG for what is no such response.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

#define HTTP_LINE_MAX 16384
#define HTTP_HEAD_MAX 65536

enum http_part { HTTP_MORE, HTTP_HEAD, HTTP_BODY, HTTP_END };

enum http_state {
	HTTP_IN_STATUS,
	HTTP_IN_HEADERS,
	HTTP_IN_BODY, /* with a Content-Length */
	HTTP_IN_REST, /* until the connection is closed */
	HTTP_IN_CHUNK_SIZE,
	HTTP_IN_CHUNK,
	HTTP_IN_CHUNK_END,
	HTTP_IN_TRAILERS,
	HTTP_DONE,
};

struct http_message {
	enum http_state state;
	int status;      /* 200, ... */
	bool keep_alive; /* the connection may carry another request */
	bool has_length;
	bool chunked;
	uint64_t left; /* bytes to come of the body or of the chunk */
	size_t head_size;
	struct strbuf line;
};

void http_message_init(struct http_message *message);
void http_message_release(struct http_message *message);

/* The next part of it; see above. HTTP_MORE uses at least one byte, unless there is none. */
int http_message_next(struct http_message *message, const char *data, size_t size, size_t *ret_used,
	const char **ret_body);
/* The connection was closed: HTTP_END when that ends the message, -ECONNRESET when it cuts it. */
int http_message_close(struct http_message *message);

/* Percent-encode text for a path ('/' stays when keep_slash) or a query value. malloc'ed. */
char *http_encode(const char *text, bool keep_slash);
/* The bytes that a percent-encoded text stands for, malloc'ed; NULL when it is none or holds %00.
 */
char *http_decode(const char *text);
