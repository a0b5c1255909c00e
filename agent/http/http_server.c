/* SPDX-License-Identifier: MIT */
/* http_server - HTTP/1.1 over a Unix socket, on the libuv loop; see http_server.h */
#include "http/http_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"

/*
 * One connection's memory within MHD: a request's head has to fit into it (64 KiB of URL do), and
 * streams are sent in pieces of about this size. MHD zeroes it after each request, so that its
 * pages are felt: a connection with one request takes 45 us with 32 KiB, 85 with 80, 160 with 192.
 */
#define CONNECTION_MEMORY (80u * 1024)

static void on_timer(uv_timer_t *timer);
static void on_again(uv_idle_t *again);

/* In the loop's next round, after all else had its turn. Not by a timer of 0 ms: one that is started
 * again in its own callback is due at once, in the same round, and while there is work for MHD
 * nothing else of the daemon would ever run. */
void http_server_kick(struct http_server *server)
{
	uv_idle_start(&server->again, on_again);
}

/* MHD is told of new bytes by edges: when the last bytes and the end of a request that is too short
 * come together, it reads the bytes and is not told again. Ending the connection is another edge.
 */
static void end_cut_connections(struct http_server *server)
{
	for (struct http_connection *c = server->half_closed ? server->open : NULL; c; c = c->next)
		http_connection_end_if_cut(c);
}

void http_timer_by(uv_timer_t *timer, uv_timer_cb callback, int64_t at)
{
	int64_t wait = (at - clock_boot()) / 1000 + 1;
	uint64_t ms = wait > 0 ? (uint64_t)wait : 1;

	if (!uv_is_active((uv_handle_t *)timer) || uv_timer_get_due_in(timer) > ms)
		uv_timer_start(timer, callback, ms, 0);
}

/* Let MHD work, then find out when it wants to work again. */
static void run(struct http_server *server)
{
	MHD_UNSIGNED_LONG_LONG timeout;
	bool left;

	server->closed_some = false;
	server->runs++;
	http_deadline_see_arrivals(server);
	left = http_users_turn(server);
	MHD_run(server->daemon);
	http_deadline_see_arrivals(server);
	end_cut_connections(server);
	if (server->closed_some)
		http_listener_resume(server);
	uv_timer_stop(&server->timer);
	if (MHD_get_timeout(server->daemon, &timeout) != MHD_YES)
		timeout = UINT64_MAX;
	if (server->closed_some || left || !timeout)
		http_server_kick(server);
	else if (timeout != UINT64_MAX)
		uv_timer_start(&server->timer, on_timer, timeout, 0);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct http_server *server = container_of(poll, struct http_server, poll);

	(void)status;
	(void)events;
	if (!server->stopping)
		run(server);
	else
		http_server_kick(server);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct http_server *server = container_of((uv_timer_t *)handle, struct http_server, timer);

	if (server->freed)
		server->freed(server->freed_data);
	http_users_release(server);
	free(server);
}

static void on_again_closed(uv_handle_t *handle)
{
	struct http_server *server = container_of((uv_idle_t *)handle, struct http_server, again);

	uv_close((uv_handle_t *)&server->timer, on_timer_closed);
}

void http_server_unpin(struct http_server *server)
{
	if (--server->pins == 0)
		uv_close((uv_handle_t *)&server->again, on_again_closed);
}

static void on_poll_closed(uv_handle_t *handle)
{
	http_server_unpin(container_of((uv_poll_t *)handle, struct http_server, poll));
}

/* All that was started; the loop frees the rest when the last handle is closed. */
static void end(struct http_server *server)
{
	struct MHD_Daemon *daemon = TAKE(server->daemon);

	if (!server->stopping)
		http_listener_stop(server);
	if (server->has_poll)
		uv_close((uv_handle_t *)&server->poll, on_poll_closed);
	if (daemon)
		MHD_stop_daemon(daemon);
	http_deadline_stop(server);
	uv_idle_stop(&server->again);
	uv_timer_stop(&server->timer);
}

/* MHD stops only when none of its connections is suspended. */
static void stop(struct http_server *server)
{
	for (struct http_request *r = server->requests; r; r = r->next)
		if (r->suspended)
			http_request_resume(r);
	end(server);
}

void http_server_send_on(struct http_server *server)
{
	server->send_until_us = clock_boot() + HTTP_SEND_SECONDS * USEC_PER_SEC;
}

static bool is_answering(const struct http_server *server, int64_t now)
{
	for (const struct http_request *r = server->requests; r; r = r->next)
		if (http_request_is_awaited(r, now))
			return true;
	return false;
}

/* What MHD reads in the last run before the stop is answered or not whole: nothing that a client
 * would have to wonder about. */
