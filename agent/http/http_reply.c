/* SPDX-License-Identifier: MIT */
/* http_reply - the answers: bytes, a file, a stream; see http_server.h and http_internal.h */
#include "http/http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"

/* What is read at once from a file, and of a stream for an HTTP/1.0 client; one in chunks is read
 * in pieces that fit into the connection's memory. */
#define BLOCK (256u * 1024)

static void add_headers(
	struct MHD_Response *response, const char *content_type, char *const *headers)
{
	if (content_type)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	for (size_t i = 0; headers && headers[i]; i++) {
		const char *value = strstr(headers[i], ": ");
		_cleanup_(freep) char *name = NULL;

		if (!value)
			continue;
		name = mem_strndup(headers[i], (size_t)(value - headers[i]));
		MHD_add_response_header(response, name, value + 2);
	}
}

/* Keep the reply until MHD takes it. One whose client has gone is dropped, and the request swept
 * away by the timer, not under the feet of the caller. */
static void answer(struct http_request *request, unsigned status, struct MHD_Response *response,
	const char *content_type, char *const *headers)
{
	if (!response || request->replied)
		abort(); /* out of memory, or a handler that replies twice */
	request->replied = true;
	if (!request->mhd) {
		MHD_destroy_response(response);
		http_server_kick(request->server);
		return;
	}
	if (request->server->stopping)
		http_server_send_on(request->server);
	add_headers(response, content_type, headers);
	request->status = status;
	request->response = response;
	http_request_resume(request);
}

void http_reply(struct http_request *request, unsigned status, const char *content_type,
	const void *body, size_t size, char *const *headers)
{
	/* MHD takes the pointer as non-const for its other modes. */
	answer(request, status,
		MHD_create_response_from_buffer(size, (void *)body, MHD_RESPMEM_MUST_COPY),
		content_type, headers);
}

/*
 * End the connection from within a reader. When a reader itself says so, MHD (0.9.75 to 1.0.1)
 * closes the connection but forgets to clean it up: descriptor and request would stay until
 * something else happened on it. A failing write it handles well. So nothing more can be sent, and
 * one byte tries.
 */
static ssize_t end_connection(struct http_request *request, char *to)
{
	shutdown(request->connection->fd, SHUT_RDWR);
	to[0] = '\0';
	return 1;
}

static ssize_t read_stream(void *data, uint64_t position, char *to, size_t size)
{
	struct http_request *request = data;
	int64_t since;
	ssize_t n;

	(void)position;
	if (!request->stream_ops)
		return end_connection(request, to);
	if (request->deferred) /* it was woken before its turn */
		http_user_undefer(request);
	if (http_user_defer(request)) {
		http_request_suspend(request);
		return 0;
	}
	request->woken = false;
	since = clock_boot();
	n = request->stream_ops->read(request->stream, to, size);
	http_user_spent(request, clock_boot() - since);
	if (n > 0)
		return n;
	if (n == 0 && request->chunked)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n != HTTP_STREAM_WAIT)
		return end_connection(request, to);
	http_request_suspend(request);
	if (request->woken)
		http_request_resume(request);
	return 0;
}

/* MHD would send files itself, but waits for ever for one that was truncated meanwhile. */
static ssize_t read_file(void *data, uint64_t position, char *to, size_t size)
{
	struct http_request *request = data;
	ssize_t n;

	do
		n = pread(request->file, to, size, (off_t)(request->file_offset + position));
	while (n < 0 && errno == EINTR);
	return n > 0 ? n : end_connection(request, to);
}

void http_reply_file(struct http_request *request, unsigned status, const char *content_type,
	int fd, uint64_t offset, uint64_t size, char *const *headers)
{
	if (size == 0) {
		fd_close(fd);
		http_reply(request, status, content_type, "", 0, headers);
		return;
	}
	request->file = fd;
	request->file_offset = offset;
	answer(request, status,
		MHD_create_response_from_callback(
			size, size < BLOCK ? size : BLOCK, read_file, request, NULL),
		content_type, headers);
}

void http_request_close_stream(struct http_request *request)
{
	const struct http_stream_ops *ops = TAKE(request->stream_ops);

	if (ops && ops->close)
		ops->close(request->stream);
}

void http_reply_stream(struct http_request *request, unsigned status, const char *content_type,
	uint64_t size, const struct http_stream_ops *ops, void *stream, char *const *headers)
{
	bool known = size != HTTP_SIZE_UNKNOWN;
	struct MHD_Response *response = MHD_create_response_from_callback(
		known ? size : MHD_SIZE_UNKNOWN, BLOCK, read_stream, request, NULL);

	/* The end of one of known size is known without asking; asked for more, it is cut. */
	request->chunked &= !known;
	/* MHD 0.9.75 ends the answer to HEAD with a last chunk, which no client expects. */
	if (response && !known && !strcmp(request->method, MHD_HTTP_METHOD_HEAD))
		MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
	request->stream_ops = ops;
	request->stream = stream;
	if (request->mhd)
		MHD_set_connection_option(request->mhd, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
	if (request->gone)
		http_request_close_stream(request);
	answer(request, status, response, content_type, headers);
}

void http_stream_wake(struct http_request *request)
{
	request->woken = true;
	if (request->stream_ops && request->suspended)
		http_request_resume(request);
}

char *http_error_body(const char *code, const char *message)
{
	/* Texts of ours: nothing in them needs escaping. */
	return mem_printf("{\"error\":{\"code\":\"%s\",\"message\":\"%s\",\"target\":null}}\n",
		code, message);
}

void http_reply_error(struct http_request *request, unsigned status, const char *code,
	const char *message, unsigned retry_after)
{
	_cleanup_(freep) char *body = http_error_body(code, message);
	_cleanup_(freep) char *header = mem_printf("Retry-After: %u", retry_after);

	http_reply(request, status, "application/json", body, strlen(body),
		retry_after ? (char *[]){ header, NULL } : NULL);
}
