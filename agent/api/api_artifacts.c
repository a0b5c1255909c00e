/* SPDX-License-Identifier: MIT */
/* api_artifacts - list, read and write a run's files; its snapshot as a tar */
#include <string.h>
#include <sys/stat.h>

#include "api/api_internal.h"
#include "api/blob_reply.h"
#include "api/list_reply.h"
#include "api/live_files.h"
#include "api/pump.h"
#include "capture/snapshot.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "runs/work.h"
#include "store/store.h"

#define ARTIFACT_TYPE "application/octet-stream"

/* ---- list ---- */

#define PAGE 200

/* What history knows, and what is in the folders of a live run now, where history does not know it
 * (better). */
struct listing {
	struct call *call;
	struct artifacts stored; /* a page */
	size_t stored_at;
	bool stored_all; /* there is no page after it */
	struct artifacts live;
	size_t live_at;
};

static int next_page(struct listing *listing)
{
	const struct call *call = listing->call;
	struct artifacts *stored = &listing->stored;
	struct artifacts next = { 0 };
	struct history_page page = { .limit = PAGE };
	int r;

	if (stored->count)
		page.after = stored->items[stored->count - 1].path;
	r = history_artifacts_list(call->api->options.history, call->run_id,
		http_request_query(call->request, "prefix"), &page, &next);
	if (r < 0)
		return r;
	artifacts_release(stored);
	*stored = next;
	listing->stored_at = 0;
	listing->stored_all = next.count < PAGE;
	return 0;
}

static const struct artifact *next_of_both(struct listing *listing)
{
	const struct artifact *stored = NULL, *live = NULL;
	int order;

	if (listing->stored_at < listing->stored.count)
		stored = &listing->stored.items[listing->stored_at];
	if (listing->live_at < listing->live.count)
		live = &listing->live.items[listing->live_at];
	if (stored && live)
		order = strcmp(stored->path, live->path);
	else
		order = stored ? -1 : 1;
	if (order <= 0 && stored)
		listing->stored_at++;
	if (order >= 0 && live)
		listing->live_at++;
	return order <= 0 ? stored : live;
}

static int next_artifact(void *list, struct json **ret)
{
	struct listing *listing = list;
	const struct artifact *artifact;
	int r = 0;

	if (listing->stored_at == listing->stored.count && !listing->stored_all)
		r = next_page(listing);
	if (r < 0)
		return r;
	artifact = next_of_both(listing);
	if (!artifact)
		return 0;
	*ret = artifact_json(listing->call->run_id, artifact);
	return 1;
}

static void close_listing(void *list)
{
	struct listing *listing = list;

	artifacts_release(&listing->stored);
	artifacts_release(&listing->live);
	free(listing);
}

/* live: taken over. */
static void reply_list(struct call *call, struct artifacts *live)
{
	static const struct list_source source = { next_artifact, close_listing };
	struct listing *listing = NEW(struct listing);

	listing->call = call;
	listing->live = *live;
	*live = (struct artifacts){ 0 };
	list_reply(call, &source, listing);
}

/* Those that the prefix leaves, in order. */
static void choose(struct artifacts *list, const char *prefix)
{
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (!prefix || !strncmp(list->items[i].path, prefix, strlen(prefix)))
			list->items[count++] = list->items[i];
		else
			free(list->items[i].path);
	}
	list->count = count;
	artifacts_sort(list);
}

static void listed(struct call *call, int result, struct artifacts *live)
{
	if (result < 0 && result != -ENOENT) {
		api_fail(call, result, NULL, "cannot look into the run's folders: %s",
			error_words(result));
		return;
	}
	choose(live, http_request_query(call->request, "prefix"));
	reply_list(call, live);
}

void artifacts_list(struct call *call)
{
	struct artifacts none = { 0 };

	if (run_manager_is_live(call->api->options.runs, call->run_id))
		live_files_list(call, listed);
	else
		reply_list(call, &none);
}

/* ---- read ---- */

struct range {
	uint64_t first, last;
};

static bool parse_offset(const char **text, uint64_t *ret)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	*ret = strtoull(*text, &end, 10);
	*text = end;
	return !errno;
}