static void finish(struct http_server *server)
{
	int64_t now;

	run(server);
	now = clock_boot();
	if (!is_answering(server, now))
		stop(server);
	else if (now < server->send_until_us)
		http_timer_by(&server->timer, on_timer, server->send_until_us);
	else
		http_timer_by(&server->timer, on_timer, server->finish_us);
}

static void turn(struct http_server *server)
{
	if (server->daemon && !server->stopping)
		run(server);
	else if (server->daemon)
		finish(server);
	http_requests_sweep(server);
}

static void on_timer(uv_timer_t *timer)
{
	turn(container_of(timer, struct http_server, timer));
}

static void on_again(uv_idle_t *again)
{
	uv_idle_stop(again);
	turn(container_of(again, struct http_server, again));
}

/* The URL and its parameters stay as they were sent: names of artifacts may hold an encoded '/' or
 * NUL, which only the handler can judge. */
static size_t keep_escapes(void *data, struct MHD_Connection *mhd, char *text)
{
	(void)data;
	(void)mhd;
	return strlen(text);
}

static enum MHD_Result on_access(void *data, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *upload, size_t *upload_size,
	void **context)
{
	struct http_request *request = *context;
	size_t size = *upload_size;

	if (!request) {
		*context = request = http_request_new(data, mhd, url, method, version);
		return http_request_begin(request);
	}
	if (!size)
		return http_request_whole(request);
	*upload_size = 0;
	return http_request_take_body(request, upload, size);
}

static void on_completed(
	void *data, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode why)
{
	struct http_request *request = *context;

	(void)data;
	(void)mhd;
	*context = NULL;
	if (request)
		http_request_over(request, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

__attribute__((format(printf, 2, 0))) static void on_log(void *data, const char *fmt, va_list args)
{
	struct http_server *server = data;
	char message[512];

	if (!server->options.log)
		return;
	vsnprintf(message, sizeof(message), fmt, args);
	message[strcspn(message, "\r\n")] = '\0';
	server->options.log(message);
}

static struct MHD_Daemon *start_daemon(struct http_server *server)
{
	const struct http_options *options = &server->options;
	const struct MHD_OptionItem items[] = {
		{ MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_log, server },
		{ MHD_OPTION_CONNECTION_LIMIT, options->max_connections, NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, options->idle_timeout_seconds, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_INCREMENT, 16 * 1024, NULL },
		{ MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, server },
		{ MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)http_connection_notify, server },
		{ MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};

	return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
					MHD_USE_NO_LISTEN_SOCKET,
		0, NULL, NULL, on_access, server, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
}

static int start_poll(struct http_server *server)
{
	const union MHD_DaemonInfo *info;
	int r;

	errno = 0;
	server->daemon = start_daemon(server);
	if (!server->daemon)
		return errno ? -errno : -EIO;
	info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	r = info ? uv_poll_init(server->loop, &server->poll, info->epoll_fd) : -ENOTSUP;
	if (r < 0)
		return r;
	server->has_poll = true;
	server->pins++;
	return uv_poll_start(&server->poll, UV_READABLE, on_readable);
}

static int start(struct http_server *server, int listen_fd)
{
	int listener = http_listener_start(server, listen_fd);
	int deadline = http_deadline_start(server);

	if (listener < 0 || deadline < 0)
		return listener < 0 ? listener : deadline;
	return start_poll(server);
}

int http_server_new(uv_loop_t *loop, int listen_fd, const struct http_handler *handler,
	const struct http_options *options, struct http_server **ret, struct error *err)
{
	struct http_server *server = NEW(struct http_server);
	int r;

	server->loop = loop;
	server->handler = *handler;
	server->options = *options;
	uv_timer_init(loop, &server->timer);
	uv_idle_init(loop, &server->again);
	r = start(server, listen_fd);
	if (r < 0) {
		end(server);
		return error_errno(err, r, NULL, "cannot start the HTTP server");
	}
	http_listener_resume(server);
	*ret = server;
	return 0;
}

void http_server_free(struct http_server *server, void (*freed)(void *data), void *data)
{
	server->freed = freed;
	server->freed_data = data;
	server->stopping = true;
	http_server_send_on(server);
	server->finish_us = clock_boot() + server->options.finish_seconds * USEC_PER_SEC;
	http_listener_stop(server);
	http_server_kick(server);
}

unsigned http_server_connections(const struct http_server *server)
{
	return server->connections;
}

void http_server_statistics(const struct http_server *server, struct http_statistics *ret)
{
	*ret = server->statistics;
	ret->connections = server->connections;
	ret->max_connections = server->options.max_connections;
}
