/* SPDX-License-Identifier: MIT */
/* http_request - one request, from its headers until it is over; see http_internal.h */
#include "http/http_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"

/* Appended without a look for one of the same name: a client may send thousands. */
static enum MHD_Result add_header(
	void *data, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct pairs *headers = data;

	(void)kind;
	GROW(headers->items, headers->count, headers->room);
	headers->items[headers->count++] = (struct pair){
		mem_strdup(key),
		mem_strdup(value ? value : ""),
	};
	return MHD_YES;
}

/* MHD ends the walk at MHD_NO. */
static enum MHD_Result add_query(
	void *data, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct http_request *request = data;
	_cleanup_(freep) char *name = NULL;
	_cleanup_(freep) char *text = NULL;

	(void)kind;
	if (request->queries.count == HTTP_QUERIES_MAX) {
		http_reply_error(request, MHD_HTTP_BAD_REQUEST, "BadRequest",
			"the URL has too many query parameters", 0);
		return MHD_NO;
	}
	if (http_percent_decode(key, &name) < 0 ||
		http_percent_decode(value ? value : "", &text) < 0) {
		http_reply_error(request, MHD_HTTP_BAD_REQUEST, "BadRequest",
			"the URL's query has a bad %-escape; write a percent sign as %25", 0);
		return MHD_NO;
	}
	pairs_set(&request->queries, name, text);
	return MHD_YES;
}

static struct http_connection *connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info->socket_context;
}

struct http_request *http_request_new(struct http_server *server, struct MHD_Connection *mhd,
	const char *url, const char *method, const char *version)
{
	struct http_request *request = NEW(struct http_request);
	const char *length;

	request->server = server;
	request->file = -EBADF;
	request->mhd = mhd;
	request->connection = connection_of(mhd);
	request->connection->request = request;
	request->user = request->connection->user;
	request->uid = request->connection->uid;
	request->pid = request->connection->pid;
	request->method = mem_strdup(method);
	request->path = mem_strdup(url);
	request->chunked = strcmp(version, MHD_HTTP_VERSION_1_0) != 0;
	MHD_get_connection_values(mhd, MHD_HEADER_KIND, add_header, &request->headers);
	length = http_request_header(request, "Content-Length");
	request->announced = length ? strtoull(length, NULL, 10) : 0;
	request->next = server->requests;
	if (request->next)
		request->next->prev = request;
	server->requests = request;
	server->pins++;
	http_deadline_body(request);
	return request;
}

static void body_release(struct http_request *request)
{
	if (request->body.size)
		request->user->body_bytes -= request->body.size;
	strbuf_release(&request->body);
}

static void request_free(struct http_request *request)
{
	struct http_server *server = request->server;

	if (request->shown && server->handler.end)
		server->handler.end(server->handler.data, request);
	if (request->prev)
		request->prev->next = request->next;
	else
		server->requests = request->next;
	if (request->next)
		request->next->prev = request->prev;
	free(request->method);
	free(request->path);
	pairs_release(&request->queries);
	pairs_release(&request->headers);
	body_release(request);
	free(request->groups);
	fd_close(request->file);
	free(request);
	http_server_unpin(server);
}

static bool is_owed(const struct http_request *request)
{
	return request->handed && !request->replied;
}

void http_request_over(struct http_request *request, bool completed)
{
	struct http_connection *connection = request->connection;

	http_connection_unwatch(connection);
	if (request->deferred)
		http_user_undefer(request);
	connection->request = NULL;
	if (!completed)
		request->server->statistics.broken++;
	else
		http_deadline_next(connection);
	if (completed && request->stream_ops) /* the stream's was none */
		MHD_set_connection_option(request->mhd, MHD_CONNECTION_OPTION_TIMEOUT,
			request->server->options.idle_timeout_seconds);
	request->connection = NULL;
	request->mhd = NULL;
	request->suspended = false;
	http_request_close_stream(request);
	if (request->response)
		MHD_destroy_response(TAKE(request->response));
	if (!is_owed(request))
		request_free(request);
	else
		http_request_peer_gone(request);
}

void http_requests_sweep(struct http_server *server)
{
	struct http_request *next;

	for (struct http_request *r = server->requests; r; r = next) {
		next = r->next;
		if (!r->mhd && !is_owed(r))
			request_free(r);
	}
}

void http_request_suspend(struct http_request *request)
{
	MHD_suspend_connection(request->mhd);
	request->suspended = true;
	if (request->closed || request->stream_ops)
		http_connection_watch(request->connection, request);
}

void http_request_resume(struct http_request *request)
{
	if (!request->suspended)
		return;
	http_connection_unwatch(request->connection);
	request->suspended = false;
	MHD_resume_connection(request->mhd);
	http_server_kick(request->server);
}

/* A stream ends here; a handler that has not replied yet is told, once. */
void http_request_peer_gone(struct http_request *request)
{
	void (*closed)(struct http_request *) = request->closed;

	request->gone = true;
	request->closed = NULL;
	if (request->stream_ops) {
		http_request_close_stream(request);
		http_request_resume(request);
	} else if (closed && !request->replied) {
		closed(request);
	}
}

