/* SPDX-License-Identifier: MIT */
/* holdings - who holds what of the machine, and who waits; see holdings.h */
#include "cli/holdings.h"

#include <stdio.h>
#include <string.h>

#include "cli/record.h"
#include "cli/resources.h"
#include "cli/table.h"
#include "cli/waiting.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/run_state.h"

#define ROWS_MAX 20 /* of runs; `amlctl list` has them all */

static void add_number(struct table *table, const struct json *object, const char *key)
{
	table_addf(table, "%lld", (long long)json_int(json_get(object, key)));
}

static void add_size(struct table *table, int64_t bytes)
{
	_cleanup_(freep) char *text = bytes > 0 ? size_text(bytes) : NULL;

	table_add(table, text);
}

static void add_text(struct table *table, const struct json *object, const char *key)
{
	table_add(table, json_string(json_get(object, key)));
}

char *holdings_share(const struct json *share, bool bytes)
{
	int64_t used = json_int(json_get(share, "used"));
	int64_t total = json_int(json_get(share, "total"));
	_cleanup_(freep) char *used_size = size_text(used);
	_cleanup_(freep) char *total_size = size_text(total);

	if (!json_is_object(share) || total <= 0)
		return NULL;
	if (bytes)
		return mem_printf("%s of %s in use", used_size, total_size);
	return mem_printf("%lld of %lld in use", (long long)used, (long long)total);
}

static bool gpu_is(const struct json *gpu, const char *state)
{
	const char *text = json_string(json_get(gpu, "state"));

	return text && !strcmp(text, state);
}

char *holdings_gpus(const struct json *gpus)
{
	_cleanup_(freep) char *text = NULL;
	long long held = 0;
	long long aside = 0;

	for (const struct json *gpu = json_first(gpus); gpu; gpu = json_next(gpu)) {
		held += gpu_is(gpu, "held");
		aside += gpu_is(gpu, "aside");
	}
	if (!json_size(gpus))
		return NULL;
	text = mem_printf("%lld of %zu in use", held, json_size(gpus));
	return aside ? mem_printf("%s, %lld set aside", text, aside) : TAKE(text);
}

void holdings_print_users(const struct json *status)
{
	static const struct table_column columns[] = {
		{ "USER", TABLE_LEFT, true },
		{ "RUNNING", TABLE_RIGHT, false },
		{ "QUEUED", TABLE_RIGHT, false },
		{ "CPUS", TABLE_RIGHT, false },
		{ "MEMORY", TABLE_RIGHT, false },
		{ "GPUS", TABLE_RIGHT, false },
	};
	const struct json *users = json_get(status, "users");
	_cleanup_(table_release) struct table table = { 0 };

	if (!json_size(users))
		return;
	table_init(&table, columns, ARRAY_SIZE(columns));
	for (const struct json *user = json_first(users); user; user = json_next(user)) {
		add_text(&table, user, "user");
		add_number(&table, user, "running");
		add_number(&table, user, "queued");
		add_number(&table, user, "cpus");
		add_size(&table, json_int(json_get(user, "memory_bytes")));
		table_addf(&table, "%lld", (long long)resources_gpus(user));
	}
	putchar('\n');
	table_print(&table);
}

static const char *gpu_colour(const struct json *gpu)
{
	if (gpu_is(gpu, "free"))
		return "\033[32m";
	return gpu_is(gpu, "aside") ? "\033[33m" : "\033[36m";
}

void holdings_print_gpus(const struct json *status)
{
	static const struct table_column columns[] = {
		{ "GPU", TABLE_LEFT, true },
		{ "MODEL", TABLE_LEFT, true },
		{ "STATE", TABLE_LEFT, false },
		{ "USER", TABLE_LEFT, true },
		{ "RUN", TABLE_LEFT, false },
		{ "WHY", TABLE_LEFT, true },
	};
	const struct json *gpus = json_get(status, "gpus");
	_cleanup_(table_release) struct table table = { 0 };

	if (!json_size(gpus))
		return;
	table_init(&table, columns, ARRAY_SIZE(columns));
	for (const struct json *gpu = json_first(gpus); gpu; gpu = json_next(gpu)) {
		const char *state = json_string(json_get(gpu, "state"));

		add_text(&table, gpu, "id");
		add_text(&table, gpu, "name");
		table_add_coloured(
			&table, gpu_is(gpu, "aside") ? "set aside" : state, gpu_colour(gpu));
		add_text(&table, gpu, "user");
		add_text(&table, gpu, "run_id");
		add_text(&table, gpu, "reason");
	}
	putchar('\n');
	table_print(&table);
}