/* "bytes=5-9", "bytes=5-", "bytes=-3". 1: a range; 0: none that we honour (the whole is sent then,
 * as RFC 9110 allows); -ERANGE: beyond the end. */
static int parse_range(const char *header, uint64_t size, struct range *ret)
{
	bool has_first, has_last;

	if (!header || strncmp(header, "bytes=", 6))
		return 0;
	header += 6;
	*ret = (struct range){ 0, size - 1 };
	has_first = parse_offset(&header, &ret->first);
	if (*header++ != '-')
		return 0;
	has_last = parse_offset(&header, &ret->last);
	if (*header || (!has_first && !has_last))
		return 0;
	if (!has_first) {
		ret->first = ret->last >= size ? 0 : size - ret->last;
		if (!ret->last || !size)
			return -ERANGE;
		ret->last = size - 1;
	} else if (!has_last || ret->last >= size) {
		ret->last = size - 1;
	}
	if (ret->first >= size)
		return -ERANGE;
	return ret->first > ret->last ? 0 : 1;
}

/* What is asked for of size bytes. False when it was refused. */
static bool take_range(struct call *call, uint64_t size, struct blob_reply *reply, char ***headers)
{
	struct range range;
	int r = parse_range(http_request_header(call->request, "Range"), size, &range);

	if (r < 0) {
		api_fail(call, r, "Range", "the range is beyond the end (%llu bytes)",
			(unsigned long long)size);
		return false;
	}
	strv_add(headers, "Accept-Ranges: bytes");
	*reply = (struct blob_reply){ .content_type = ARTIFACT_TYPE, .size = size, .status = 200 };
	if (r > 0) {
		reply->offset = range.first;
		reply->size = range.last - range.first + 1;
		reply->status = 206;
		strv_addf(headers, "Content-Range: bytes %llu-%llu/%llu",
			(unsigned long long)range.first, (unsigned long long)range.last,
			(unsigned long long)size);
	}
	reply->headers = *headers;
	return true;
}

static int reply_stored(struct call *call)
{
	_cleanup_(strv_freep) char **headers = NULL;
	struct artifact artifact = { 0 };
	struct blob_reply reply;
	char digest[DIGEST_HEX_SIZE + 1];
	int r = history_artifact_get(
		call->api->options.history, call->run_id, call->rest, &artifact);

	if (r < 0)
		return r;
	digest_format(&artifact.digest, digest);
	strv_addf(&headers, "ETag: \"sha256:%s\"", digest);
	if (take_range(call, artifact.size, &reply, &headers)) {
		reply.artifact = &artifact;
		blob_reply_send(call, &reply);
	}
	free(artifact.path);
	return 0;
}

static void not_read(struct call *call, int r)
{
	if (r == -ENOENT && access_is_gone(call))
		return;
	if (r == -ENOENT || r == -ELOOP)
		api_fail(call, -ENOENT, "path",
			"%s has no artifact \"%.300s\"; `amlctl files %s` lists them", call->run_id,
			call->rest, call->run_id);
	else
		api_fail(call, r, NULL, "cannot read the artifact: %s", error_words(r));
}

/* A file that the run may still be writing: what is there now. While it was looked for the run may have
 * ended: then it is in the store. */
static void opened(struct call *call, int result, int fd)
{
	_cleanup_(strv_freep) char **headers = NULL;
	_cleanup_(closep) int file = fd;
	struct blob_reply reply;
	struct stat st;

	if (result >= 0 && fstat(file, &st) < 0)
		result = -errno;
	if (result == -ENOENT && (result = reply_stored(call)) == 0)
		return;
	if (result < 0) {
		not_read(call, result);
		return;
	}
	if (take_range(call, (uint64_t)st.st_size, &reply, &headers)) {
		call->answered = true;
		http_reply_file(call->request, reply.status, ARTIFACT_TYPE, TAKE_FD(file),
			reply.offset, reply.size, headers);
	}
}

void artifacts_read(struct call *call)
{
	int r = reply_stored(call);

	if (r == -ENOENT && run_manager_is_live(call->api->options.runs, call->run_id))
		live_files_open(call, call->rest, opened);
	else if (r < 0)
		not_read(call, r);
}

/* ---- write ---- */