/* Streams, files and those who wait for something may take for ever. */
bool http_request_is_awaited(const struct http_request *request, int64_t now)
{
	const struct http_server *server = request->server;

	if (now >= server->finish_us || (request->replied && now >= server->send_until_us))
		return false;
	return request->mhd && request->whole && !request->stream_ops && request->file < 0 &&
	       !request->closed;
}

/* Hand the reply to MHD. */
static enum MHD_Result queue(struct http_request *request)
{
	struct MHD_Response *response = TAKE(request->response);
	unsigned class = request->status / 100;
	enum MHD_Result result;

	/* The next request is not for us. */
	if (request->server->stopping)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	result = MHD_queue_response(request->mhd, request->status, response);
	request->server->statistics.requests[class < 6 ? class : 0]++;
	MHD_destroy_response(response);
	return result;
}

static bool answer_at_once(const struct http_request *request)
{
	return request->announced > HTTP_DRAIN_MAX || http_request_header(request, "Expect");
}

static void refuse_body(struct http_request *request)
{
	char message[128];

	snprintf(message, sizeof(message), "the body is larger than the %zu bytes allowed",
		request->server->options.max_body);
	body_release(request);
	http_reply_error(request, MHD_HTTP_CONTENT_TOO_LARGE, "TooLarge", message, 0);
}

static void refuse_over_limit(
	struct http_request *request, const char *message, unsigned retry_after)
{
	request->server->statistics.limited++;
	http_user_limited(request->server, request->user, request->pid, message);
	body_release(request);
	http_reply_error(
		request, MHD_HTTP_TOO_MANY_REQUESTS, "TooManyRequests", message, retry_after);
}

static void check_rate(struct http_request *request)
{
	unsigned wait = http_user_take_token(request->server, request->user);

	if (wait)
		refuse_over_limit(request,
			"you send amlagentd more requests a second than its configuration allows",
			wait);
}

enum MHD_Result http_request_begin(struct http_request *request)
{
	struct http_server *server = request->server;

	check_rate(request);
	if (!request->replied)
		MHD_get_connection_values(request->mhd, MHD_GET_ARGUMENT_KIND, add_query, request);
	request->shown = !request->replied;
	if (request->shown && server->handler.begin)
		server->handler.begin(server->handler.data, request);
	if (!request->replied && !request->write && request->announced > server->options.max_body)
		refuse_body(request);
	if (request->response && answer_at_once(request))
		return queue(request);
	return MHD_YES;
}

enum MHD_Result http_request_take_body(struct http_request *request, const char *data, size_t size)
{
	request->connection->body_bytes += size;
	if (request->replied)
		return MHD_YES;
	if (request->write) {
		if (request->write(request, data, size) < 0 && !request->replied)
			http_reply_error(request, MHD_HTTP_INTERNAL_SERVER_ERROR, "InternalError",
				"the body could not be taken", 0);
		return MHD_YES;
	}
	if (size > request->server->options.max_body - request->body.size) {
		refuse_body(request);
	} else if (!http_user_has_room(request->server, request->user, size)) {
		refuse_over_limit(request,
			"you have too many large requests under way; send them one after another",
			1);
	} else {
		strbuf_add(&request->body, data, size);
		request->user->body_bytes += size;
	}
	return MHD_YES;
}

/* Or others go first. */
static void hand_over(struct http_request *request)
{
	struct http_server *server = request->server;
	int64_t since = clock_boot();

	if (http_user_defer(request))
		return;
	request->handed = true;
	server->handler.handle(server->handler.data, request);
	http_user_spent(request, clock_boot() - since);
}

enum MHD_Result http_request_whole(struct http_request *request)
{
	request->whole = true;
	if (!request->handed && !request->replied)
		hand_over(request);
	if (request->response)
		return queue(request);
	http_request_suspend(request);
	return MHD_YES;
}

const struct http_server *http_request_server(const struct http_request *request)
{
	return request->server;
}

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
	for (size_t i = 0; i < request->headers.count; i++)
		if (!strcasecmp(request->headers.items[i].key, name))
			return request->headers.items[i].value;
	return NULL;
}

const char *http_request_body(const struct http_request *request, size_t *ret_size)
{
	*ret_size = request->body.size;
	return request->body.data ? request->body.data : "";
}

uid_t http_request_uid(const struct http_request *request)
{
	return request->uid;
}

pid_t http_request_pid(const struct http_request *request)
{
	return request->pid;
}

const gid_t *http_request_groups(struct http_request *request, size_t *ret_count)
{
	const gid_t *groups;
	size_t count;

	if (!request->groups && request->connection) {
		groups = http_connection_groups(request->connection, &count);
		request->groups = mem_dup(groups, count * sizeof(*groups));
		request->group_count = count;
	}
	*ret_count = request->group_count;
	return request->groups;
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
	request->closed = closed;
	if (request->suspended && closed && !request->gone)
		http_connection_watch(request->connection, request);
}
