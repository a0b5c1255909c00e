/* SPDX-License-Identifier: MIT */
/* api_internal - what the handlers of the API share (private to agent/api/) */
#pragma once

#include "api/api.h"
#include "common/json.h"
#include "runs/run_manager.h"

struct api {
	struct api_options options;
};

/* One request being answered. Lives as long as the http_request. */
struct call {
	struct api *api;
	struct http_request *request;
	const struct route *route;
	char *run_id; /* of {id}, resolved; NULL when the route has none */
	char *rest;   /* of {rest}, decoded: a path; NULL when the route has none */
	bool answered;
	/* GET ?wait= */
	struct run_waiter waiter;
	uv_timer_t *timer;
	/* PUT */
	struct store_writer *writer;
};

struct route {
	const char *method;
	const char *path; /* "/v1/runs/{id}/artifacts/{rest}" */
	void (*handle)(struct call *call);
	void (*begin)(struct call *call); /* at the headers; NULL: nothing to do */
	void (*end)(struct call *call);   /* the request is over; NULL: nothing to do */
	const char *const *queries;       /* NULL-ended names of what may follow '?'; NULL: none */
};

/* routes.c */
const struct route *route_find(
	const char *method, const char *path, char **ret_id, char **ret_rest, int *ret_error);
/* "GET, POST" for a path that is there under other methods. malloc'ed; NULL when it is not there.
 */
char *route_methods(const char *path);

/* Answers; each takes what it is given over only where it says so. */
void api_reply_json(struct call *call, unsigned status, struct json *value); /* takes value over */
void api_reply_record(struct call *call, unsigned status, const struct run_record *record);
void api_reply_empty(struct call *call, unsigned status);
/* Status and code from err->code; a submit's -ENOENT and the like are 400 (bad_request). */
void api_reply_error(struct call *call, const struct error *err);
void api_reply_bad_request(struct call *call, const struct error *err);
void api_fail(struct call *call, int r, const char *target, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* A query parameter that is a whole number. -EINVAL after having replied. */
int api_query_int(struct call *call, const char *key, int64_t low, int64_t high, int64_t fallback,
	int64_t *ret);

/* record_json.c */
struct json *record_json(const struct run_record *record);
struct json *artifact_json(const char *run_id, const struct artifact *artifact);

/* The handlers. */
void runs_submit(struct call *call);
void runs_list(struct call *call);
void runs_show(struct call *call);
void runs_show_end(struct call *call);
void runs_patch(struct call *call);
void runs_delete(struct call *call);
void runs_cancel(struct call *call);
void logs_read(struct call *call);
void artifacts_list(struct call *call);
void artifacts_read(struct call *call);
void artifacts_write_begin(struct call *call);
void artifacts_write(struct call *call);
void artifacts_write_end(struct call *call);
void snapshots_read(struct call *call);
void node_experiments(struct call *call);
void node_status(struct call *call);
void node_health(struct call *call);
void node_openapi(struct call *call);
