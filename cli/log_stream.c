/* SPDX-License-Identifier: MIT */
/* log_stream - the bytes of a run's log, each once and in order; see log_stream.h */
#include "cli/log_stream.h"

#include "cli/output.h"
#include "cli/record.h"
#include "common/mem.h"

/* While nothing has come yet somebody may want to say why. */
static void await_first_byte(struct log_stream *stream)
{
	bool more = stream->idle != NULL;
	int r = 0;

	while (more && !stream->started && (r == 0 || r == -EINTR)) {
		r = client_poll(stream->client, 1000);
		if (r == 0)
			more = stream->idle(stream->data);
	}
}

static int stream_once(struct log_stream *stream, struct error *err)
{
	_cleanup_(freep) char *name = http_encode(stream->name, true);
	_cleanup_(freep) char *target = run_target(stream->run, "/logs/%s?offset=%lld%s", name,
		(long long)stream->offset, stream->follow ? "&follow=1" : "");
	int r = client_send(stream->client, "GET", target, NULL, err);

	if (r < 0)
		return r;
	await_first_byte(stream);
	r = client_head(stream->client, err);
	while (r >= 0) {
		const char *piece = NULL;
		ssize_t n;

		await_first_byte(stream);
		n = client_body(stream->client, &piece, err);
		if (n <= 0)
			return (int)n;
		stream->started = true;
		client_worked(stream->client);
		r = stream->sink(stream->data, piece, (size_t)n, err);
		if (r >= 0)
			stream->offset += n;
	}
	return r;
}

/* The daemon cuts the stream of a log that has become shorter, and refuses our offset. */
static bool was_truncated(const struct log_stream *stream, int r)
{
	return r == -EREMOTEIO && stream->client->message.status == 416 && stream->offset > 0;
}

static int stream_to_end(struct log_stream *stream, struct error *err)
{
	int r = stream_once(stream, err);

	while (r == -ECONNRESET || was_truncated(stream, r)) {
		if (r == -ECONNRESET) {
			r = client_reconnect(stream->client, err);
			if (r < 0)
				return r;
		} else {
			*err = (struct error)ERROR_INIT;
			say("the log was truncated; what it holds now follows, from its beginning");
			stream->offset = 0;
		}
		r = stream_once(stream, err);
	}
	return r;
}

int log_stream_run(struct log_stream *stream, struct error *err)
{
	int64_t patience_ms = stream->client->patience_ms;
	int r;

	if (stream->follow)
		stream->client->patience_ms = 0;
	r = stream_to_end(stream, err);
	stream->client->patience_ms = patience_ms;
	return r;
}
