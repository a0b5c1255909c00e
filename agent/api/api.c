/* SPDX-License-Identifier: MIT */
/* api - match, check, dispatch, answer; see api.h */
#include "api/api_internal.h"

#include <string.h>

#include "common/mem.h"

/* What an errno means to a client. The first row that fits. */
static const struct {
	int error;
	unsigned status;
	const char *code;
} meanings[] = {
	{ -EINVAL, 400, "BadRequest" },
	{ -ENOTDIR, 400, "BadRequest" },
	{ -EPERM, 403, "Forbidden" },
	{ -EACCES, 403, "Forbidden" },
	{ -ENOENT, 404, "NotFound" },
	{ -ENOTSUP, 405, "MethodNotAllowed" },
	{ -EBUSY, 409, "Conflict" },
	{ -EALREADY, 409, "Conflict" },
	{ -EEXIST, 409, "Conflict" },
	{ -ENOTUNIQ, 409, "Conflict" },
	{ -EFBIG, 413, "TooLarge" },
	{ -E2BIG, 413, "TooLarge" },
	{ -ERANGE, 416, "RangeNotSatisfiable" },
	{ -EAGAIN, 503, "Unavailable" },
	{ -EMFILE, 503, "Unavailable" },
	{ -ENFILE, 503, "Unavailable" },
	{ -ENOMEM, 503, "Unavailable" },
	{ -ESHUTDOWN, 503, "Unavailable" },
	{ -ENOSPC, 507, "InsufficientStorage" },
	{ -EDQUOT, 507, "InsufficientStorage" },
	{ 0, 500, "InternalError" },
};

static void reply_error(struct call *call, unsigned status, const char *code,
	const struct error *err, char **headers)
{
	struct json *root = json_new_object();
	struct json *error = json_new_object();
	_cleanup_(freep) char *text = NULL;

	json_set_string(error, "code", code);
	json_set_string(error, "message", err->message);
	json_set_string(error, "target", err->target[0] ? err->target : NULL);
	json_set(root, "error", error);
	text = json_print(root);
	json_free(root);
	call->answered = true;
	http_reply(call->request, status, "application/json", text, strlen(text), headers);
}

void api_reply_error(struct call *call, const struct error *err)
{
	size_t i = 0;

	while (meanings[i].error && meanings[i].error != err->code)
		i++;
	reply_error(call, meanings[i].status, meanings[i].code, err, NULL);
}

/* What the disk says of a submit is the request's fault: the run's route exists. */
void api_reply_bad_request(struct call *call, const struct error *err)
{
	static const int faults[] = { -EINVAL, -ENOENT, -ENOTDIR, -EACCES, -EPERM, -EBUSY, -ELOOP,
		-ENAMETOOLONG, -E2BIG };

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		if (err->code == faults[i]) {
			reply_error(call, 400, "BadRequest", err, NULL);
			return;
		}
	api_reply_error(call, err);
}

void api_fail(struct call *call, int r, const char *target, const char *fmt, ...)
{
	struct error err = { .code = r };
	va_list args;

	va_start(args, fmt);
	vsnprintf(err.message, sizeof(err.message), fmt, args);
	va_end(args);
	snprintf(err.target, sizeof(err.target), "%s", target ? target : "");
	api_reply_error(call, &err);
}

void api_reply_json(struct call *call, unsigned status, struct json *value)
{
	_cleanup_(freep) char *text = json_print(value);

	json_free(value);
	call->answered = true;
	http_reply(call->request, status, "application/json", text, strlen(text), NULL);
}

void api_reply_record(struct call *call, unsigned status, const struct run_record *record)
{
	api_reply_json(call, status, record_json(record));
}

void api_reply_empty(struct call *call, unsigned status)
{
	call->answered = true;
	http_reply(call->request, status, NULL, "", 0, NULL);
}

