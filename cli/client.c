/* SPDX-License-Identifier: MIT */
/* client - one connection to the daemon, and requests over it; see client.h */
#include "cli/client.h"

#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "cli/interrupt.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/strbuf.h"

#define BUFFER_SIZE (256u * 1024)
#define RETRY_US (CLIENT_RETRY_SECONDS * USEC_PER_SEC)
#define QUIET_US USEC_PER_SEC /* a restart that is over by then is not worth a word */

void client_init(struct client *client, struct endpoint *endpoint)
{
	*client = (struct client){
		.endpoint = endpoint, .fd = -EBADF, .patience_ms = CLIENT_PATIENCE_SECONDS * 1000
	};
	http_message_init(&client->message);
}

static void disconnect(struct client *client)
{
	closep(&client->fd);
	client->start = client->end = 0;
}

void client_release(struct client *client)
{
	disconnect(client);
	http_message_release(&client->message);
	free(client->buffer);
	client->buffer = NULL;
}

static int cut(struct client *client, struct error *err)
{
	disconnect(client);
	return error_set(err, -ECONNRESET, NULL,
		"the connection to amlagentd broke (was it restarted?); try again");
}

/* Until there is something to read, or room for what is to be sent. */
static int await(struct client *client, short events, struct error *err)
{
	struct endpoint *endpoint = client->endpoint;
	int r = silence_await(
		&endpoint->silence, endpoint->answered, client->fd, events, client->patience_ms);

	if (r == -EINTR)
		return error_set(err, r, NULL, "interrupted");
	if (r != -ETIMEDOUT)
		return r < 0 ? cut(client, err) : 0;
	disconnect(client);
	return error_set(err, r, NULL,
		"amlagentd at %s has not answered within %d s: it is stopped, hangs, or has too much to "
		"do; try again later",
		endpoint->answered, (int)(client->patience_ms / 1000));
}

