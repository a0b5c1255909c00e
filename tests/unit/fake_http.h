/* SPDX-License-Identifier: MIT */
/*
 * fake_http - agent/http without a socket: a request is asked of a handler, and the answer comes back
 *
 * Linked in place of libhttp, but for its http_percent.c. One request at a time; who asks is whoever
 * the test says. Failures abort the test (cmocka).
 *
 * Threads: the loop's, which is the test's.
 */
#pragma once

#include <uv.h>

#include "common/strbuf.h"
#include "common/strv.h"
#include "http/http_server.h"

struct fake_user {
	uid_t uid;
	const gid_t *groups;
	size_t group_count;
};

struct fake_answer {
	unsigned status;
	char *type; /* NULL: none */
	char **headers;
	struct strbuf body; /* of a stream all of it */
};

/* url: path and query, encoded. body NULL: none. The loop is turned until the answer is whole. */
void fake_http_ask(uv_loop_t *loop, const struct http_handler *handler,
	const struct fake_user *user, const char *method, const char *url, const char *body,
	struct fake_answer *ret);
/* Of the next request: between its headers and the rest of it, once. */
void fake_http_before_handle(void (*then)(void *data), void *data);
void fake_answer_release(struct fake_answer *answer);
