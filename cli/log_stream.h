/* SPDX-License-Identifier: MIT */
/*
 * log_stream - the bytes of a run's log, each once and in order, whatever the connection does
 *
 * Reads /v1/runs/{run}/logs/{name} from `offset` on. When the connection breaks (the daemon is
 * restarted) it goes on at the byte after the last one that `sink` took. A log that the run has
 * truncated meanwhile begins anew, after a line on stderr that says so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/client.h"

struct log_stream {
	struct client *client;
	const char *run;
	const char *name;
	bool follow; /* until the run has ended */
	int64_t offset;
	int (*sink)(void *data, const char *bytes, size_t size, struct error *err);
	/* Once a second until the first byte has come, or it is false; may be NULL. */
	bool (*idle)(void *data);
	void *data;
	bool started; /* a byte has come */
};

/* 0 at the end of the log; else client's errors, or the sink's. */
int log_stream_run(struct log_stream *stream, struct error *err);
