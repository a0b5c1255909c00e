/* SPDX-License-Identifier: MIT */
/*
 * http_listener - accepts, or says why not; see http_internal.h
 *
 * MHD could accept itself, but would take a connection before anybody knows whose it is. Here the
 * peer's account is asked first, and MHD is given what is to be served.
 *
 * One that is refused is told so and its descriptor kept for a moment, for nothing else than that
 * the client can send what it has to say and then read the answer, as clients do. There are few of
 * those; the oldest makes room.
 */
#include "http/http_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/mem.h"

/* Connections taken before what they ask is looked at. */
#define BATCH 64
#define PAUSE_MS 100
#define LINGER_MS 1000

/* ---- refusing ---- */

void http_refuse(int fd, unsigned status, const char *reason, const char *code, const char *message,
	unsigned retry_after)
{
	_cleanup_(freep) char *body = http_error_body(code, message);
	_cleanup_(freep) char *retry =
		retry_after ? mem_printf("Retry-After: %u\r\n", retry_after) : mem_strdup("");
	_cleanup_(freep) char *text = mem_printf("HTTP/1.1 %u %s\r\nConnection: close\r\n"
						 "Content-Type: application/json\r\n"
						 "%sContent-Length: %zu\r\n\r\n%s",
		status, reason, retry, strlen(body), body);

	/* Less than any socket's buffer; a client that left it full does not want it. */
	if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void drop_lingering(struct http_server *server)
{
	for (size_t i = 0; i < HTTP_LINGERING; i++)
		server->lingering[i] = fd_close(server->lingering[i]);
}

static void on_linger(uv_timer_t *timer)
{
	drop_lingering(container_of(timer, struct http_server, linger));
}

/* Takes fd over. */
static void refuse(struct http_server *server, int fd, const char *message)
{
	int *place = &server->lingering[server->lingered++ % HTTP_LINGERING];

	server->statistics.refused++;
	server->statistics.requests[5]++;
	http_refuse(
		fd, MHD_HTTP_SERVICE_UNAVAILABLE, "Service Unavailable", "Unavailable", message, 1);
	shutdown(fd, SHUT_WR);
	fd_close(*place);
	*place = fd;
	uv_timer_start(&server->linger, on_linger, LINGER_MS, 0);
}

/* ---- descriptors have run out ---- */

static int open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void stop_listening(struct http_server *server)
{
	if (server->listening)
		uv_poll_stop(&server->listener);
	server->listening = false;
}

static void on_pause(uv_timer_t *timer)
{
	struct http_server *server = container_of(timer, struct http_server, pause);

	if (server->spare_fd < 0)
		server->spare_fd = open_spare();
	http_listener_resume(server);
}

/* Who waits is told, by the descriptor that was kept for this. Somebody else may take it meanwhile:
 * then it is tried again later, and who connects waits. */
static void refuse_without_descriptors(struct http_server *server)
{
	int fd;

	drop_lingering(server);
	server->spare_fd = fd_close(server->spare_fd);
	fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		server->statistics.refused++;
		server->statistics.requests[5]++;
		http_refuse(fd, MHD_HTTP_SERVICE_UNAVAILABLE, "Service Unavailable", "Unavailable",
			"amlagentd has no file descriptors left; try again later", 1);
		fd_close(fd);
	}
	server->spare_fd = open_spare();
	stop_listening(server);
	uv_timer_start(&server->pause, on_pause, PAUSE_MS, 0);
}

/* ---- accepting ---- */

static void take(struct http_server *server, int fd)
{
	static const char too_many[] =
		"you have too many connections to amlagentd open; close some";
	struct sockaddr address = { .sa_family = AF_UNIX };
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(peer);
	struct http_user *user;

	/* Not a Unix socket: nobody in particular. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		peer.uid = (uid_t)-1;
	user = http_user_get(server, peer.uid);
	if (!http_user_may_connect(server, user)) {
		http_user_limited(server, user, peer.pid, too_many);
		refuse(server, fd, too_many);
		return;
	}
	server->statistics.accepted++;
	/* Closes it when it fails. */
	if (MHD_add_connection(server->daemon, fd, &address, sizeof(address)) != MHD_YES)
		server->statistics.refused++;
}

/* 0: one was taken, or refused; -EAGAIN: there is none. */
static int accept_one(struct http_server *server)
{
	int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		take(server, fd);
		return 0;
	}
	switch (errno) {
	case EAGAIN:
		return -EAGAIN;
	case EINTR:
	case ECONNABORTED:
		return 0;
	case EMFILE:
	case ENFILE:
		refuse_without_descriptors(server);
		return -EAGAIN;
	default: /* no memory, most likely */
		stop_listening(server);
		uv_timer_start(&server->pause, on_pause, PAUSE_MS, 0);
		return -EAGAIN;
	}
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
	struct http_server *server = container_of(poll, struct http_server, listener);

	(void)status;
	(void)events;
	for (unsigned i = 0; i < BATCH && server->daemon && !server->stopping; i++) {
		/* Who comes now waits in the kernel's queue until somebody leaves. */
		if (server->connections >= server->options.max_connections) {
			stop_listening(server);
			break;
		}
		if (accept_one(server) < 0)
			break;
	}
	http_server_kick(server);
}

void http_listener_resume(struct http_server *server)
{
	if (server->listening || server->stopping || uv_is_active((uv_handle_t *)&server->pause) ||
		server->connections >= server->options.max_connections)
		return;
	server->listening = uv_poll_start(&server->listener, UV_READABLE, on_connect) == 0;
}

/* ---- begin and end ---- */

static void on_listener_closed(uv_handle_t *handle)
{
	http_server_unpin(container_of((uv_poll_t *)handle, struct http_server, listener));
}

static void on_pause_closed(uv_handle_t *handle)
{
	http_server_unpin(container_of((uv_timer_t *)handle, struct http_server, pause));
}

static void on_linger_closed(uv_handle_t *handle)
{
	http_server_unpin(container_of((uv_timer_t *)handle, struct http_server, linger));
}

int http_listener_start(struct http_server *server, int listen_fd)
{
	int r = uv_poll_init(server->loop, &server->listener, listen_fd);

	for (size_t i = 0; i < HTTP_LINGERING; i++)
		server->lingering[i] = -EBADF;
	server->listen_fd = listen_fd;
	server->spare_fd = open_spare();
	uv_timer_init(server->loop, &server->pause);
	uv_timer_init(server->loop, &server->linger);
	server->has_listener = r == 0;
	server->pins += 2 + server->has_listener;
	return r;
}

void http_listener_stop(struct http_server *server)
{
	stop_listening(server);
	drop_lingering(server);
	server->spare_fd = fd_close(server->spare_fd);
	if (server->has_listener)
		uv_close((uv_handle_t *)&server->listener, on_listener_closed);
	uv_close((uv_handle_t *)&server->pause, on_pause_closed);
	uv_close((uv_handle_t *)&server->linger, on_linger_closed);
	server->listen_fd = fd_close(server->listen_fd);
}
