/* SPDX-License-Identifier: MIT */
/* api_runs - submit, list, show, change, cancel, delete */
#include <string.h>

#include "api/api_internal.h"
#include "api/list_reply.h"
#include "common/mem.h"

#define LIST_DEFAULT 100
#define LIST_MAX 1000
#define WAIT_MAX_SECONDS 3600

static void submitted(void *data, const struct run_record *record, const struct error *err)
{
	struct call *call = data;

	api_audit_result(call, record, err);
	if (record)
		api_reply_record(call, 201, record);
	else
		api_reply_bad_request(call, err);
}

/* The runs that it is to follow, by their whole ids: those that the submitter sees. */
static int resolve_after(struct call *call, struct run_request *request, struct error *err)
{
	for (size_t i = 0; i < request->after_count; i++) {
		char **name = &request->after[i].run_id;
		char target[64];
		char *run_id = NULL;
		int r = run_manager_resolve(
			call->api->options.runs, &call->viewer.sees, *name, &run_id);

		snprintf(target, sizeof(target), "after[%zu].run_id", i);
		if (r == -ENOENT || r == -ENOTUNIQ) {
			access_no_run(r, target, *name, err);
			return err->code = -EINVAL;
		}
		if (r < 0)
			return access_no_run(r, target, *name, err);
		free(*name);
		*name = run_id;
	}
	return 0;
}

void runs_submit(struct call *call)
{
	const struct viewer *viewer = &call->viewer;
	const struct submitter by = {
		.uid = viewer->sees.uid,
		.groups = viewer->sees.groups,
		.group_count = viewer->sees.group_count,
		.pid = viewer->pid,
		.admin = viewer->sees.all,
	};
	_cleanup_(json_freep) struct json *body = NULL;
	struct run_request request = { 0 };
	struct error err = ERROR_INIT;
	int r;

	if (api_read_body(call, false, &body) < 0)
		return;
	r = run_request_parse(body, &request, &err);
	if (r >= 0)
		r = resolve_after(call, &request, &err);
	if (r < 0) {
		run_request_release(&request);
		submitted(call, NULL, &err);
		return;
	}
	run_manager_submit(call->api->options.runs, &request, &by, submitted, call);
}

static int parse_states(const char *text, char ***ret, struct error *err)
{
	_cleanup_(freep) char *copy = mem_strdup(text);
	char *rest = copy;

	for (char *name; (name = strsep(&rest, ","));) {
		enum run_state state;

		if (run_state_parse(name, &state) < 0)
			return error_set(err, -EINVAL, "status",
				"status: \"%.100s\" is no state; one of NotStarted, Queued, Preparing, "
				"Starting, Running, Finalizing, CancelRequested, Completed, Failed, Canceled",
				name);
		if (!strv_contains(*ret, name))
			strv_add(ret, name);
	}
	return 0;
}

/* The runs were chosen at the begin; each is shown as it is when its turn comes. */
struct runs_page {
	struct call *call;
	char **run_ids;
	size_t at;
};

/* One that was deleted meanwhile, or is not shared any more, is left out. */
static int next_run(void *list, struct json **ret)
{
	struct runs_page *page = list;
	struct call *call = page->call;

	while (page->run_ids && page->run_ids[page->at]) {
		_cleanup_(run_record_release) struct run_record record = { 0 };
		int r = run_manager_get(
			call->api->options.runs, page->run_ids[page->at++], &record);

		if (r == -ENOENT || (r >= 0 && !history_viewer_sees(&call->viewer.sees, &record)))
			continue;
		if (r < 0)
			return r;
		*ret = record_json(call->api, &call->viewer, &record);
		return 1;
	}
	return 0;
}

static void close_runs(void *list)
{
	struct runs_page *page = list;

	strv_free(page->run_ids);
	free(page);
}

static void reply_list(struct call *call, const struct history_query *query)
{
	static const struct list_source source = { next_run, close_runs };
	struct runs_page *page;
	char **run_ids = NULL;
	int r = history_list(call->api->options.history, query, &run_ids);

	if (r == -ENOENT) {
		api_fail(call, -EINVAL, "before", "before: no run \"%.200s\"", query->before);
		return;
	}
	if (r < 0) {
		api_fail_ours(call, r, "cannot read the history");
		return;
	}
	page = NEW(struct runs_page);
	page->call = call;
	page->run_ids = run_ids;
	list_reply(call, &source, page);
}

void runs_list(struct call *call)
{
	const char *states = http_request_query(call->request, "status");
	const char *tag = http_request_query(call->request, "tag");
	const char *equals = tag ? strchr(tag, '=') : NULL;
	_cleanup_(strv_freep) char **names = NULL;
	_cleanup_(freep) char *key =
		tag ? mem_strndup(tag, equals ? (size_t)(equals - tag) : strlen(tag)) : NULL;
	struct history_query query = {
		.viewer = &call->viewer.sees,
		.user = http_request_query(call->request, "user"),
		.experiment_name = http_request_query(call->request, "experiment_name"),
		.tag_key = key,
		.tag_value = equals ? equals + 1 : NULL,
		.before = http_request_query(call->request, "before"),
	};
	struct error err = ERROR_INIT;

	if (api_query_int(call, "limit", 1, LIST_MAX, LIST_DEFAULT, &query.limit) < 0)
		return;
	if (states && parse_states(states, &names, &err) < 0) {
		api_reply_error(call, &err);
		return;
	}
	query.states = names;
	reply_list(call, &query);
}

