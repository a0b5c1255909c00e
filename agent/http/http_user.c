/* SPDX-License-Identifier: MIT */
/*
 * http_user - what each user may take of the server; see http_server.h and http_internal.h
 *
 * The list is short: a uid is given by the kernel, and what nobody needs any more is dropped.
 */
#include "http/http_internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"

#define SUBUID_PATH "/etc/subuid"
#define SUBUID_MAX (4u << 20)
/* The handlers' time that one user gets before others are looked at, and how many of the put-off
 * requests are tried in one run. */
#define TURN_US 2000
#define TURN_REQUESTS 4
#define LIMITED_EVERY_US (60 * USEC_PER_SEC)

/* ---- accounts ---- */

static void read_subuid(struct http_server *server)
{
	struct stat st;

	if (stat(SUBUID_PATH, &st) < 0 ||
		(st.st_mtim.tv_sec == server->subuid_mtime.tv_sec &&
			st.st_mtim.tv_nsec == server->subuid_mtime.tv_nsec))
		return;
	strbuf_clear(&server->subuid);
	if (file_read(AT_FDCWD, SUBUID_PATH, SUBUID_MAX, &server->subuid) == 0)
		server->subuid_mtime = st.st_mtim;
}

static void refill(const struct http_server *server, struct http_user *user, int64_t now)
{
	int64_t rate = server->options.limits.max_requests_per_second_per_user;
	int64_t passed = now - user->refilled_us;

	user->refilled_us = now;
	if (passed >= USEC_PER_SEC || user->tokens + passed * rate > rate * USEC_PER_SEC)
		user->tokens = rate * USEC_PER_SEC;
	else
		user->tokens += passed * rate;
}

static bool is_forgettable(const struct http_server *server, struct http_user *user, int64_t now)
{
	if (user->connections || user->body_bytes)
		return false;
	refill(server, user, now);
	return user->tokens ==
	       (int64_t)server->options.limits.max_requests_per_second_per_user * USEC_PER_SEC;
}

static void drop_forgettable(struct http_server *server)
{
	int64_t now = clock_boot();
	struct http_user **link = &server->users;

	while (*link) {
		struct http_user *user = *link;

		if (is_forgettable(server, user, now)) {
			*link = user->next;
			free(user);
		} else {
			link = &user->next;
		}
	}
}

static struct http_user *find(const struct http_server *server, uid_t uid)
{
	struct http_user *user = server->users;

	while (user && user->uid != uid)
		user = user->next;
	return user;
}

static bool is_exempt(const struct http_server *server, uid_t uid)
{
	if (server->options.is_exempt)
		return server->options.is_exempt(uid);
	return uid == 0 || uid == geteuid();
}

struct http_user *http_user_get(struct http_server *server, uid_t uid)
{
	struct http_user *user = find(server, uid);

	if (user)
		return user;
	drop_forgettable(server);
	if (!is_exempt(server, uid)) {
		read_subuid(server);
		uid = http_subuid_owner(server->subuid.data, server->subuid.size, uid);
		user = find(server, uid);
		if (user)
			return user;
	}
	user = NEW(struct http_user);
	user->uid = uid;
	user->exempt = is_exempt(server, uid);
	user->deferred_end = &user->deferred;
	refill(server, user, clock_boot());
	user->next = server->users;
	server->users = user;
	return user;
}

void http_users_release(struct http_server *server)
{
	while (server->users) {
		struct http_user *user = server->users;

		server->users = user->next;
		free(user);
	}
	strbuf_release(&server->subuid);
}

/* ---- limits ---- */

bool http_user_may_connect(const struct http_server *server, const struct http_user *user)
{
	unsigned limit = server->options.limits.max_connections_per_user;

	if (user->exempt || !limit)
		return true;
	return user->connections < limit &&
	       user->connections < server->options.max_connections - server->connections;
}

unsigned http_user_take_token(struct http_server *server, struct http_user *user)
{
	int64_t rate = server->options.limits.max_requests_per_second_per_user;

	if (user->exempt || !rate)
		return 0;
	refill(server, user, clock_boot());
	if (user->tokens < USEC_PER_SEC)
		return 1; /* a token comes within a second: rates are whole numbers */
	user->tokens -= USEC_PER_SEC;
	return 0;
}

bool http_user_has_room(const struct http_server *server, const struct http_user *user, size_t size)
{
	return user->exempt ||
	       user->body_bytes + size <= HTTP_BODIES_PER_USER * server->options.max_body;
}

void http_user_limited(
	struct http_server *server, struct http_user *user, pid_t pid, const char *message)
{
	int64_t now = clock_boot();

	if (!server->options.limited ||
		(user->limited_us && now - user->limited_us < LIMITED_EVERY_US))
		return;
	user->limited_us = now;
	server->options.limited(user->uid, pid, message);
}

/* ---- turns ---- */

bool http_user_defer(struct http_request *request)
{
	struct http_user *user = request->connection->user;

	if (user->run != request->server->runs) {
		user->run = request->server->runs;
		user->spent_us = 0;
	}
	if (user->exempt || user->spent_us < TURN_US)
		return false;
	request->deferred = true;
	request->deferred_next = NULL;
	*user->deferred_end = request;
	user->deferred_end = &request->deferred_next;
	/* In a quiet server nothing else brings the next run. */
	http_server_kick(request->server);
	return true;
}

/* It goes, before its turn has come. */
void http_user_undefer(struct http_request *request)
{
	struct http_user *user = request->connection->user;
	struct http_request **link = &user->deferred;

	while (*link != request)
		link = &(*link)->deferred_next;
	*link = request->deferred_next;
	if (!*link)
		user->deferred_end = link;
	request->deferred = false;
}

void http_user_spent(struct http_request *request, int64_t us)
{
	request->connection->user->spent_us += us;
}

bool http_users_turn(struct http_server *server)
{
	bool left = false;

	for (struct http_user *user = server->users; user; user = user->next) {
		for (unsigned i = 0; user->deferred && i < TURN_REQUESTS; i++) {
			struct http_request *request = user->deferred;

			http_user_undefer(request);
			http_request_resume(request);
		}
		left |= user->deferred != NULL;
	}
	return left;
}
