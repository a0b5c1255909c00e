/* SPDX-License-Identifier: MIT */
/* http_connection - who is at the other end, and is it still there; see http_internal.h */
#include "http/http_internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/mem.h"

static void connection_open(struct http_server *server, struct MHD_Connection *mhd, void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct http_connection *connection = NEW(struct http_connection);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	connection->server = server;
	connection->fd = info ? info->connect_fd : -EBADF;
	/* Not a Unix socket: nobody in particular. */
	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		peer = (struct ucred){ .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	connection->uid = peer.uid;
	connection->pid = peer.pid;
	connection->gid = peer.gid;
	connection->user = http_user_get(server, peer.uid);
	connection->user->connections++;
	server->connections++;
	connection->next = server->open;
	if (server->open)
		server->open->prev = connection;
	server->open = connection;
	http_deadline_watch(connection);
	*context = connection;
}

static void connection_free(struct http_connection *connection)
{
	free(connection->groups);
	free(connection);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct http_connection *connection =
		container_of((uv_poll_t *)handle, struct http_connection, poll);
	struct http_server *server = connection->server;

	connection_free(connection);
	http_server_unpin(server);
}

/* MHD closes the descriptor after this. */
static void connection_close(struct http_connection *connection)
{
	http_deadline_forget(connection);
	connection->user->connections--;
	connection->server->connections--;
	if (connection->next)
		connection->next->prev = connection->prev;
	if (connection->prev)
		connection->prev->next = connection->next;
	else
		connection->server->open = connection->next;
	connection->server->closed_some = true;
	if (connection->polled)
		uv_close((uv_handle_t *)&connection->poll, on_poll_closed);
	else
		connection_free(connection);
}

void http_connection_notify(void *data, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		connection_open(data, mhd, context);
	} else if (*context) {
		connection_close(*context);
		*context = NULL;
	}
}

/* A hang-up is one; a peer that only shut down its sending side may still read. */
static bool peer_has_left(int fd)
{
	struct pollfd look = { .fd = fd };
	int domain = AF_UNSPEC;
	socklen_t size = sizeof(domain);

	if (poll(&look, 1, 0) < 0 || look.revents & (POLLHUP | POLLERR | POLLNVAL))
		return true;
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX;
}

static void on_peer(uv_poll_t *poll, int status, int events)
{
	struct http_connection *connection = container_of(poll, struct http_connection, poll);
	struct http_request *request = connection->sleeper;

	(void)events;
	if (status == 0 && !peer_has_left(connection->fd)) {
		/* The half-close would be told again and again. Out-of-band data never comes, but
		 * whoever waits for it is told of a hang-up. */
		uv_poll_start(poll, UV_PRIORITIZED, on_peer);
		return;
	}
	http_connection_unwatch(connection);
	http_request_peer_gone(request);
}

void http_connection_watch(struct http_connection *connection, struct http_request *request)
{
	struct http_server *server = connection->server;

	if (!connection->polled) {
		if (uv_poll_init(server->loop, &connection->poll, connection->fd) < 0)
			return; /* then the next write tells */
		connection->polled = true;
		server->pins++;
	}
	if (uv_poll_start(&connection->poll, UV_DISCONNECT, on_peer) == 0)
		connection->sleeper = request;
}

void http_connection_unwatch(struct http_connection *connection)
{
	if (connection->sleeper)
		uv_poll_stop(&connection->poll);
	connection->sleeper = NULL;
}

void http_connection_end_if_cut(struct http_connection *connection)
{
	const struct http_request *request = connection->request;
	char byte;

	if (!connection->half_closed ||
		(request && (request->handed || request->replied || request->deferred)))
		return;
	if (recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		shutdown(connection->fd, SHUT_RDWR);
}

/* The kernel's list has the supplementary groups alone. */
static void read_groups(struct http_connection *connection)
{
	socklen_t size = 0, room;
	gid_t *groups = NULL;

	/* The first call says how much there is; they cannot change any more. */
	if (getsockopt(connection->fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0 &&
		errno != ERANGE)
		size = 0;
	room = size;
	groups = mem_alloc(size + sizeof(*groups));
	if (room && getsockopt(connection->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &room) < 0)
		room = 0;
	groups[room / sizeof(*groups)] = connection->gid;
	connection->group_count = room / sizeof(*groups) + 1;
	connection->groups = groups;
}

const gid_t *http_connection_groups(struct http_connection *connection, size_t *ret_count)
{
	if (!connection->groups)
		read_groups(connection);
	*ret_count = connection->group_count;
	return connection->groups;
}
