/* SPDX-License-Identifier: MIT */
/* api_logs - bytes of a log: from the file the run writes while it goes on, from the store
 * afterwards */
#include <string.h>
#include <sys/stat.h>

#include "api/api_internal.h"
#include "api/blob_reply.h"
#include "capture/collect.h"
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

static int reply_live(struct call *call, bool follow, uint64_t offset)
{
	struct log_follower_options options = {
		.manager = call->api->options.runs,
		.watch = call->api->options.watch,
		.run_id = call->run_id,
		.name = call->rest,
		.offset = offset,
		.follow = follow,
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
	reply.offset = offset < artifact.size ? offset : artifact.size;
	reply.size = artifact.size - reply.offset;
	blob_reply_send(call, &reply);
	free(artifact.path);
	return 0;
}

/* Of a run whose outputs could not be stored the log is where it was written. */
static int reply_left(struct call *call, uint64_t offset)
{
	_cleanup_(closep) int dirfd = run_manager_open_dir(call->api->options.runs, call->run_id);
	_cleanup_(closep) int fd = -EBADF;
	struct stat st;
	int r = dirfd < 0 ? dirfd : collect_open_live(dirfd, call->rest, &fd);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (offset > (uint64_t)st.st_size)
		offset = (uint64_t)st.st_size;
	call->answered = true;
	http_reply_file(call->request, 200, LOG_TYPE, TAKE_FD(fd), offset,
		(uint64_t)st.st_size - offset, NULL);
	return 0;
}

void logs_read(struct call *call)
{
	int64_t follow, offset;
	bool is_log = !strncmp(call->rest, "logs/", 5) || !strncmp(call->rest, "user_logs/", 10);
	int r = -ENOENT;

	if (api_query_int(call, "follow", 0, 1, 0, &follow) < 0 ||
		api_query_int(call, "offset", 0, INT64_MAX, 0, &offset) < 0)
		return;
	if (is_log)
		r = reply_live(call, follow, (uint64_t)offset);
	if (is_log && r == -ENOENT)
		r = reply_stored(call, (uint64_t)offset);
	if (is_log && r == -ENOENT)
		r = reply_left(call, (uint64_t)offset);
	if (r == -ENOENT && !strcmp(call->rest, RUN_LOG_ARTIFACT)) {
		/* It ended before there was anything to log. */
		call->answered = true;
		http_reply(call->request, 200, LOG_TYPE, "", 0, NULL);
	} else if (r == -ENOENT) {
		api_fail(call, r, "name",
			"%s has no log \"%.300s\"; `amlctl files %s` lists what there is",
			call->run_id, call->rest, call->run_id);
	} else if (r < 0) {
		api_fail(call, r, NULL, "cannot read the log: %s", strerror(-r));
	}
}
