/* SPDX-License-Identifier: MIT */
/*
 * pump - a blocking source as an HTTP stream: read on a work thread, sent from the loop
 *
 * `read` is called on a work thread, one call at a time: bytes, 0 at the end, negative errno (the
 * connection is cut). `close` is called on the loop, last.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

struct http_request;

void pump_reply(uv_loop_t *loop, struct http_request *request, const char *content_type,
	ssize_t (*read)(void *source, char *to, size_t size), void (*close)(void *source),
	void *source);