static int send_all(struct client *client, const struct strbuf *text, struct error *err)
{
	for (size_t at = 0; at < text->size;) {
		int r = await(client, POLLOUT, err);
		ssize_t n;

		if (r < 0)
			return r;
		n = send(client->fd, text->data + at, text->size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		/* It may have answered early (413) before it closed: the answer says more. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
			client->unread = true;
			return 0;
		}
		if (n < 0)
			return cut(client, err);
		at += (size_t)n;
	}
	return 0;
}

int client_connect(struct client *client, struct error *err)
{
	if (client->fd < 0)
		client->fd = endpoint_connect(client->endpoint, err);
	return client->fd < 0 ? client->fd : 0;
}

int client_send(struct client *client, const char *method, const char *target, const char *body,
	struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r;

	client->unread = false;
	r = client_connect(client, err);
	if (r < 0)
		return r;
	if (!client->buffer)
		client->buffer = mem_realloc(NULL, BUFFER_SIZE);
	http_message_release(&client->message);
	http_message_init(&client->message);
	strbuf_addf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: amlctl/%s\r\n", method,
		target, AMLAGENT_VERSION);
	if (body)
		strbuf_addf(&text, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			strlen(body));
	strbuf_adds(&text, "\r\n");
	if (body)
		strbuf_adds(&text, body);
	return send_all(client, &text, err);
}

/*
 * The stream has ended without an answer: did the daemon leave bytes of ours unread? What it has shut
 * down it reads no more; what is in its queue then still counts as ours. Closing that queue makes an
 * ECONNRESET, before it is emptied: asked in this order, one of the two tells.
 */
static bool left_unread(int fd)
{
	int queued = 0, fault = 0;
	socklen_t size = sizeof(fault);

	if (ioctl(fd, SIOCOUTQ, &queued) == 0 && queued > 0)
		return true;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &size) == 0 && fault == ECONNRESET;
}

/* The number of bytes, 0 at the end of the stream. */
static ssize_t receive(struct client *client, struct error *err)
{
	for (;;) {
		int r = await(client, POLLIN, err);
		ssize_t n;

		if (r < 0)
			return r;
		n = recv(client->fd, client->buffer, BUFFER_SIZE, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0) {
			client->unread |= errno == ECONNRESET;
			return cut(client, err);
		}
		if (n > 0)
			silence_end(&client->endpoint->silence);
		else
			client->unread |= left_unread(client->fd);
		client->start = 0;
		client->end = (size_t)n;
		return n;
	}
}

/* The next part of the answer; a body's piece is ret_body and ret_size. */
static int next_part(
	struct client *client, const char **ret_body, size_t *ret_size, struct error *err)
{
	for (;;) {
		const char *from = client->buffer + client->start;
		size_t size = client->end - client->start;
		size_t used = 0;
		ssize_t n;
		int part = http_message_next(&client->message, from, size, &used, ret_body);

		client->start += used;
		*ret_size = used;
		if (part > HTTP_MORE)
			return part;
		if (part < 0) {
			disconnect(client);
			return error_set(err, part, NULL,
				"what answers at %s does not speak HTTP/1.1 as amlagentd does",
				client->endpoint->answered);
		}
		if (client->start < client->end)
			continue;
		n = receive(client, err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return http_message_close(&client->message) == HTTP_END ? HTTP_END
										: cut(client, err);
	}
}

static int read_whole(struct client *client, struct strbuf *ret, struct error *err)
{
	for (;;) {
		const char *piece = NULL;
		ssize_t n = client_body(client, &piece, err);

		if (n <= 0)
			return (int)n;
		if (ret->size + (size_t)n > CLIENT_BODY_MAX) {
			disconnect(client);
			return error_set(err, -EFBIG, NULL, "the daemon's answer is too large");
		}
		strbuf_add(ret, piece, (size_t)n);
	}
}

/* {"error": {"code", "message", "target"}} as err, or what can be said without. */
static int daemon_error(struct client *client, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(json_freep) struct json *value = NULL;
	const struct json *error;
	int r = read_whole(client, &text, err);

	if (r < 0)
		return r;
	if (text.size)
		json_parse(text.data, text.size, &value, NULL);
	error = value ? json_get(value, "error") : NULL;
	if (json_string(json_get(error, "message")))
		return error_set(err, -EREMOTEIO, json_string(json_get(error, "target")), "%s",
			json_string(json_get(error, "message")));
	return error_set(err, -EREMOTEIO, NULL, "amlagentd answered with HTTP status %d",
		client->message.status);
}

int client_head(struct client *client, struct error *err)
{
	const char *body = NULL;
	size_t size;
	int part = next_part(client, &body, &size, err);

	if (part < 0)
		return part;
	return client->message.status < 300 ? 0 : daemon_error(client, err);
}

bool client_found_none(const struct client *client, int r)
{
	return r == -EREMOTEIO && client->message.status == 404;
}

ssize_t client_body(struct client *client, const char **ret, struct error *err)
{
	size_t size = 0;
	int part = next_part(client, ret, &size, err);

	if (part < 0)
		return part;
	if (part == HTTP_BODY)
		return (ssize_t)size;
	if (!client->message.keep_alive)
		disconnect(client);
	client_worked(client);
	return 0;
}

int client_poll(struct client *client, int timeout_ms)
{
	struct pollfd wait = { client->fd, POLLIN, 0 };
	int n;

	if (client->start < client->end || client->message.state == HTTP_DONE)
		return 1;
	n = poll(&wait, 1, timeout_ms);
	return n < 0 ? -errno : n;
}

void client_worked(struct client *client)
{
	client->retry_until = 0;
	client->retries = 0;
}

int client_reconnect(struct client *client, struct error *err)
{
	int64_t now = clock_boot();

	disconnect(client);
	/* One that was mended and held has worked, also when it had nothing to carry. */
	if (client->retry_until && now - client->connected_us > RETRY_US)
		client_worked(client);
	if (!client->retry_until)
		client->retry_until = now + RETRY_US;
	while (now < client->retry_until) {
		unsigned ms = 25u << (client->retries < 5 ? client->retries : 5);
		struct timespec pause = { 0, (long)ms * 1000000 };

		*err = (struct error)ERROR_INIT;
		if (client->retries++)
			(void)nanosleep(&pause, NULL);
		if (interrupt_caught())
			return error_set(err, -EINTR, NULL, "interrupted");
		client->fd = endpoint_connect(client->endpoint, err);
		now = clock_boot();
		if (client->fd >= 0) {
			client->connected_us = now;
			return 0;
		}
		if (now - (client->retry_until - RETRY_US) > QUIET_US)
			silence_tell(&client->endpoint->silence, client->endpoint->answered);
	}
	return error_set(err, -ECONNRESET, NULL, "amlagentd has not come back within %d s",
		CLIENT_RETRY_SECONDS);
}

static bool is_reading(const char *method)
{
	return !strcmp(method, "GET");
}

static bool may_send_again(const struct client *client, const char *method, unsigned sent)
{
	if (client->once)
		return false;
	return is_reading(method) || (client->unread && sent <= CLIENT_RESENDS);
}

static int call_once(struct client *client, const char *method, const char *target,
	const char *body, struct strbuf *ret, struct error *err)
{
	int64_t patience_ms = client->patience_ms;
	int r;

	if (!is_reading(method))
		client->patience_ms = 0;
	r = client_send(client, method, target, body, err);
	if (r >= 0)
		r = client_head(client, err);
	if (r >= 0)
		r = read_whole(client, ret, err);
	client->patience_ms = patience_ms;
	return r;
}

int client_call(struct client *client, const char *method, const char *target,
	const struct json *body, struct json **ret, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf answer = STRBUF_INIT;
	_cleanup_(freep) char *text = body ? json_print(body) : NULL;
	int r = call_once(client, method, target, text, &answer, err);

	for (unsigned sent = 1; r == -ECONNRESET && may_send_again(client, method, sent); sent++) {
		strbuf_clear(&answer);
		r = client_reconnect(client, err);
		if (r < 0)
			return r;
		r = call_once(client, method, target, text, &answer, err);
	}
	if (r < 0 || !ret)
		return r;
	*ret = NULL;
	if (answer.size == 0)
		return 0;
	r = json_parse(answer.data, answer.size, ret, err);
	if (r < 0)
		error_prefix(err, "the daemon's answer");
	return r;
}

int client_get(struct client *client, const char *target, struct json **ret, struct error *err)
{
	return client_call(client, "GET", target, NULL, ret, err);
}