int api_query_int(struct call *call, const char *key, int64_t low, int64_t high, int64_t fallback,
	int64_t *ret)
{
	const char *text = http_request_query(call->request, key);
	char *end;
	long long value;

	if (!text) {
		*ret = fallback;
		return 0;
	}
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < low || value > high) {
		api_fail(call, -EINVAL, key, "%s: must be a whole number between %lld and %lld",
			key, (long long)low, (long long)high);
		return -EINVAL;
	}
	*ret = value;
	return 0;
}

static bool allowed(const struct call *call)
{
	uid_t uid = http_request_uid(call->request);

	return uid == geteuid() || uid == 0;
}

static void no_route(struct call *call, const char *method, const char *path)
{
	_cleanup_(freep) char *methods = route_methods(path);
	_cleanup_(strv_freep) char **headers = NULL;
	struct error err = ERROR_INIT;

	if (!methods) {
		api_fail(call, -ENOENT, NULL, "no route %s %.200s; see docs/api.md", method, path);
		return;
	}
	strv_addf(&headers, "Allow: %s", methods);
	error_set(&err, -ENOTSUP, NULL, "%.200s takes %s, not %s", path, methods, method);
	reply_error(call, 405, "MethodNotAllowed", &err, headers);
}

static bool check_queries(struct call *call)
{
	const struct pairs *given = http_request_queries(call->request);
	const char *const *known = call->route->queries;

	for (size_t i = 0; i < given->count; i++) {
		size_t k = 0;

		while (known && known[k] && strcmp(known[k], given->items[i].key))
			k++;
		if (known && known[k])
			continue;
		api_fail(call, -EINVAL, given->items[i].key, "%.200s: unknown query parameter",
			given->items[i].key);
		return false;
	}
	return true;
}

static bool resolve_run(struct call *call, const char *name)
{
	int r;

	if (!name)
		return true;
	r = run_manager_resolve(call->api->options.runs, name, &call->run_id);
	if (r == -ENOTUNIQ)
		api_fail(call, r, "run_id", "\"%.200s\" is the beginning of more than one run's id",
			name);
	else if (r == -ENOENT)
		api_fail(call, r, "run_id", "no run \"%.200s\"; `amlctl list` shows what there is",
			name);
	else if (r < 0)
		api_fail(call, r, NULL, "cannot read the history: %s", strerror(-r));
	return r >= 0;
}

/* Everything that can be said at the headers is said there: no body is waited for in vain. */
static void on_begin(void *data, struct http_request *request)
{
	struct call *call = NEW(struct call);
	const char *method = http_request_method(request);
	const char *path = http_request_path(request);
	char *id = NULL;
	int r;

	call->api = data;
	call->request = request;
	http_request_set_user_data(request, call);
	if (!allowed(call)) {
		api_fail(call, -EPERM, NULL, "this daemon belongs to another user");
		return;
	}
	call->route = route_find(method, path, &id, &call->rest, &r);
	if (!call->route)
		no_route(call, method, path);
	else if (r < 0)
		api_fail(call, r, NULL, "%.200s: a %%-escape is not right", path);
	else if (check_queries(call) && resolve_run(call, id) && call->route->begin)
		call->route->begin(call);
	free(id);
}

static void on_handle(void *data, struct http_request *request)
{
	struct call *call = http_request_user_data(request);

	(void)data;
	if (!call->answered)
		call->route->handle(call);
}

static void on_end(void *data, struct http_request *request)
{
	struct call *call = http_request_user_data(request);

	(void)data;
	if (!call)
		return;
	if (call->route && call->route->end)
		call->route->end(call);
	free(call->run_id);
	free(call->rest);
	free(call);
}

struct http_handler api_handler(struct api *api)
{
	return (struct http_handler){ on_begin, on_handle, on_end, api };
}

struct api *api_new(const struct api_options *options)
{
	struct api *api = NEW(struct api);

	api->options = *options;
	return api;
}

void api_free(struct api *api)
{
	free(api);
}
