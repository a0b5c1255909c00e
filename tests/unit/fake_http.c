/* SPDX-License-Identifier: MIT */
/* fake_http - agent/http without a socket; see fake_http.h */
#include "fake_http.h"

#include <unistd.h>

#include "test.h"

#include "common/mem.h"

struct http_request {
	const struct fake_user *user;
	const char *method, *body;
	char *path;
	struct pairs queries;
	int (*write)(struct http_request *request, const void *data, size_t size);
	void *user_data;
	struct fake_answer answer;
	const struct http_stream_ops *ops; /* of a stream that is not at its end */
	void *stream;
};

/* ---- the request ---- */

const char *http_request_method(const struct http_request *request)
{
	return request->method;
}

const char *http_request_path(const struct http_request *request)
{
	return request->path;
}

const char *http_request_query(const struct http_request *request, const char *key)
{
	return pairs_get(&request->queries, key);
}

const struct pairs *http_request_queries(const struct http_request *request)
{
	return &request->queries;
}

const char *http_request_header(const struct http_request *request, const char *name)
{
	(void)request;
	(void)name;
	return NULL;
}

const char *http_request_body(const struct http_request *request, size_t *ret_size)
{
	*ret_size = request->body ? strlen(request->body) : 0;
	return request->body;
}

uid_t http_request_uid(const struct http_request *request)
{
	return request->user->uid;
}

pid_t http_request_pid(const struct http_request *request)
{
	(void)request;
	return getpid();
}

const gid_t *http_request_groups(struct http_request *request, size_t *ret_count)
{
	*ret_count = request->user->group_count;
	return request->user->groups;
}

void http_request_set_user_data(struct http_request *request, void *user_data)
{
	request->user_data = user_data;
}

void *http_request_user_data(const struct http_request *request)
{
	return request->user_data;
}

void http_request_set_body(struct http_request *request,
	int (*write)(struct http_request *request, const void *data, size_t size))
{
	request->write = write;
}

void http_request_on_closed(struct http_request *request, void (*closed)(struct http_request *))
{
	(void)request;
	(void)closed;
}

const struct http_server *http_request_server(const struct http_request *request)
{
	(void)request;
	return NULL;
}

void http_server_statistics(const struct http_server *server, struct http_statistics *ret)
{
	(void)server;
	*ret = (struct http_statistics){ 0 };
}

/* ---- the answer ---- */

static void answer(
	struct http_request *request, unsigned status, const char *type, char *const *headers)
{
	assert_int_equal(request->answer.status, 0); /* there is one only */
	request->answer.status = status;
	request->answer.type = mem_strdup(type);
	request->answer.headers = strv_copy(headers);
}

void http_reply(struct http_request *request, unsigned status, const char *content_type,
	const void *body, size_t size, char *const *headers)
{
	answer(request, status, content_type, headers);
	strbuf_add(&request->answer.body, body, size);
}

void http_reply_file(struct http_request *request, unsigned status, const char *content_type,
	int fd, uint64_t offset, uint64_t size, char *const *headers)
{
	char *to = strbuf_reserve(&request->answer.body, size);

	answer(request, status, content_type, headers);
	assert_int_equal(pread(fd, to, size, (off_t)offset), size);
	request->answer.body.size += size;
	close(fd);
}

void http_reply_stream(struct http_request *request, unsigned status, const char *content_type,
	uint64_t size, const struct http_stream_ops *ops, void *stream, char *const *headers)
{
	(void)size;
	answer(request, status, content_type, headers);
	request->ops = ops;
	request->stream = stream;
}

/* It is asked all the time. */
void http_stream_wake(struct http_request *request)
{
	(void)request;
}

static bool stream_goes_on(struct http_request *request)
{
	char piece[4096];
	ssize_t n;

	if (!request->ops)
		return false;
	n = request->ops->read(request->stream, piece, sizeof(piece));
	if (n == HTTP_STREAM_WAIT)
		return true;
	assert_true(n >= 0);
	strbuf_add(&request->answer.body, piece, (size_t)n);
	if (n > 0)
		return true;
	request->ops->close(request->stream);
	request->ops = NULL;
	return false;
}

/* ---- all of it ---- */

static struct {
	void (*then)(void *data);
	void *data;
} before_handle;

void fake_http_before_handle(void (*then)(void *data), void *data)
{
	before_handle.then = then;
	before_handle.data = data;
}

static void take_a_break(void)
{
	void (*then)(void *data) = before_handle.then;

	before_handle.then = NULL;
	if (then)
		then(before_handle.data);
}

static void read_url(struct http_request *request, const char *url)
{
	_cleanup_(freep) char *copy = mem_strdup(url);
	char *rest = copy;

	request->path = mem_strdup(strsep(&rest, "?"));
	for (char *part; (part = strsep(&rest, "&"));) {
		_cleanup_(freep) char *value = NULL;
		char *key = strsep(&part, "=");

		assert_int_equal(http_percent_decode(part ? part : "", &value), 0);
		pairs_set(&request->queries, key, value);
	}
}

void fake_http_ask(uv_loop_t *loop, const struct http_handler *handler,
	const struct fake_user *user, const char *method, const char *url, const char *body,
	struct fake_answer *ret)
{
	struct http_request request = { .user = user, .method = method, .body = body };

	read_url(&request, url);
	handler->begin(handler->data, &request);
	take_a_break();
	if (!request.answer.status) {
		if (body && request.write)
			assert_int_equal(request.write(&request, body, strlen(body)), 0);
		handler->handle(handler->data, &request);
	}
	while (!request.answer.status || stream_goes_on(&request))
		uv_run(loop, UV_RUN_ONCE);
	handler->end(handler->data, &request);
	free(request.path);
	pairs_release(&request.queries);
	strbuf_add(&request.answer.body, "", 0);
	*ret = request.answer;
}

void fake_answer_release(struct fake_answer *answer)
{
	free(answer->type);
	strv_free(answer->headers);
	strbuf_release(&answer->body);
	*answer = (struct fake_answer){ 0 };
}
