/* SPDX-License-Identifier: MIT */
/*
 * client - one connection to the daemon, and requests over it
 *
 * Connects at the first request (endpoint.h) and keeps the connection for the next ones. Two ways:
 *
 *	client_call(): a request and its whole answer as JSON. What was cut off is sent again where
 *	that can do no harm, with pauses, for up to CLIENT_RETRY_SECONDS: a daemon that restarts is
 *	waited for. A GET can do none. Nor can a request that the daemon did not read to its end,
 *	which for a Unix socket the kernel knows (client.c, left_unread()); that is sent again
 *	CLIENT_RESENDS times at most, as it might be what kills the daemon. A daemon that ends in
 *	order answers all that it has read (http_server.h).
 *
 *	client_send(), client_head(), client_body() until it returns 0: an answer in pieces. A cut
 *is -ECONNRESET here; the caller knows where to go on, and client_reconnect() waits for the daemon.
 *
 * Whoever waits for a daemon that does not answer is told so (silence.h). A read is given up after
 * CLIENT_PATIENCE_SECONDS; what changes something may take its time, and so may what waits for a run:
 * its caller sets patience_ms to 0.
 *
 * Errors: a negative errno with err set. -EREMOTEIO: the daemon answered with an error, its message
 * is err's and client->message.status says which. -ECONNRESET: the connection broke. -ETIMEDOUT: the
 * answer did not come. -EINTR: a signal that is caught (interrupt.h) came.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/endpoint.h"
#include "cli/http_message.h"
#include "common/json.h"

#define CLIENT_RETRY_SECONDS 30
#define CLIENT_RESENDS 5             /* of what changes something */
#define CLIENT_PATIENCE_SECONDS 45   /* longer than the daemon waits for a user's files */
#define CLIENT_BODY_MAX (256u << 20) /* of an answer that is kept whole */

struct client {
	struct endpoint *endpoint;
	int fd;
	struct http_message message;
	char *buffer;
	size_t start; /* what of buffer is read, but not yet parsed */
	size_t end;
	int64_t patience_ms;  /* so long an answer may not come, or not go on; 0: for ever */
	bool once;            /* client_call() sends nothing again */
	bool unread;          /* what was cut off last was not read to its end */
	int64_t retry_until;  /* clock_boot(); 0: the connection works */
	int64_t connected_us; /* the same: when it was mended */
	unsigned retries;
};

void client_init(struct client *client, struct endpoint *endpoint);
void client_release(struct client *client);

/* Connect if need be: client->endpoint tells then which daemon it is. */
int client_connect(struct client *client, struct error *err);
/* body NULL: none; ret NULL: the answer is of no interest, else NULL or a value to free. */
int client_call(struct client *client, const char *method, const char *target,
	const struct json *body, struct json **ret, struct error *err);
/* GET. */
int client_get(struct client *client, const char *target, struct json **ret, struct error *err);

/* Connect if need be and send. body NULL: none. */
int client_send(struct client *client, const char *method, const char *target, const char *body,
	struct error *err);
/* Read the head of the answer; an error of the daemon is read whole and becomes -EREMOTEIO. */
int client_head(struct client *client, struct error *err);
/* The next piece of the body, valid until the next call: its size, 0 at the end, or an errno. */
ssize_t client_body(struct client *client, const char **ret, struct error *err);
/* Was r the daemon's answer that what was asked for is not there (404)? */
bool client_found_none(const struct client *client, int r);
/* Is something there to read within so many milliseconds, or the answer whole? 1, 0, or -EINTR. */
int client_poll(struct client *client, int timeout_ms);

/*
 * After -ECONNRESET: wait a little, longer each time, and connect again. 0, or an errno once
 * CLIENT_RETRY_SECONDS have passed without client_worked(). Replaces what err holds.
 */
int client_reconnect(struct client *client, struct error *err);
/* The connection carries data again: the next cut has all its time. */
void client_worked(struct client *client);
