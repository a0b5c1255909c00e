/* SPDX-License-Identifier: MIT */
/*
 * pump - a blocking source as an HTTP stream: read on a work thread, sent from the loop
 *
 * `read` is called on a work thread, one call at a time: bytes, 0 at the end, negative errno (the
 * connection is cut). `close` is called on the loop, last. size: HTTP_SIZE_UNKNOWN when it is.
 */
#pragma once

#include "http/http_server.h"

struct pump_source {
	const char *content_type;
	char *const *headers; /* strv; NULL: none */
	uint64_t size;
	ssize_t (*read)(void *source, char *to, size_t size);
	void (*close)(void *source);
	void *source;
};

void pump_reply(uv_loop_t *loop, struct http_request *request, const struct pump_source *source);
