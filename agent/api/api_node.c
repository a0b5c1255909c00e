/* SPDX-License-Identifier: MIT */
/* api_node - the daemon itself: status, health, experiments, its own description */
#include <fcntl.h>
#include <string.h>

#include "api/api_internal.h"
#include "common/file.h"
#include "common/mem.h"

#define OPENAPI_MAX (4u << 20)

void node_experiments(struct call *call)
{
	struct history_experiments list = { 0 };
	struct json *array;
	int r = history_experiments_list(call->api->options.history, &call->viewer.sees, &list);

	if (r < 0) {
		api_fail(call, r, NULL, "cannot read the history: %s", strerror(-r));
		return;
	}
	array = json_new_array();
	for (size_t i = 0; i < list.count; i++) {
		struct json *experiment = json_new_object();

		json_set_string(experiment, "name", list.items[i].name);
		json_set_int(experiment, "runs", list.items[i].runs);
		json_set_time(experiment, "last_run_utc", list.items[i].last_created_us);
		json_append(array, experiment);
	}
	history_experiments_release(&list);
	api_reply_json(call, 200, array);
}

void node_status(struct call *call)
{
	api_reply_json(call, 200, status_json(call));
}

void node_health(struct call *call)
{
	struct json *json = json_new_object();

	json_set_string(json, "status", "ok");
	api_reply_json(call, 200, json);
}

void node_openapi(struct call *call)
{
	const char *path = call->api->options.openapi_path;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = path ? file_read(AT_FDCWD, path, OPENAPI_MAX, &text) : -ENOENT;

	if (r < 0) {
		api_fail(call, r, NULL, "the description is not installed: %s", strerror(-r));
		return;
	}
	call->answered = true;
	http_reply(call->request, 200, "application/yaml", text.data, text.size, NULL);
}
