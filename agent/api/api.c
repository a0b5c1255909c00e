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
	{ -EUSERS, 429, "TooManyRequests" },
	{ -EAGAIN, 503, "Unavailable" },
	{ -EMFILE, 503, "Unavailable" },
	{ -ENFILE, 503, "Unavailable" },
	{ -ENOMEM, 503, "Unavailable" },
	{ -ESHUTDOWN, 503, "Unavailable" },
	{ -ETIMEDOUT, 503, "Unavailable" },
	{ -ENOSPC, 507, "InsufficientStorage" },
	{ -EDQUOT, 507, "InsufficientStorage" },
	{ 0, 500, "InternalError" },
};

void api_send_answer(struct call *call)
{
	struct call_answer answer = call->answer;

	/* While the body comes the request is the transport's. */
	if (!answer.status || !call->whole || call->event.result)
		return;
	call->answer = (struct call_answer){ 0 };
	http_reply(call->request, answer.status, answer.type, answer.text, strlen(answer.text),
		answer.headers);
	free(answer.text);
	strv_free(answer.headers);
}

/* What a piece of a body comes to is said at once: handle() is not called after it. */
static bool must_not_wait(const struct call *call)
{
	return call->writer && !call->whole;
}

/* At once, if the audit need not be waited for. Takes text over. */
static void reply(struct call *call, unsigned status, const char *type, char *text, char **headers)
{
	call->answered = true;
	if (call->event.result && !must_not_wait(call)) {
		call->answer = (struct call_answer){ status, type, text, strv_copy(headers) };
		return;
	}
	http_reply(call->request, status, type, text, strlen(text), headers);
	free(text);
}

static void reply_error(struct call *call, unsigned status, const char *code,
	const struct error *err, char **headers)
{
	struct json *root = json_new_object();
	struct json *error = json_new_object();
	char *text;

	json_set_string(error, "code", code);
	json_set_string(error, "message", err->message);
	json_set_string(error, "target", err->target[0] ? err->target : NULL);
	json_set(root, "error", error);
	text = json_print(root);
	json_free(root);
	api_audit_failure(call, err);
	reply(call, status, API_JSON, text, headers);
}

static size_t meaning_of(int error)
{
	size_t i = 0;

	while (meanings[i].error && meanings[i].error != error)
		i++;
	return i;
}

void api_reply_error(struct call *call, const struct error *err)
{
	size_t i = meaning_of(err->code);

	reply_error(call, meanings[i].status, meanings[i].code, err, NULL);
}

/* A priority that he may not ask for, a client that is not there any more. */
static bool is_refusal(const struct error *err)
{
	return err->code == -EPERM &&
	       (!strcmp(err->target, "priority") || !strcmp(err->target, "client"));
}

/* What the disk says of a submit is the request's fault: the run's route exists. Of the user's own
 * folder it may say anything (a file system of his that has gone). */
void api_reply_bad_request(struct call *call, const struct error *err)
{
	static const int faults[] = { -EINVAL, -ENOENT, -ENOTDIR, -EACCES, -EPERM, -EBUSY, -ELOOP,
		-ENAMETOOLONG, -E2BIG };
	bool is_fault =
		!strcmp(err->target, "source_directory") && !meanings[meaning_of(err->code)].error;

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		is_fault |= err->code == faults[i];
	if (is_fault && !is_refusal(err))
		reply_error(call, 400, "BadRequest", err, NULL);
	else
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

void api_fail_ours(struct call *call, int r, const char *fmt, ...)
{
	char what[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	api_fail(call, error_of_ours(r), NULL, "%s: %s", what, error_words(r));
}

void api_reply_json(struct call *call, unsigned status, struct json *value)
{
	char *text = json_print(value);

	json_free(value);
	api_reply_text(call, status, text);
}

void api_reply_text(struct call *call, unsigned status, char *text)
{
	reply(call, status, API_JSON, text, NULL);
}

void api_reply_record(struct call *call, unsigned status, const struct run_record *record)
{
	api_reply_json(call, status, record_json(call->api, &call->viewer, record));
}

void api_reply_empty(struct call *call, unsigned status)
{
	reply(call, status, NULL, mem_strdup(""), NULL);
}

int api_read_body(struct call *call, bool may_be_empty, struct json **ret)
{
	struct error err = ERROR_INIT;
	size_t size;
	const char *body = http_request_body(call->request, &size);
	int r;

	if (!size && may_be_empty) {
		*ret = json_new_object();
		return 0;
	}
	r = json_parse(body ? body : "", size, ret, &err);
	if (r < 0)
		api_reply_error(call, &err);
	return r;
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
	access_look(call);
	call->route = route_find(method, path, &id, &call->rest, &r);
	if (!access_is_served(call))
		;
	else if (!call->route)
		no_route(call, method, path);
	else if (r < 0)
		api_fail(call, r, NULL, "%.200s: a %%-escape is not right", path);
	else if (check_queries(call) && access_is_given(call, id) && call->route->begin)
		call->route->begin(call);
	free(id);
}

static void on_handle(void *data, struct http_request *request)
{
	struct call *call = http_request_user_data(request);

	(void)data;
	call->whole = true;
	if (call->answered)
		api_send_answer(call);
	else
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
	api_audit_end(call);
	api_names_await_end(call);
	free(call->answer.text);
	strv_free(call->answer.headers);
	free(call->run_id);
	free(call->reason);
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
	api->names = api_names_new(options->loop);
	TAILQ_INIT(&api->looks);
	api_set_access(api, &options->access);
	return api;
}

void api_set_access(struct api *api, const struct api_access *access)
{
	struct api_access *mine = &api->options.access;

	mem_replace(&api->admin_group, access->admin_group ? access->admin_group : "");
	mem_replace(&api->users_group, access->users_group ? access->users_group : "");
	*mine = *access;
	mine->admin_group = api->admin_group;
	mine->users_group = api->users_group;
}

void api_free(struct api *api)
{
	if (!api)
		return;
	api_names_free(api->names);
	free(api->admin_group);
	free(api->users_group);
	free(api);
}
