/* SPDX-License-Identifier: MIT */
/*
 * http_server - HTTP/1.1 over a Unix socket, on the libuv loop; knows no run
 *
 * libmicrohttpd parses (external epoll, watched by the loop); only this folder sees it. A request
 * is an object that lives from its headers until its answer has been sent or its client has gone:
 *
 *	1. the server calls `begin` when the headers are there: the handler may refuse early, take
 *	   the body as a stream (http_request_set_body), or do nothing: the body is then kept in
 *	   memory (at most max_body bytes, else 413)
 *	2. the server calls `handle` when the body is whole
 *	3. somebody calls one of http_reply*(), now or later, exactly once. Until then the
 *	   connection sleeps and costs nothing. A handler that keeps the request for later sets
 *	   on_closed if it wants to know that the client left meanwhile; it must reply all the same
 *	   (the reply goes nowhere), or the request would stay for ever.
 *
 * `user_data` of a request belongs to the handler. Bodies and strings belong to the request.
 *
 * Streams: http_reply_stream() asks `read` for pieces; when there is nothing yet it returns
 * HTTP_STREAM_WAIT and the connection sleeps until http_stream_wake(). The server watches the
 * sleeping client's socket, so one that goes away is noticed at once and `close` is called.
 *
 * An answer given before the body is there (413, 404, no room): the rest of the body is read and
 * dropped, so that a client that sends all before it reads gets the answer. Only where the client
 * waits for 100-continue, or has announced more than HTTP_DRAIN_MAX, the answer goes at once and
 * the connection ends with it.
 *
 * Limits: every user of the machine has an account here, by the socket's credentials. Uids that
 * /etc/subuid lends to a user (he may connect under 65536 names) are one account. A user may have as
 * many connections as his limit says and no more than are still free, so that there is always room
 * for the next user; one more is answered 503 and closed. More requests in a second than he may are
 * answered 429. What his requests keep in memory is bounded. When requests of one user take
 * long, or the pieces of his streams, those of others go between them. Root and the daemon's own user are exempt from all that.
 *
 * Nobody is waited for in vain: the headers of a request have to be whole within
 * request_timeout_seconds of their first byte (of connecting, for the first request), however slowly
 * bytes come, and a body has to come at HTTP_BODY_RATE_MIN at least, else 408 and the connection
 * ends. A client that reads a stream slowly, or not at all for a while, is left alone: of a stream
 * no more than a piece is in memory. When descriptors run out, who connects is told so (503) and nothing spins.
 *
 * A peer that only shut down its sending side (nc -N) is still there on a Unix socket; over TCP
 * that cannot be told from leaving, and is taken for it.
 *
 * Threads: the loop's alone. Errors: negative errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "common/error.h"
#include "common/strv.h"

struct http_server;
struct http_request;

struct http_handler {
	/* Headers are there. May reply at once (the body is then skipped). May be NULL. */
	void (*begin)(void *data, struct http_request *request);
	/* The body is whole. Must reply, now or later. */
	void (*handle)(void *data, struct http_request *request);
	/* The request is over, however: free what user_data holds. Called once, never before the
	 * reply of a request that got as far as `handle`. May be NULL. */
	void (*end)(void *data, struct http_request *request);
	void *data;
};

/* Bytes of a refused body that are read all the same. */
#define HTTP_DRAIN_MAX (64u << 20)
#define HTTP_QUERIES_MAX 64
/* So long a client may take to read an answer when the server ends. */
#define HTTP_SEND_SECONDS 1

/* Bodies of one user that are kept in memory at one time, in max_body. */
#define HTTP_BODIES_PER_USER 16
/* Bytes a second of a body, over each body_timeout_seconds. */
#define HTTP_BODY_RATE_MIN 1024

/* What may change while the server runs. 0: no limit. */
struct http_limits {
	unsigned max_connections_per_user;
	unsigned max_requests_per_second_per_user; /* also how many may come at once */
	unsigned request_timeout_seconds;
	unsigned body_timeout_seconds;
};

struct http_options {
	size_t max_body; /* bytes kept in memory for one request */
	unsigned max_connections;
	unsigned idle_timeout_seconds; /* of a connection between or within requests; 0: none */
	unsigned finish_seconds;       /* so long http_server_free() waits for answers */
	struct http_limits limits;
	/* Who has no limits. NULL: root and the daemon's own user. */
	bool (*is_exempt)(uid_t uid);
	/* A user is over one of his limits and was told so in these words; the first time in a minute.
	 * NULL: nobody wants to know. */
	void (*limited)(uid_t uid, pid_t pid, const char *message);
	void (*log)(const char *message); /* what the HTTP library has to say; NULL: nothing */
};

/* listen_fd: a listening, non-blocking socket; taken over, also by a failure. */
int http_server_new(uv_loop_t *loop, int listen_fd, const struct http_handler *handler,
	const struct http_options *options, struct http_server **ret, struct error *err);
