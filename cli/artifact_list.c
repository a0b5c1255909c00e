/* SPDX-License-Identifier: MIT */
/* artifact_list - the artifacts of a run as the daemon lists them; see artifact_list.h */
#include "cli/artifact_list.h"

#include <string.h>

#include "cli/record.h"
#include "common/clock.h"
#include "common/mem.h"

void artifact_list_release(struct artifact_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].name);
	free(list->items);
	json_free(list->json);
	*list = (struct artifact_list){ 0 };
}

/* "/v1/runs/{id}/artifacts/a%20b" -> "a b" */
static char *name_of(const char *href)
{
	static const char before[] = "/artifacts/";
	const char *at = strstr(href, before);

	return at ? http_decode(at + strlen(before)) : NULL;
}

static int add(struct artifact_list *list, const struct json *value, struct error *err)
{
	const char *href = json_string(json_get(value, "href"));
	const char *modified = json_string(json_get(value, "modified_utc"));
	struct listed_artifact item = {
		.name = href ? name_of(href) : NULL,
		.href = href,
		.digest = json_string(json_get(value, "digest")),
		.size = json_int(json_get(value, "size")),
	};

	if (!item.name || href[0] != '/' || strpbrk(href, " \r\n")) {
		free(item.name);
		return error_set(
			err, -EBADMSG, "href", "the daemon's list has an artifact without a name");
	}
	if (modified && clock_parse(modified, &item.modified_us) < 0)
		item.modified_us = 0;
	GROW(list->items, list->count, list->room);
	list->items[list->count++] = item;
	return 0;
}

int artifact_list_get(
	struct client *client, const char *run, struct artifact_list *ret, struct error *err)
{
	_cleanup_(freep) char *target = run_target(run, "/artifacts");
	_cleanup_(artifact_list_release) struct artifact_list list = { 0 };
	int r = client_get(client, target, &list.json, err);

	for (const struct json *v = json_first(list.json); r >= 0 && v; v = json_next(v))
		r = add(&list, v, err);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct artifact_list){ 0 };
	return 0;
}
