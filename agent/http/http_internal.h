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
 *reply is kept in the request and handed to MHD at one place, http_request_queue(), from those two.
 *A request that has no reply yet in `whole` is suspended; the reply resumes it.
 *
 * MHD is never run from inside a call of a handler: whoever resumes calls http_server_kick(), and a
 * timer of 0 ms runs it.
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

struct http_server {
	uv_loop_t *loop;
	uv_poll_t poll;            /* of MHD's epoll descriptor */
	uv_timer_t timer;          /* runs MHD: when it wants to, or after a resume; closed last */
	struct MHD_Daemon *daemon; /* NULL once stopped */
	struct http_handler handler;
	struct http_options options;
	unsigned connections;
	struct http_connection *open;  /* all of them */
	bool closed_some;              /* connections, in this run of MHD */
	unsigned pins;                 /* poll handles and requests that are still there */
	struct http_request *requests; /* all of them */
	bool stopping;
	void (*freed)(void *data);
	void *freed_data;
};

struct http_connection {
	struct http_server *server;
	int fd; /* MHD's */
	uid_t uid;
	pid_t pid;
	uv_poll_t poll;                      /* watches the peer while a request sleeps */
	bool polled;                         /* poll was initialised */
	struct http_request *sleeper;        /* whom to tell that the peer has gone */
	struct http_request *request;        /* the one it is at; NULL between two */
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

	uint64_t announced; /* Content-Length, 0 when there is none */
	struct strbuf body;
	int (*write)(struct http_request *request, const void *data, size_t size);
	void (*closed)(struct http_request *request);
	void *user_data;

	bool chunked; /* HTTP/1.1: streams are sent in chunks; 1.0: until the connection ends */
	bool shown;   /* the handler knows of it */
	bool handed;  /* handle() was called: the handler owes a reply */
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

/* http_connection.c */
void http_connection_notify(void *data, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode code);
/* Tell request when the peer leaves, until http_connection_unwatch(). */
void http_connection_watch(struct http_connection *connection, struct http_request *request);
void http_connection_unwatch(struct http_connection *connection);
/* When the peer has sent its last byte and a request or its body is still awaited: end it. */
void http_connection_end_if_cut(struct http_connection *connection);

/* http_request.c */
struct http_request *http_request_new(struct http_server *server, struct MHD_Connection *mhd,
	const char *url, const char *method, const char *version);
enum MHD_Result http_request_begin(struct http_request *request);
enum MHD_Result http_request_take_body(struct http_request *request, const char *data, size_t size);
enum MHD_Result http_request_whole(struct http_request *request);
void http_request_suspend(struct http_request *request);
void http_request_resume(struct http_request *request);
void http_request_peer_gone(struct http_request *request);
/* MHD has done with it; frees it, or leaves it to the handler that owes a reply. */
void http_request_over(struct http_request *request);
/* Free those that are over and replied to. */
void http_requests_sweep(struct http_server *server);

/* http_reply.c */
/* Reply as the API's errors look. */
void http_reply_error(
	struct http_request *request, unsigned status, const char *code, const char *message);
void http_request_close_stream(struct http_request *request);
