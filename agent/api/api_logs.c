/* SPDX-License-Identifier: MIT */
/* api_logs - bytes of a log: from the file the run writes while it goes on, from the store
 * afterwards */
#include <string.h>
#include <sys/stat.h>

#include "api/api_internal.h"
#include "api/blob_reply.h"
#include "api/live_files.h"
#include "common/cleanup.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "runs/log_follower.h"

#define LOG_TYPE "text/plain; charset=utf-8"

static void wake(void *data)
{
	http_stream_wake(data);
}

static ssize_t stream_read(void *stream, char *to, size_t size)
{
	ssize_t n = log_follower_read(stream, to, size);

	return n == -EAGAIN ? HTTP_STREAM_WAIT : n;
}

static void stream_close(void *stream)
{
	log_follower_close(stream);
}

static const struct http_stream_ops stream_ops = { stream_read, stream_close };

struct log_query {
	int64_t follow, offset;
};

static int read_query(struct call *call, struct log_query *ret)
{
	int r = api_query_int(call, "follow", 0, 1, 0, &ret->follow);

	return r < 0 ? r : api_query_int(call, "offset", 0, INT64_MAX, 0, &ret->offset);
}

/* fd: taken over; negative: it is opened by name. */
static int reply_live(struct call *call, const struct log_query *query, int fd)
{
	struct log_follower_options options = {
		.manager = call->api->options.runs,
		.watch = call->api->options.watch,
		.run_id = call->run_id,
		.name = call->rest,
		.fd = fd,
		.offset = (uint64_t)query->offset,
		.follow = query->follow,
		.wake = wake,
		.data = call->request,
	};
	struct log_follower *follower;
	int r = log_follower_open(&options, &follower);

	if (r < 0)
		return r;
	call->answered = true;
	http_reply_stream(
		call->request, 200, LOG_TYPE, HTTP_SIZE_UNKNOWN, &stream_ops, follower, NULL);
	return 0;
}

static int reply_stored(struct call *call, uint64_t offset)
{
	struct artifact artifact = { 0 };
	struct blob_reply reply = {
		.artifact = &artifact, .content_type = LOG_TYPE, .status = 200
	};
	int r = history_artifact_get(
		call->api->options.history, call->run_id, call->rest, &artifact);

	if (r < 0)
		return r;
	reply.offset = offset;
	reply.size = artifact.size - offset;
	if (offset <= artifact.size)
		blob_reply_send(call, &reply);
	else
		r = -ERANGE;
	free(artifact.path);
	return r;
}

static void not_read(struct call *call, int r)
{
	if (r == -ENOENT && access_is_gone(call))
		return;
	if (r == -ENOENT && !strcmp(call->rest, RUN_LOG_ARTIFACT)) {
		/* It ended before there was anything to log. */
		call->answered = true;
		http_reply(call->request, 200, LOG_TYPE, "", 0, NULL);
	} else if (r == -ENOENT) {
		api_fail(call, r, "name",
			"%s has no log \"%.300s\"; `amlctl files %s` lists what there is",
			call->run_id, call->rest, call->run_id);
	} else if (r == -ERANGE) {
		api_fail(call, r, "offset",
			"the log \"%.300s\" is shorter than the offset: it was truncated, read it from "
			"its beginning",
			call->rest);
	} else {
		api_fail(call, r, NULL, "cannot read the log: %s", error_words(r));
	}
}

/* Of a run whose outputs could not be stored the log is where it was written. */
static void left_opened(struct call *call, int result, int fd)
{
	_cleanup_(closep) int file = fd;
	struct log_query query;
	struct stat st;
	uint64_t offset;

	if (read_query(call, &query) < 0)
		return;
	if (result >= 0 && fstat(file, &st) < 0)
		result = -errno;
	offset = (uint64_t)query.offset;
	if (result >= 0 && offset > (uint64_t)st.st_size)
		result = -ERANGE;
	if (result < 0) {
		not_read(call, result);
		return;
	}
	call->answered = true;
	http_reply_file(call->request, 200, LOG_TYPE, TAKE_FD(file), offset,
		(uint64_t)st.st_size - offset, NULL);
}

/* Of a run that goes on no more. */
static void read_ended(struct call *call, const struct log_query *query)
{
	int r = reply_stored(call, (uint64_t)query->offset);

	if (r == -ENOENT)
		live_files_open(call, call->rest, left_opened);
	else if (r < 0)
		not_read(call, r);
}

static void live_opened(struct call *call, int result, int fd)
{
	struct log_query query;

	if (read_query(call, &query) < 0) {
		fd_close(fd);
		return;
	}
	if (result >= 0)
		result = reply_live(call, &query, fd);
	if (result == -ENOENT)
		read_ended(call, &query);
	else if (result < 0)
		not_read(call, result);
}

void logs_read(struct call *call)
{
	bool is_log = !strncmp(call->rest, "logs/", 5) || !strncmp(call->rest, "user_logs/", 10);
	struct log_query query;
	int r;

	if (read_query(call, &query) < 0)
		return;
	if (!is_log) {
		not_read(call, -ENOENT);
	} else if (run_manager_is_accepting(call->api->options.runs, call->run_id)) {
		api_fail(call, -EAGAIN, "run_id", "%s is being accepted; try again", call->run_id);
	} else if (!run_manager_is_live(call->api->options.runs, call->run_id)) {
		read_ended(call, &query);
	} else if (!live_files_are_ours(call, call->rest)) {
		live_files_open(call, call->rest, live_opened);
	} else {
		r = reply_live(call, &query, -EBADF);
		if (r == -ENOENT)
			read_ended(call, &query);
		else if (r < 0)
			not_read(call, r);
	}
}
