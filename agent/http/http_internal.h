/* SPDX-License-Identifier: MIT */
/*
 * http_internal - what the files of this folder share: server, connection, request
 *
 * A request in the eyes of libmicrohttpd (its access handler is called again and again):
 *
 *	begin   once, headers there        http_request_begin()
 *	body    for each piece             http_request_take_body()
 *	whole   body there, and again      http_request_whole()
 *	        after each resume
 *
 * MHD takes a response only in `begin` (and then gives the connection up) and in `whole`. So a
 * reply is kept in the request and handed to MHD at one place, queue() of http_request.c, from those
 * two. A request that has no reply yet in `whole` is suspended; the reply resumes it. One whose user
 * has had his turn in this run of MHD is suspended there too, before its handler sees it; so is a
 * stream before its next piece is made.
 *
 * MHD is never run from inside a call of a handler: whoever resumes calls http_server_kick(), and the
 * loop's next round runs it.
 *
 * Life of a request: made in `begin`; over when MHD says so; freed when it is over and nobody owes
 * it a reply. Life of a connection: made and closed by MHD's notice; freed when its poll handle is
 * closed.
 */
#pragma once

#include <microhttpd.h>
#include <uv.h>

#include "http/http_server.h"
#include "common/strbuf.h"
#include "common/strv.h"

/* Refused connections whose client may still be writing; see http_listener.c. */
#define HTTP_LINGERING 32

struct http_server {
	uv_loop_t *loop;
	uv_poll_t poll; /* of MHD's epoll descriptor */
	bool has_poll;
	uv_idle_t again;           /* runs MHD in the loop's next round: after a resume */
	uv_timer_t timer;          /* runs MHD: when it wants to; closed last */
	struct MHD_Daemon *daemon; /* NULL once stopped */
	struct http_handler handler;
	struct http_options options;
	struct http_statistics statistics;
	unsigned connections;
	struct http_connection *open;  /* all of them */
	bool closed_some;              /* connections, in this run of MHD */
	unsigned pins;                 /* poll handles, timers and requests that are still there */
	struct http_request *requests; /* all of them */
	bool stopping;
	/* When it stops, clock_boot(): so long the last answer is sent, and all of it takes. */
	int64_t send_until_us, finish_us;
	void (*freed)(void *data);
	void *freed_data;

	/* http_listener.c */
	int listen_fd;
	uv_poll_t listener;
	bool has_listener;
	bool listening;
	int spare_fd; /* closed for a moment when descriptors have run out */
	uv_timer_t pause;
	int lingering[HTTP_LINGERING];
	unsigned lingered;
	uv_timer_t linger;

	/* http_user.c */
	struct http_user *users;
	struct strbuf subuid; /* /etc/subuid, as of subuid_mtime */
	struct timespec subuid_mtime;
	uint64_t runs; /* of MHD */

	/* http_deadline.c */
	int arrivals; /* epoll descriptor: bytes and ends that MHD has not read yet */
	unsigned half_closed;
	uv_timer_t deadline;
};

/* An account: of one uid, or of all that /etc/subuid lends together. Freed when nothing is left
 * that it has to remember. */
struct http_user {
	struct http_user *next;
	uid_t uid;
	bool exempt;
	unsigned connections;
	int64_t tokens; /* millionths of a request that may come now; http_limits */
	int64_t refilled_us;
	size_t body_bytes;  /* in memory, of all its requests */
	int64_t limited_us; /* when `limited` was last called for it; 0: never */
	/* Its turn in this run of MHD. */
	uint64_t run;
	int64_t spent_us;
	struct http_request *deferred, **deferred_end; /* their turn comes later */
};

struct http_connection {
	struct http_server *server;
	struct http_user *user;
	int fd; /* MHD's */
	uid_t uid;
	pid_t pid;
	gid_t gid;
	gid_t *groups; /* NULL: not asked for yet */
	size_t group_count;
	uv_poll_t poll;               /* watches the peer while a request sleeps */
	bool polled;                  /* poll was initialised */
	struct http_request *sleeper; /* whom to tell that the peer has gone */
	struct http_request *request; /* the one it is at; NULL between two */
	int64_t head_us;              /* the first byte of a request came; 0: none has */
	unsigned served, served_seen; /* requests that have ended: now, and when bytes last came */
	int64_t body_us;              /* since then body_bytes of a body have come */
	uint64_t body_bytes;
	bool half_closed;                    /* the peer has sent its last byte */
	struct http_connection *prev, *next; /* http_server::open */
};

struct http_request {
	struct http_server *server;
	struct http_connection *connection; /* NULL once over */
	struct MHD_Connection *mhd;         /* NULL once over */
	struct http_request *prev, *next;

	char *method;
	char *path;
	struct pairs queries;
	struct pairs headers; /* as sent, names may repeat */
	uid_t uid;
	pid_t pid;
	gid_t *groups; /* NULL: not asked for yet */
	size_t group_count;
	struct http_user *user; /* while it has connections, or body is not empty */

	uint64_t announced; /* Content-Length, 0 when there is none */
	struct strbuf body;
	int (*write)(struct http_request *request, const void *data, size_t size);
	void (*closed)(struct http_request *request);
	void *user_data;

