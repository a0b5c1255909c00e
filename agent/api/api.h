/* SPDX-License-Identifier: MIT */
/*
 * api - HTTP names for what the floors below can do (docs/api.md)
 *
 * Routes are one table (routes.c). A request is matched, its peer's credentials and its query
 * parameters are checked, and its handler is called; the handler answers now or later with one of
 * the api_reply*() calls. Errors become the API's error object, errno -> status by table.
 *
 * Threads: the loop's alone.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "http/http_server.h"

struct api;
struct history;
struct run_manager;
struct store;
struct watch;

struct api_options {
	uv_loop_t *loop;
	struct run_manager *runs;
	struct history *history;
	struct store *store;
	struct watch *watch;
	const char *state_dir;
	const char *openapi_path; /* NULL: not installed */
	int64_t started_us;       /* UTC */
};

struct api *api_new(const struct api_options *options);
/* No request may be open. NULL is fine. */
void api_free(struct api *api);
struct http_handler api_handler(struct api *api);
