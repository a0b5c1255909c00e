/* SPDX-License-Identifier: MIT */
/*
 * fuzz_http_message - any bytes as a response, in one piece and in pieces of the first byte's size
 *
 * Besides not crashing, both ways must give the same status, body and end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/http_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	int status;
	int end;
	struct strbuf body;
};

static void parse(const char *text, size_t size, size_t step, struct outcome *ret)
{
	_cleanup_(http_message_release) struct http_message message;
	size_t at = 0;
	size_t have = 0;

	*ret = (struct outcome){ .end = HTTP_MORE };
	http_message_init(&message);
	while (ret->end == HTTP_MORE) {
		const char *body = NULL;
		size_t used = 0;
		int part = http_message_next(&message, text + at, have - at, &used, &body);

		if (used > have - at || (part == HTTP_MORE && !used && at < have))
			abort();
		at += used;
		if (part == HTTP_BODY)
			strbuf_add(&ret->body, body, used);
		else if (part == HTTP_END || part < 0)
			ret->end = part;
		else if (part == HTTP_MORE && at == size)
			break;
		else if (part == HTTP_MORE && at == have)
			have = size - have < step ? size : have + step;
	}
	if (ret->end == HTTP_MORE)
		ret->end = http_message_close(&message);
	ret->status = message.status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole;
	struct outcome pieces;

	if (!size)
		return 0;
	parse((const char *)data + 1, size - 1, size, &whole);
	parse((const char *)data + 1, size - 1, data[0] % 32 + 1u, &pieces);
	if (whole.status != pieces.status || whole.end != pieces.end ||
		whole.body.size != pieces.body.size ||
		(whole.body.size && memcmp(whole.body.data, pieces.body.data, whole.body.size)))
		abort();
	strbuf_release(&whole.body);
	strbuf_release(&pieces.body);
	return 0;
}
