/* SPDX-License-Identifier: MIT */
/* after - the runs that a run is to follow; see after.h */
#include "cli/after.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

static const char *const conditions[] = { "afterok", "afterany" };

/* "afterany:RUN" or "RUN": the condition, and where the RUN begins. */
static int split(
	const char *text, const char **ret_condition, const char **ret_run, struct error *err)
{
	const char *colon = strchr(text, ':');
	size_t size = colon ? (size_t)(colon - text) : 0;

	*ret_condition = conditions[0];
	*ret_run = colon ? colon + 1 : text;
	for (size_t i = 0; colon && i < ARRAY_SIZE(conditions); i++) {
		if (strlen(conditions[i]) != size || strncmp(text, conditions[i], size))
			continue;
		*ret_condition = conditions[i];
		colon = NULL;
	}
	if (colon)
		return error_set(err, -EINVAL, "usage",
			"--after: \"%.*s\" is no condition; write afterok:RUN (RUN completed) or "
			"afterany:RUN (it has ended)",
			(int)size, text);
	if (!**ret_run)
		return error_set(err, -EINVAL, "usage", "--after: which RUN?");
	return 0;
}

static int add_list(struct json *array, const char *text, struct error *err)
{
	_cleanup_(freep) char *copy = mem_strdup(text);
	char *rest = copy;
	char *item;

	while ((item = strsep(&rest, ","))) {
		const char *condition, *run;
		int r = split(item, &condition, &run, err);
		struct json *entry;

		if (r < 0)
			return r;
		entry = json_new_object();
		json_set_string(entry, "run_id", run);
		json_set_string(entry, "condition", condition);
		json_append(array, entry);
	}
	return 0;
}

int after_set(struct json *body, char *const *given, struct error *err)
{
	_cleanup_(json_freep) struct json *array = json_new_array();

	for (size_t i = 0; given && given[i]; i++) {
		int r = add_list(array, given[i], err);

		if (r < 0)
			return r;
	}
	if (json_size(array))
		json_set(body, "after", TAKE(array));
	return 0;
}
