/* SPDX-License-Identifier: MIT */
/*
 * http_deadline - nobody is waited for in vain; see http_server.h and http_internal.h
 *
 * MHD's own timeout begins anew with every byte, and it does not say when the first byte of a
 * request came. So every connection is in an epoll set of ours too, told by edges, and looked at
 * before MHD reads: bytes that are there while no request is under way are the begin of one. (Those
 * that come between that look and MHD's are not seen; where nothing follows them MHD's own timeout
 * ends the connection.) A new connection's time begins when it is opened.
 *
 * The same set tells of peers that have sent their last byte, which MHD, told by edges as well, can
 * miss (http_connection_end_if_cut()).
 */
#include "http/http_internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/clock.h"

#define EVENTS 64

static void on_deadline(uv_timer_t *timer);

/* ---- the next look ---- */

static bool awaits_body(const struct http_connection *connection)
{
	const struct http_request *request = connection->request;

	/* One that is replied to without `response` is being answered already. */
	return request && connection->body_us && !request->whole &&
	       (request->response || !request->replied);
}

/* 0: it is not waited for. */
static int64_t deadline_of(const struct http_connection *connection)
{
	const struct http_limits *limits = &connection->server->options.limits;

	if (!connection->request && connection->head_us && limits->request_timeout_seconds)
		return connection->head_us + limits->request_timeout_seconds * USEC_PER_SEC;
	if (awaits_body(connection) && limits->body_timeout_seconds)
		return connection->body_us + limits->body_timeout_seconds * USEC_PER_SEC;
	return 0;
}

static void wait_for(struct http_connection *connection)
{
	int64_t at = deadline_of(connection);

	if (at && !connection->server->stopping)
		http_timer_by(&connection->server->deadline, on_deadline, at);
}

/* ---- its time has come ---- */

/* Enough came: the next stretch of the body has as long. */
static bool body_goes_on(struct http_connection *connection, int64_t now)
{
	const struct http_limits *limits = &connection->server->options.limits;

	if (!connection->request ||
		connection->body_bytes <
			(uint64_t)limits->body_timeout_seconds * HTTP_BODY_RATE_MIN)
		return false;
	connection->body_us = now;
	connection->body_bytes = 0;
	return true;
}

/* MHD is sending nothing on a connection that it reads a request from. */
static void time_out(struct http_connection *connection)
{
	struct http_server *server = connection->server;

	server->statistics.timed_out++;
	server->statistics.requests[4]++;
	http_refuse(connection->fd, MHD_HTTP_REQUEST_TIMEOUT, "Request Timeout", "RequestTimeout",
		"the request did not come in time", 0);
	shutdown(connection->fd, SHUT_RDWR);
	connection->head_us = connection->body_us = 0;
}

static void on_deadline(uv_timer_t *timer)
{
	struct http_server *server = container_of(timer, struct http_server, deadline);
	int64_t now = clock_boot();

	for (struct http_connection *c = server->open; c; c = c->next) {
		int64_t at = deadline_of(c);

		if (at && at <= now && !body_goes_on(c, now))
			time_out(c);
		wait_for(c);
	}
}

/* ---- what came ---- */

static bool has_bytes(const struct http_connection *connection)
{
	int size = 0;

	return ioctl(connection->fd, FIONREAD, &size) == 0 && size > 0;
}

static void begin_head(struct http_connection *connection)
{
	if (connection->request || connection->head_us)
		return;
	connection->head_us = clock_boot();
	wait_for(connection);
}

/* MHD may have read them since the kernel told of them. Where no request has ended meanwhile they are
 * the begin of one that is not whole. */
static void see_arrival(struct http_connection *connection, bool is_last)
{
	bool served = connection->served != connection->served_seen;

	connection->served_seen = connection->served;
	if (has_bytes(connection) || (!served && !is_last))
		begin_head(connection);
}

void http_deadline_see_arrivals(struct http_server *server)
{
	struct epoll_event events[EVENTS];
	int count;

	do {
		count = epoll_wait(server->arrivals, events, EVENTS, 0);
		for (int i = 0; i < count; i++) {
			struct http_connection *connection = events[i].data.ptr;

			if (events[i].events & EPOLLRDHUP && !connection->half_closed) {
				connection->half_closed = true;
				server->half_closed++;
			}
			if (events[i].events & EPOLLIN)
				see_arrival(connection, connection->half_closed);
		}
	} while (count == EVENTS || (count < 0 && errno == EINTR));
}

void http_deadline_body(struct http_request *request)
{
	struct http_connection *connection = request->connection;

	connection->head_us = 0;
	connection->body_us = clock_boot();
	connection->body_bytes = 0;
	if (request->announced || http_request_header(request, "Transfer-Encoding"))
		wait_for(connection);
}

void http_deadline_next(struct http_connection *connection)
{
	connection->body_us = 0;
	connection->served++;
	if (has_bytes(connection))
		begin_head(connection);
}

/* Who connects wants something: the time of the first request begins now, whenever its first byte
 * comes. Without a place in the set that is all that is known. */
void http_deadline_watch(struct http_connection *connection)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET,
		.data.ptr = connection };

	(void)epoll_ctl(connection->server->arrivals, EPOLL_CTL_ADD, connection->fd, &event);
	connection->head_us = clock_boot();
	wait_for(connection);
}

void http_deadline_forget(struct http_connection *connection)
{
	struct http_server *server = connection->server;

	epoll_ctl(server->arrivals, EPOLL_CTL_DEL, connection->fd, NULL);
	if (connection->half_closed)
		server->half_closed--;
	/* The last one: nobody is waited for, and a daemon that has nothing to do does not wake up. */
	if (server->connections == 1)
		uv_timer_stop(&server->deadline);
}

/* ---- begin and end ---- */

static void on_closed(uv_handle_t *handle)
{
	http_server_unpin(container_of((uv_timer_t *)handle, struct http_server, deadline));
}

int http_deadline_start(struct http_server *server)
{
	uv_timer_init(server->loop, &server->deadline);
	server->pins++;
	server->arrivals = epoll_create1(EPOLL_CLOEXEC);
	return server->arrivals < 0 ? -errno : 0;
}

/* After the last connection has closed. */
void http_deadline_stop(struct http_server *server)
{
	server->arrivals = fd_close(server->arrivals);
	uv_close((uv_handle_t *)&server->deadline, on_closed);
}

void http_server_set_limits(struct http_server *server, const struct http_limits *limits)
{
	server->options.limits = *limits;
	for (struct http_connection *c = server->open; c; c = c->next)
		wait_for(c);
}