	bool chunked;  /* HTTP/1.1: streams are sent in chunks; 1.0: until the connection ends */
	bool shown;    /* the handler knows of it */
	bool whole;    /* the body is there */
	bool handed;   /* handle() was called: the handler owes a reply */
	bool deferred; /* others go first */
	struct http_request *deferred_next; /* http_user::deferred */
	bool replied;
	bool suspended;
	bool gone;                     /* the peer left */
	bool woken;                    /* http_stream_wake() since the last read */
	struct MHD_Response *response; /* the reply, until MHD has it */
	unsigned status;
	int file; /* the reply's, or -EBADF */
	uint64_t file_offset;
	const struct http_stream_ops *stream_ops; /* NULL: no stream, or it is closed */
	void *stream;
};

/* http_server.c */
void http_server_kick(struct http_server *server);
void http_server_unpin(struct http_server *server);
/* It goes off at `at` (clock_boot()), or when it would have before. */
void http_timer_by(uv_timer_t *timer, uv_timer_cb callback, int64_t at);
/* It stops, and an answer is to be sent first. */
void http_server_send_on(struct http_server *server);

/* http_listener.c: accepts; takes listen_fd over, also by a failure. To be stopped in any case. */
int http_listener_start(struct http_server *server, int listen_fd);
void http_listener_stop(struct http_server *server);
/* Accept from now on; or again: a connection has closed. */
void http_listener_resume(struct http_server *server);
/* An answer from outside of MHD, for a client that MHD is not answering now. retry_after in
 * seconds; 0: none. */
void http_refuse(int fd, unsigned status, const char *reason, const char *code, const char *message,
	unsigned retry_after);

/* http_user.c */
struct http_user *http_user_get(struct http_server *server, uid_t uid);
/* May it open one more? */
bool http_user_may_connect(const struct http_server *server, const struct http_user *user);
/* It may not, and is told so in these words: http_options.limited. */
void http_user_limited(
	struct http_server *server, struct http_user *user, pid_t pid, const char *message);
/* Take a token for a request. 0, or after how many seconds there is one. */
unsigned http_user_take_token(struct http_server *server, struct http_user *user);
bool http_user_has_room(
	const struct http_server *server, const struct http_user *user, size_t size);
/* Has its time in this run been used up? Then the request is put off. */
bool http_user_defer(struct http_request *request);
void http_user_undefer(struct http_request *request);
void http_user_spent(struct http_request *request, int64_t us);
/* At the begin of a run of MHD: those whose turn has come. true: some are left. */
bool http_users_turn(struct http_server *server);
void http_users_release(struct http_server *server);

/* http_subuid.c: the first uid of the range of /etc/subuid's text that uid is in, else uid. Pure. */
uid_t http_subuid_owner(const char *text, size_t size, uid_t uid);

/* http_deadline.c: nobody is waited for in vain. To be stopped in any case. */
int http_deadline_start(struct http_server *server);
void http_deadline_stop(struct http_server *server);
void http_deadline_watch(struct http_connection *connection);
void http_deadline_forget(struct http_connection *connection);
/* Before and after each run of MHD. */
void http_deadline_see_arrivals(struct http_server *server);
/* The headers are there; the body is awaited. */
void http_deadline_body(struct http_request *request);
/* The request is over; the next may have begun to come. */
void http_deadline_next(struct http_connection *connection);

/* http_connection.c */
void http_connection_notify(void *data, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode code);
/* Tell request when the peer leaves, until http_connection_unwatch(). */
void http_connection_watch(struct http_connection *connection, struct http_request *request);
void http_connection_unwatch(struct http_connection *connection);
/* When the peer has sent its last byte and a request or its body is still awaited: end it. */
void http_connection_end_if_cut(struct http_connection *connection);
const gid_t *http_connection_groups(struct http_connection *connection, size_t *ret_count);

/* http_request.c */
struct http_request *http_request_new(struct http_server *server, struct MHD_Connection *mhd,
	const char *url, const char *method, const char *version);
enum MHD_Result http_request_begin(struct http_request *request);
enum MHD_Result http_request_take_body(struct http_request *request, const char *data, size_t size);
enum MHD_Result http_request_whole(struct http_request *request);
void http_request_suspend(struct http_request *request);
void http_request_resume(struct http_request *request);
void http_request_peer_gone(struct http_request *request);
/* The server ends: is it to be waited for at `now`, as its client waits for an answer? */
bool http_request_is_awaited(const struct http_request *request, int64_t now);
/* MHD has done with it; frees it, or leaves it to the handler that owes a reply. */
void http_request_over(struct http_request *request, bool completed);
/* Free those that are over and replied to. */
void http_requests_sweep(struct http_server *server);

/* http_reply.c */
/* Reply as the API's errors look. retry_after in seconds; 0: none. */
void http_reply_error(struct http_request *request, unsigned status, const char *code,
	const char *message, unsigned retry_after);
/* Such a body. malloc'ed. */
char *http_error_body(const char *code, const char *message);
void http_request_close_stream(struct http_request *request);
