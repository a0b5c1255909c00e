/* SPDX-License-Identifier: MIT */
/* blob_reply - a stored file as an answer; see blob_reply.h */
#include "api/blob_reply.h"

#include <string.h>

#include "api/pump.h"
#include "common/digest.h"
#include "common/mem.h"
#include "store/store.h"

/* Up to this size it is read and verified on the loop's thread: some 100 us. */
#define SMALL_MAX (128u << 10)

struct verified_file {
	int fd;
	uint64_t left;
	struct digest expected;
	struct digest_sum *sum;
};

static ssize_t read_verified(void *source, char *to, size_t size)
{
	struct verified_file *file = source;
	struct digest found;
	ssize_t n;

	if (!file->left)
		return 0;
	do
		n = read(file->fd, to, size);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || (uint64_t)n > file->left)
		return n < 0 ? -errno : -EBADMSG;
	digest_sum_update(file->sum, to, (size_t)n);
	file->left -= (uint64_t)n;
	if (file->left)
		return n;
	digest_sum_final(TAKE(file->sum), &found);
	return digest_equal(&found, &file->expected) ? n : -EBADMSG;
}

static void close_verified(void *source)
{
	struct verified_file *file = source;

	fd_close(file->fd);
	digest_sum_free(file->sum);
	free(file);
}

static void fail(struct call *call, int r)
{
	api_fail(call, error_of_ours(r), NULL, "cannot read %.300s from the store: %s", call->rest,
		r == -EBADMSG ? "its bytes are damaged (they do not match their digest)"
			      : strerror(-r));
}

static void send_small(struct call *call, const struct blob_reply *reply)
{
	_cleanup_(freep) char *data = NULL;
	size_t size;
	int r = store_read(
		call->api->options.store, &reply->artifact->digest, SMALL_MAX, &data, &size);

	if (r < 0) {
		fail(call, r);
		return;
	}
	call->answered = true;
	http_reply(call->request, 200, reply->content_type, data, size, reply->headers);
}

static void send_large(struct call *call, const struct blob_reply *reply, int fd)
{
	struct verified_file *file = NEW(struct verified_file);
	struct pump_source source = {
		.content_type = reply->content_type,
		.headers = reply->headers,
		.size = reply->size,
		.read = read_verified,
		.close = close_verified,
		.source = file,
	};

	*file = (struct verified_file){ fd, reply->size, reply->artifact->digest,
		digest_sum_new() };
	call->answered = true;
	pump_reply(call->api->options.loop, call->request, &source);
}

static bool is_head(const struct call *call)
{
	return !strcmp(http_request_method(call->request), "HEAD");
}

void blob_reply_send(struct call *call, const struct blob_reply *reply)
{
	bool whole = reply->status == 200 && reply->size == reply->artifact->size && !is_head(call);
	uint64_t size;
	int fd;
	int r;

	if (whole && reply->size <= SMALL_MAX) {
		send_small(call, reply);
		return;
	}
	r = store_open_blob(call->api->options.store, &reply->artifact->digest, &fd, &size);
	if (r >= 0 && size != reply->artifact->size) {
		close(fd);
		r = -EBADMSG;
	}
	if (r < 0) {
		fail(call, r);
	} else if (whole) {
		send_large(call, reply, fd);
	} else {
		call->answered = true;
		http_reply_file(call->request, reply->status, reply->content_type, fd,
			reply->offset, reply->size, reply->headers);
	}
}
