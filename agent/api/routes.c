/* SPDX-License-Identifier: MIT */
/* routes - the whole API on one page: method, path, who may, handler; see docs/api.md */
#include <string.h>

#include "api/api_internal.h"
#include "common/mem.h"
#include "common/strbuf.h"

static const char *const list_queries[] = { "experiment_name", "status", "tag", "user", "limit",
	"before", NULL };
static const char *const show_queries[] = { "wait", NULL };
static const char *const log_queries[] = { "follow", "offset", NULL };
static const char *const artifact_queries[] = { "prefix", NULL };

/* clang-format off */
static const struct route routes[] = {
	{ "POST",   "/v1/runs",                       ACCESS_ANY,       "submit",  runs_submit },
	{ "GET",    "/v1/runs",                       ACCESS_ANY,       NULL,      runs_list, .queries = list_queries },
	{ "GET",    "/v1/runs/{id}",                  ACCESS_READ,      NULL,      runs_show, .end = runs_show_end, .queries = show_queries },
	{ "PATCH",  "/v1/runs/{id}",                  ACCESS_OWN,       "patch",   runs_patch },
	{ "DELETE", "/v1/runs/{id}",                  ACCESS_OWN,       "delete",  runs_delete },
	{ "POST",   "/v1/runs/{id}/cancel",           ACCESS_OWN,       "cancel",  runs_cancel },
	{ "POST",   "/v1/runs/{id}/hold",             ACCESS_OWN,       "hold",    queue_hold },
	{ "POST",   "/v1/runs/{id}/release",          ACCESS_OWN,       "release", queue_release },
	{ "GET",    "/v1/runs/{id}/logs/{rest}",      ACCESS_READ,      NULL,      logs_read, .queries = log_queries },
	{ "GET",    "/v1/runs/{id}/artifacts",        ACCESS_READ,      NULL,      artifacts_list, .queries = artifact_queries },
	{ "GET",    "/v1/runs/{id}/artifacts/{rest}", ACCESS_READ,      NULL,      artifacts_read },
	{ "PUT",    "/v1/runs/{id}/artifacts/{rest}", ACCESS_OWN,       "put",     artifacts_write, .begin = artifacts_write_begin, .end = artifacts_write_end },
	{ "GET",    "/v1/runs/{id}/snapshot",         ACCESS_READ,      NULL,      snapshots_read },
	{ "GET",    "/v1/experiments",                ACCESS_ANY,       NULL,      node_experiments },
	{ "GET",    "/v1/status",                     ACCESS_ANY,       NULL,      node_status },
	{ "POST",   "/v1/drain",                      ACCESS_ADMIN,     "drain",   queue_drain },
	{ "POST",   "/v1/resume",                     ACCESS_ADMIN,     "resume",  queue_resume },
	{ "GET",    "/v1/openapi.yaml",               ACCESS_ANY,       NULL,      node_openapi },
	{ "GET",    "/metrics",                       ACCESS_ANY,       NULL,      metrics_read },
	{ "GET",    "/healthz",                       ACCESS_EVERYBODY, NULL,      node_health },
};
/* clang-format on */

/* A part in braces takes one segment, {rest} all that is left. Fills in where they begin. */
static bool matches(
	const char *pattern, const char *path, const char **id, size_t *id_size, const char **rest)
{
	*id = *rest = NULL;
	while (*pattern) {
		if (!strcmp(pattern, "{rest}")) {
			*rest = path;
			return *path;
		}
		if (!strncmp(pattern, "{id}", 4)) {
			*id = path;
			*id_size = strcspn(path, "/");
			if (!*id_size)
				return false;
			path += *id_size;
			pattern += 4;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return !*path;
}

static int decode_parts(
	const char *id, size_t id_size, const char *rest, char **ret_id, char **ret_rest)
{
	_cleanup_(freep) char *raw = id ? mem_strndup(id, id_size) : NULL;
	_cleanup_(freep) char *name = NULL;
	int r = 0;

	if (raw)
		r = http_percent_decode(raw, &name);
	if (r >= 0 && rest)
		r = http_percent_decode(rest, ret_rest);
	if (r >= 0)
		*ret_id = TAKE(name);
	return r;
}

const struct route *route_find(
	const char *method, const char *path, char **ret_id, char **ret_rest, int *ret_error)
{
	/* HEAD is GET without the body; the transport leaves that out. */
	const char *wanted = strcmp(method, "HEAD") ? method : "GET";

	*ret_error = 0;
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		const char *id, *rest;
		size_t id_size = 0;

		if (strcmp(routes[i].method, wanted) ||
			!matches(routes[i].path, path, &id, &id_size, &rest))
			continue;
		*ret_error = decode_parts(id, id_size, rest, ret_id, ret_rest);
		return &routes[i];
	}
	return NULL;
}

char *route_methods(const char *path)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		const char *id, *rest;
		size_t id_size = 0;

		if (matches(routes[i].path, path, &id, &id_size, &rest))
			strbuf_addf(&out, "%s%s%s", out.size ? ", " : "", routes[i].method,
				strcmp(routes[i].method, "GET") ? "" : ", HEAD");
	}
	return out.size ? strbuf_steal(&out) : NULL;
}