static int write_piece(struct http_request *request, const void *data, size_t size)
{
	struct call *call = http_request_user_data(request);
	int r = store_writer_write(call->writer, data, size);

	if (r < 0)
		api_fail(call, r, NULL, "cannot store the artifact: %s", error_words(r));
	return r;
}

void artifacts_write_begin(struct call *call)
{
	int r;
	_cleanup_(freep) char *rooted = mem_printf("/%s", call->rest);
	_cleanup_(freep) char *normal = path_absolute(rooted);

	/* One name for one file: "a/./b" would be another name of "a/b". */
	if (!path_is_inside(call->rest) || strcmp(rooted, normal)) {
		api_fail(call, -EINVAL, "path",
			"path: \"%.300s\" must be relative, without \".\" and \"..\"", call->rest);
		return;
	}
	if (!strcmp(call->rest, RUN_LOG_ARTIFACT)) {
		api_fail(call, -EEXIST, "path", "%s is the run's own log and is not replaced",
			call->rest);
		return;
	}
	r = store_writer_begin(call->api->options.store, &call->writer);
	if (r < 0) {
		api_fail_ours(call, r, "cannot store the artifact");
		return;
	}
	http_request_set_body(call->request, write_piece);
}

struct put {
	struct call *call;
	struct work work;
	struct artifact artifact;
	int result;
};

static void put_on_thread(struct work *work)
{
	struct put *put = container_of(work, struct put, work);

	put->result =
		store_writer_commit(put->call->writer, &put->artifact.digest, &put->artifact.size);
	put->call->writer = NULL;
}

static void put_in_history(void *data, const struct run_record *record, const struct error *err)
{
	struct put *put = data;

	api_audit_result(put->call, record, err);
	if (record)
		api_reply_json(put->call, 201, artifact_json(record->run_id, &put->artifact));
	else
		api_reply_error(put->call, err);
	free(put->artifact.path);
	free(put);
}

static void put_done(struct work *work)
{
	struct put *put = container_of(work, struct put, work);
	struct call *call = put->call;
	struct artifacts list = { &put->artifact, 1, 1 };
	struct error err = ERROR_INIT;

	if (put->result >= 0) {
		put->artifact.modified_us = clock_utc();
		run_manager_put_artifacts(
			call->api->options.runs, call->run_id, &list, put_in_history, put);
		return;
	}
	error_ours(&err, put->result, NULL, "cannot store the artifact");
	put_in_history(put, NULL, &err);
}

void artifacts_write(struct call *call)
{
	struct put *put = NEW(struct put);

	put->call = call;
	put->artifact.path = mem_strdup(call->rest);
	work_queue(call->api->options.loop, &put->work, put_on_thread, put_done);
}

void artifacts_write_end(struct call *call)
{
	if (call->writer)
		store_writer_abort(call->writer);
}

/* ---- the snapshot ---- */

static ssize_t read_tar(void *source, char *to, size_t size)
{
	return snapshot_tar_read(source, to, size);
}

static void close_tar(void *source)
{
	snapshot_tar_close(source);
}

/* Whatever is wrong with it from here on, it was there: a run has one. */
static int open_tar(struct call *call, const struct run_record *record, struct snapshot_tar **ret)
{
	struct digest id;
	int r = record->snapshot_id ? digest_parse(record->snapshot_id, &id) : -EBADMSG;

	return r < 0 ? r : snapshot_tar_open(call->api->options.store, &id, ret);
}

void snapshots_read(struct call *call)
{
	struct api_options *options = &call->api->options;
	_cleanup_(run_record_release) struct run_record record = { 0 };
	struct snapshot_tar *tar = NULL;
	int r = run_manager_get(options->runs, call->run_id, &record);

	if (r < 0) {
		access_reply_no_run(call, r);
		return;
	}
	r = open_tar(call, &record, &tar);
	if (r < 0) {
		api_fail_ours(call, r, "cannot read the snapshot");
		return;
	}
	call->answered = true;
	pump_reply(options->loop, call->request,
		&(struct pump_source){ .content_type = "application/x-tar",
			.size = HTTP_SIZE_UNKNOWN,
			.read = read_tar,
			.close = close_tar,
			.source = tar });
}
