/* SPDX-License-Identifier: MIT */
/*
 * http_fixture - an HTTP server on a socket of its own, and clients that speak to it byte by byte
 *
 * fixture_init() says what server it will be (options and handler may be changed then),
 * fixture_start() begins it, fixture_close() ends it and looks that nothing is left. What a request
 * is answered is chosen by its path: the program's own table, then the fixture's (behaviours[] in
 * http_fixture.c), then reply_what().
 *
 * Failures abort the test (cmocka). A client that waits in vain gives up after twenty seconds; a
 * test that takes a minute ends the program.
 *
 * Threads: the loop's, which is the test's, and one that with_client() makes for the client. What
 * both look at is atomic, or of the one that is at work.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "test.h"

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "http/http_server.h"

#define MAX_BODY 100000
#define PIECES 50 /* of /pieces */
#define PIECES_BYTES (PIECES * 6)

/* ---- the server ---- */

struct behaviour {
	const char *path; /* NULL: the end of the table */
	void (*handle)(struct http_request *request);
	void (*begin)(struct http_request *request); /* its headers are there; NULL: nothing */
};

struct fixture {
	uv_loop_t loop;
	struct http_server *server;
	struct http_options options; /* as it will begin */
	struct http_handler handler; /* as well; `begin` and `end` may be taken away */
	const struct behaviour *own;
	char dir[64];
	char socket[96];
	uv_async_t client_done;
	uv_prepare_t turn;
	bool client_running;
	bool freed;
	unsigned begun, handled; /* atomic */
	unsigned ended, streams_closed;
	unsigned loops; /* iterations of the loop */
};

extern struct fixture *current;

/* Ten connections, and no other limit that we could meet: the daemon's own user is exempt. own: the
 * program's table; may be NULL. */
void fixture_init(struct fixture *f, const struct behaviour *own);
/* Nobody is exempt, and nothing is limited yet; a handler with neither `begin` nor `end`. */
void fixture_init_users(struct fixture *f, const struct behaviour *own);
void fixture_start(struct fixture *f);
/* Both, for the server as fixture_init() makes it. */
void fixture_open(struct fixture *f, const struct behaviour *own);
void fixture_close(struct fixture *f);
/* The two halves of it: http_server_free() has begun; until all has gone. */
void fixture_begin_close(struct fixture *f);
void fixture_end_close(struct fixture *f);
/* Turns of the loop until there are no more than that. */
void wait_for_connections(struct fixture *f, unsigned count);

/* ---- answers ---- */

/* What the handler was shown: method, path, queries, X-Thing, and whether the peer is we. */
void reply_what(struct http_request *request);
/* "later", after so long; in a moment. */
void reply_after(struct http_request *request, unsigned ms);
void reply_later(struct http_request *request);
/* A stream of that many bytes. */
void reply_bytes(struct http_request *request, uint64_t count);
/* For the `close` of a stream that is one piece of memory: counted in streams_closed. */
void count_close(void *data);

/* ---- the client, in a thread of its own ---- */

/* Turns of the loop until the client has finished. */
void with_client(struct fixture *f, void (*run)(struct fixture *f));
/* Counters belong to the other thread. */
void await_count(const unsigned *counter, unsigned count);

int dial(struct fixture *f);
/* 0, or -errno when the server has closed. */
int send_all(int fd, const void *data, size_t size);
void send_text(int fd, const char *text);

struct answer {
	int status; /* 0: the connection ended before one came */
	char head[2048];
	struct strbuf body;
	bool whole; /* it ended as HTTP says */
};

void read_answer(int fd, struct answer *ret, bool has_body);
void answer_release(struct answer *answer);
/* The parts of it; false: it ended before. read_head() leaves the rest of `answer` as it is.
 * keep_bytes: `to` gets all the chunks, else the last one. */
bool read_byte(int fd, char *to);
bool read_bytes(int fd, struct strbuf *to, size_t size);
bool read_head(int fd, struct answer *answer);
bool read_chunks(int fd, struct strbuf *to, bool keep_bytes);

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* Ask, and be answered so. */
void expect(int fd, const char *request, int status, const char *body);
/* The status alone. */
int get(int fd, const char *request);
int read_status(int fd);
void expect_ok(int fd);     /* of a request that is made now */
void expect_answer(int fd); /* of one that was made */
/* Two answers that come later, on one connection: whatever happened before, the server is well. */
void later_client(struct fixture *f);

/* As many as are served, each kept open; the next is refused. */
unsigned open_all(struct fixture *f, int *fds, unsigned max);
void close_all(int *fds, unsigned count);

/* ---- several users ---- */

/*
 * Users are threads of this program that have taken another effective uid: connect() tells the
 * server that one. That needs root; the tests of several users are skipped without it.
 */
#define ANA 60001
#define BOB 60002
#define CARL 60003

void need_root(void);
/* Of this thread alone, which glibc's call would not do. */
void become(uid_t uid);