/* ---- show, with ?wait= ---- */

/* While it was waited for the run may have been deleted, or is not shared any more. */
static void show_now(struct call *call)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	int r = run_manager_get(call->api->options.runs, call->run_id, &record);

	if (r >= 0 && !history_viewer_sees(&call->viewer.sees, &record))
		r = -ENOENT;
	if (r >= 0) {
		api_reply_record(call, 200, &record);
		return;
	}
	access_reply_no_run(call, r);
}

static void timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void stop_waiting(struct call *call)
{
	run_waiter_stop(&call->waiter);
	if (call->timer)
		uv_close((uv_handle_t *)call->timer, timer_closed);
	call->timer = NULL;
}

static void waited(struct call *call)
{
	stop_waiting(call);
	show_now(call);
}

static void run_changed(struct run_waiter *waiter, bool over)
{
	if (over)
		waited(container_of(waiter, struct call, waiter));
}

static void time_is_up(uv_timer_t *timer)
{
	waited(timer->data);
}

static void client_left(struct http_request *request)
{
	waited(http_request_user_data(request));
}

void runs_show(struct call *call)
{
	int64_t seconds;

	if (api_query_int(call, "wait", 0, WAIT_MAX_SECONDS, 0, &seconds) < 0)
		return;
	if (!seconds || run_waiter_start(call->api->options.runs, call->run_id, &call->waiter,
				run_changed) < 0) {
		show_now(call);
		return;
	}
	call->timer = NEW(uv_timer_t);
	uv_timer_init(call->api->options.loop, call->timer);
	call->timer->data = call;
	uv_timer_start(call->timer, time_is_up, (uint64_t)seconds * 1000, 0);
	http_request_on_closed(call->request, client_left);
}

void runs_show_end(struct call *call)
{
	stop_waiting(call);
}

/* ---- change ---- */

struct patch {
	struct pairs tags;
	char *display_name;
	bool shared, has_shared;
};

static int read_tags(const struct json *value, const char *path, void *to, struct error *err)
{
	int r = run_request_check_tags(value, path, err);

	if (r < 0)
		return r;
	for (const struct json *m = json_first(value); m; m = json_next(m)) {
		if (!json_is_string(m) && !json_is_null(m))
			return json_type_error(
				m, path, "an object of strings (null removes one)", err);
		if (!json_key(m)[0])
			return error_set(err, -EINVAL, path, "%s: a key is empty", path);
		pairs_set(to, json_key(m), json_string(m));
	}
	return 0;
}

static int read_display_name(
	const struct json *value, const char *path, void *to, struct error *err)
{
	if (json_is_null(value)) {
		mem_replace(to, "");
		return 0;
	}
	if (json_is_string(value) && strlen(json_string(value)) > RUN_NAME_MAX)
		return error_set(
			err, -EINVAL, path, "%s: longer than %d bytes", path, RUN_NAME_MAX);
	return json_read_string(value, path, to, err);
}

static int read_shared(const struct json *value, const char *path, void *to, struct error *err)
{
	struct patch *patch = to;

	patch->has_shared = true;
	return json_read_bool(value, path, &patch->shared, err);
}

static const struct json_field patch_fields[] = {
	{ "tags", read_tags, offsetof(struct patch, tags), JSON_SEES_NULL },
	{ "display_name", read_display_name, offsetof(struct patch, display_name), JSON_SEES_NULL },
	{ "shared", read_shared, 0, 0 },
};

/* The call's result is a record, or why there is none. */
static void reply_with(struct call *call, unsigned status, const struct run_record *record,
	const struct error *err)
{
	api_audit_result(call, record, err);
	if (record)
		api_reply_record(call, status, record);
	else
		api_reply_error(call, err);
}

static void changed(void *data, const struct run_record *record, const struct error *err)
{
	reply_with(data, 200, record, err);
}

void runs_patch(struct call *call)
{
	_cleanup_(json_freep) struct json *body = NULL;
	struct patch patch = { 0 };
	struct error err = ERROR_INIT;
	int r;

	if (api_read_body(call, false, &body) < 0)
		return;
	r = json_read(body, patch_fields, ARRAY_SIZE(patch_fields), &patch, NULL, &err);
	if (patch.has_shared)
		call->action = patch.shared ? "share" : "unshare";
	if (r < 0)
		reply_with(call, 0, NULL, &err);
	else
		run_manager_patch(call->api->options.runs, call->run_id, &patch.tags,
			patch.display_name, patch.has_shared ? &patch.shared : NULL, changed, call);
	pairs_release(&patch.tags);
	free(patch.display_name);
}

static void deleted(void *data, const struct run_record *record, const struct error *err)
{
	struct call *call = data;

	api_audit_result(call, record, err);
	if (err->code)
		api_reply_error(call, err);
	else
		api_reply_empty(call, 204);
}

void runs_delete(struct call *call)
{
	run_manager_delete(call->api->options.runs, call->run_id, deleted, call);
}

static void canceled(void *data, const struct run_record *record, const struct error *err)
{
	reply_with(data, 202, record, err);
}

void runs_cancel(struct call *call)
{
	if (api_names_await(call, runs_cancel))
		run_manager_cancel(call->api->options.runs, call->run_id, call->viewer.sees.uid,
			canceled, call);
}