/*
 * Stop accepting, answer what has come, end streams, close connections. A request that is whole gets
 * its answer, if it comes within finish_seconds (and a client that does not read holds nobody up for
 * more than HTTP_SEND_SECONDS); not waited for are streams, files, and requests with on_closed set,
 * whose answer may be far away. What is not read by then is never handled, and on a Unix socket the
 * kernel tells the client that it was not read (cli/client.h).
 *
 * `freed` is called from the loop when all is gone: also the requests that are still kept for a
 * later reply. Keep the loop and what the replies wait for going until then.
 */
void http_server_free(struct http_server *server, void (*freed)(void *data), void *data);
/* Open connections: for idle exit. */
unsigned http_server_connections(const struct http_server *server);
/* From now on, also for what is open; nobody loses a connection that he has. */
void http_server_set_limits(struct http_server *server, const struct http_limits *limits);

/* Since the start, but for the first two. */
struct http_statistics {
	uint64_t connections;     /* open now */
	uint64_t max_connections; /* that may be */
	uint64_t requests[6];     /* answers by the first digit of their status; [0] is nobody's */
	uint64_t accepted;        /* connections */
	uint64_t refused;         /* connections: over a user's limit, or no descriptors */
	uint64_t limited;         /* requests: too many a second, or too much in memory (429) */
	uint64_t timed_out;       /* requests that did not come to their end (408) */
	uint64_t broken;          /* requests whose client left before all of the answer was sent */
};
void http_server_statistics(const struct http_server *server, struct http_statistics *ret);

/* The request. */
const struct http_server *http_request_server(const struct http_request *request);
const char *http_request_method(const struct http_request *request);
/* As sent, still percent-encoded, without the query. */
const char *http_request_path(const struct http_request *request);
/* Decoded; NULL when absent, "" for "?key". */
const char *http_request_query(const struct http_request *request, const char *key);
/* All query parameters, in order of arrival (to refuse unknown ones). '+' is a space here; of a key
 * given twice the last value holds. */
const struct pairs *http_request_queries(const struct http_request *request);
/* Header by name, any case; NULL when absent. */
const char *http_request_header(const struct http_request *request, const char *name);
const char *http_request_body(const struct http_request *request, size_t *ret_size);
/* The peer's credentials from the kernel. */
uid_t http_request_uid(const struct http_request *request);
pid_t http_request_pid(const struct http_request *request);
/* All its groups, the primary one included, as of its connect(); none when first asked for after
 * the client has gone. Good as long as the request. */
const gid_t *http_request_groups(struct http_request *request, size_t *ret_count);

void http_request_set_user_data(struct http_request *request, void *user_data);
void *http_request_user_data(const struct http_request *request);

/* From begin(): give the body to write() in pieces instead of keeping it. A negative result of
 * write() ends the body: handle() is not called for it, the handler has replied. */
void http_request_set_body(struct http_request *request,
	int (*write)(struct http_request *request, const void *data, size_t size));
/* The client has gone while the answer was awaited. */
void http_request_on_closed(struct http_request *request, void (*closed)(struct http_request *));

/* The answers. Header lists are strv of "Name: value", NULL for none; one that HTTP cannot carry (a
 * newline in it) is left out. content_type may be NULL. */
void http_reply(struct http_request *request, unsigned status, const char *content_type,
	const void *body, size_t size, char *const *headers);
/* size bytes of fd from offset on; fd is taken over. */
void http_reply_file(struct http_request *request, unsigned status, const char *content_type,
	int fd, uint64_t offset, uint64_t size, char *const *headers);

#define HTTP_STREAM_WAIT (-EAGAIN)

struct http_stream_ops {
	/* Put up to size bytes to `to`. Their number; 0: the end; HTTP_STREAM_WAIT; else a negative
	 * errno: the connection is cut, so that the client sees that something is missing. */
	ssize_t (*read)(void *stream, char *to, size_t size);
	/* The last call, after the end or because the client left. */
	void (*close)(void *stream);
};

#define HTTP_SIZE_UNKNOWN UINT64_MAX

/* `stream` is the handler's object. size: of all of it; one that ends before is cut. */
void http_reply_stream(struct http_request *request, unsigned status, const char *content_type,
	uint64_t size, const struct http_stream_ops *ops, void *stream, char *const *headers);
/* There is something to read now; from the loop's thread, any number of times, until close(). */
void http_stream_wake(struct http_request *request);

/* Decode %XX in text; '+' stays. -EINVAL on a bad escape or a NUL. malloc'ed. */
int http_percent_decode(const char *text, char **ret);
/* Encode all but unreserved characters and '/'. malloc'ed. */
char *http_percent_encode(const char *bytes);
