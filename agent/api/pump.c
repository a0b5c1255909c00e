/* SPDX-License-Identifier: MIT */
/* pump - a blocking source as an HTTP stream; see pump.h */
#include "api/pump.h"

#include <string.h>

#include "common/mem.h"
#include "runs/work.h"

#define PUMP_SIZE (256u * 1024)

struct pump {
	struct http_request *request;
	uv_loop_t *loop;
	struct pump_source source;
	struct work work;
	bool busy, closed;
	ssize_t result; /* of the last read: what is in data; 0: the end; negative errno */
	size_t at;      /* how much of it was taken */
	char data[PUMP_SIZE];
};

static void fill(struct work *work)
{
	struct pump *pump = container_of(work, struct pump, work);

	pump->result = pump->source.read(pump->source.source, pump->data, sizeof(pump->data));
}

static void pump_free(struct pump *pump)
{
	pump->source.close(pump->source.source);
	free(pump);
}

static void filled(struct work *work)
{
	struct pump *pump = container_of(work, struct pump, work);

	pump->busy = false;
	pump->at = 0;
	if (pump->closed)
		pump_free(pump);
	else
		http_stream_wake(pump->request);
}

static void start(struct pump *pump)
{
	pump->busy = true;
	work_queue(pump->loop, &pump->work, fill, filled);
}

static ssize_t pump_read(void *stream, char *to, size_t size)
{
	struct pump *pump = stream;
	size_t left;

	if (pump->busy)
		return HTTP_STREAM_WAIT;
	if (pump->result <= 0)
		return pump->result;
	left = (size_t)pump->result - pump->at;
	if (size > left)
		size = left;
	memcpy(to, pump->data + pump->at, size);
	pump->at += size;
	if (size == left)
		start(pump); /* the next piece is read while this one is sent */
	return (ssize_t)size;
}

static void pump_close(void *stream)
{
	struct pump *pump = stream;

	pump->closed = true;
	if (!pump->busy)
		pump_free(pump);
}

void pump_reply(uv_loop_t *loop, struct http_request *request, const struct pump_source *source)
{
	static const struct http_stream_ops ops = { pump_read, pump_close };
	struct pump *pump = NEW(struct pump);

	pump->request = request;
	pump->loop = loop;
	pump->source = *source;
	start(pump);
	http_reply_stream(
		request, 200, source->content_type, source->size, &ops, pump, source->headers);
}
