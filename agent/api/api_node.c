/* SPDX-License-Identifier: MIT */
/* api_node - the daemon itself: status, health, experiments, its own description */
#include <fcntl.h>
#include <string.h>

#include "api/api_internal.h"
#include "api/list_reply.h"
#include "common/file.h"
#include "common/mem.h"

#define OPENAPI_MAX (4u << 20)

/* Each page costs a look at all that comes after it. */
#define EXPERIMENTS_PAGE 1000

struct experiments {
	struct call *call;
	struct history_experiments page;
	size_t at;
};

static int next_experiments(struct experiments *experiments)
{
	const struct call *call = experiments->call;
	struct history_experiments *page = &experiments->page;
	struct history_experiments next = { 0 };
	struct history_page after = { .limit = EXPERIMENTS_PAGE };
	int r;

	if (page->count)
		after.after = page->items[page->count - 1].name;
	r = history_experiments_list(call->api->options.history, &call->viewer.sees, &after, &next);
	if (r < 0)
		return r;
	history_experiments_release(page);
	*page = next;
	experiments->at = 0;
	return 0;
}

static int next_experiment(void *list, struct json **ret)
{
	struct experiments *experiments = list;
	const struct history_experiment *item;
	bool is_full = experiments->page.count % EXPERIMENTS_PAGE == 0;
	int r = 0;

	if (experiments->at == experiments->page.count && is_full)
		r = next_experiments(experiments);
	if (r < 0 || experiments->at == experiments->page.count)
		return r;
	item = &experiments->page.items[experiments->at++];
	*ret = json_new_object();
	json_set_string(*ret, "name", item->name);
	json_set_int(*ret, "runs", item->runs);
	json_set_time(*ret, "last_run_utc", item->last_created_us);
	return 1;
}

static void close_experiments(void *list)
{
	struct experiments *experiments = list;

	history_experiments_release(&experiments->page);
	free(experiments);
}

void node_experiments(struct call *call)
{
	static const struct list_source source = { next_experiment, close_experiments };
	struct experiments *experiments = NEW(struct experiments);

	experiments->call = call;
	list_reply(call, &source, experiments);
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
