/* SPDX-License-Identifier: MIT */
/*
 * api - HTTP names for what the floors below can do (docs/api.md)
 *
 * Routes are one table (routes.c). A request is matched, its peer's credentials and its query
 * parameters are checked, and its handler is called; the handler answers now or later with one of
 * the api_reply*() calls. Errors become the API's error object, errno -> status by table.
 *
 * Who may do what is said in the table and decided in one place (api_access.c), before the handler
 * is called:
 *
 *	per user   a daemon of one user serves him and root; both may do all
 *	system     the members of users_gid, or everybody. Admins (root, the daemon's user, the
 *		   members of admin_gid) may do all. Others see the runs that history_viewer_sees():
 *		   of what they do not see they are told what they would be told if it did not
 *		   exist; what they see and is not theirs they may not change (403).
 *
 * Every change and every refusal is told to the audit (common/audit.h) before it is answered.
 *
 * Threads: the loop's alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "http/http_server.h"

struct api;
struct history;
struct run_manager;
struct store;
struct watch;

#define API_NO_GROUP ((gid_t)-1)

struct api_access {
	bool system;                           /* serves every user; else its own and root */
	gid_t admin_gid, users_gid;            /* API_NO_GROUP: none */
	const char *admin_group, *users_group; /* their names, for messages; copied */
};

struct api_options {
	uv_loop_t *loop;
	struct run_manager *runs;
	struct history *history;
	struct store *store;
	struct watch *watch;
	const char *state_dir;
	const char *config_path;  /* that is read, there or not */
	const char *openapi_path; /* NULL: not installed */
	int64_t started_us;       /* UTC */
	struct api_access access;
};

struct api *api_new(const struct api_options *options);
/* No request may be open. NULL is fine. */
void api_free(struct api *api);
struct http_handler api_handler(struct api *api);
/* From now on, for requests that begin. */
void api_set_access(struct api *api, const struct api_access *access);