static bool is_queued(const struct json *run)
{
	return !strcmp(record_status(run), run_state_name(RUN_QUEUED));
}

static void print_more(size_t more, const char *what)
{
	if (more)
		printf("... and %zu more%s\n", more, what);
}

static void add_running(struct table *table, const struct json *run)
{
	const struct json *granted = json_get(run, "resources_granted");
	int64_t us = record_duration(run);
	_cleanup_(freep) char *duration = us < 0 ? NULL : time_duration(us);

	table_add(table, record_id(run));
	add_text(table, run, "submitted_by");
	table_add_coloured(table, record_status(run), status_colour(record_status(run)));
	table_add(table, duration);
	add_number(table, granted, "cpus");
	add_size(table, json_int(json_get(granted, "memory_bytes")));
	table_addf(table, "%lld", (long long)resources_gpus(granted));
}

void holdings_print_running(const struct json *runs)
{
	static const struct table_column columns[] = {
		{ "RUN", TABLE_LEFT, false },
		{ "USER", TABLE_LEFT, true },
		{ "STATUS", TABLE_LEFT, false },
		{ "FOR", TABLE_LEFT, false },
		{ "CPUS", TABLE_RIGHT, false },
		{ "MEMORY", TABLE_RIGHT, false },
		{ "GPUS", TABLE_RIGHT, false },
	};
	_cleanup_(table_release) struct table table = { 0 };
	size_t count = 0;

	table_init(&table, columns, ARRAY_SIZE(columns));
	for (const struct json *run = json_first(runs); run; run = json_next(run)) {
		if (!json_is_object(json_get(run, "resources_granted")))
			continue;
		if (count++ < ROWS_MAX)
			add_running(&table, run);
	}
	if (!count)
		return;
	putchar('\n');
	table_print(&table);
	print_more(count > ROWS_MAX ? count - ROWS_MAX : 0, "");
}

struct queued {
	const struct json *run;
	int64_t position; /* INT64_MAX: not known */
};

/* The queue in its order, `runs` being newest first: what has no place comes last, oldest first. */
static size_t sort_queue(const struct json *runs, struct queued *queue)
{
	size_t count = 0;

	for (const struct json *run = json_first(runs); run; run = json_next(run)) {
		int64_t position = json_int(json_get(run, "queue_position"));
		size_t at = 0;

		if (!is_queued(run))
			continue;
		if (position <= 0)
			position = INT64_MAX;
		while (at < count && queue[at].position < position)
			at++;
		memmove(queue + at + 1, queue + at, (count - at) * sizeof(*queue));
		queue[at] = (struct queued){ run, position };
		count++;
	}
	return count;
}

static void add_queued(struct table *table, const struct queued *queued)
{
	const struct json *run = queued->run;
	_cleanup_(freep) char *asked =
		resources_text(json_get(json_get(run, "run_definition"), "resources"));
	const char *why = json_string(json_get(run, "waiting_for"));

	if (queued->position == INT64_MAX)
		table_add(table, NULL);
	else
		table_addf(table, "%lld", (long long)queued->position);
	table_add(table, record_id(run));
	add_text(table, run, "submitted_by");
	table_add(table, asked);
	table_add(table, why);
}

void holdings_print_queue(const struct json *runs, const struct json *status)
{
	static const struct table_column columns[] = {
		{ "QUEUE", TABLE_RIGHT, false },
		{ "RUN", TABLE_LEFT, false },
		{ "USER", TABLE_LEFT, true },
		{ "ASKS FOR", TABLE_LEFT, true },
		{ "WAITS FOR", TABLE_LEFT, true },
	};
	_cleanup_(freep) struct queued *queue = mem_alloc((json_size(runs) + 1) * sizeof(*queue));
	_cleanup_(table_release) struct table table = { 0 };
	size_t count = sort_queue(runs, queue);
	int64_t all = json_int(json_get(status, "queued"));

	if (!count)
		return;
	table_init(&table, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < count && i < ROWS_MAX; i++)
		add_queued(&table, &queue[i]);
	putchar('\n');
	table_print(&table);
	print_more(count > ROWS_MAX ? count - ROWS_MAX : 0, "; `amlctl list -a --status Queued`");
	if (all > (int64_t)count)
		printf("and %lld that you may not see\n", (long long)(all - (int64_t)count));
}
