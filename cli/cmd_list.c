/* SPDX-License-Identifier: MIT */
/* cmd_list - amlctl list: runs, newest first */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/record.h"
#include "cli/table.h"
#include "cli/waiting.h"
#include "common/clock.h"
#include "common/mem.h"

#define COUNT_DEFAULT 20
#define PAGE_MAX 1000 /* the most that the API gives at once */

struct list_options {
	const char *experiment;
	const char *status;
	const char *tag;
	const char *user;
	bool all_users;
	int64_t count;
	bool json;
};

#define FIELD(name) offsetof(struct list_options, name)

static const struct option_spec options_table[] = {
	{ 'e', "experiment", "NAME", "only runs of this experiment", option_text,
		FIELD(experiment) },
	{ 0, "status", "STATUS", "only runs in this state, or in these (with commas)", option_text,
		FIELD(status) },
	{ 0, "tag", "KEY[=VALUE]", "only runs with this tag", option_text, FIELD(tag) },
	{ 'a', "all-users", NULL, "the runs of all users, as far as you may see them", option_flag,
		FIELD(all_users) },
	{ 0, "user", "NAME", "only runs of this user", option_text, FIELD(user) },
	{ 'n', "count", "N", "how many at most (default: 20)", option_count, FIELD(count) },
	OPTION_OUTPUT(struct list_options, json),
};

static void add_query(struct strbuf *target, const char *key, const char *value)
{
	_cleanup_(freep) char *encoded = value ? http_encode(value, false) : NULL;

	if (encoded)
		strbuf_addf(target, "&%s=%s", key, encoded);
}

static int get_page(struct cli *cli, const struct list_options *options, int64_t limit,
	const char *before, struct json **ret)
{
	_cleanup_(strbuf_release) struct strbuf target = STRBUF_INIT;

	strbuf_addf(&target, "/v1/runs?limit=%lld", (long long)limit);
	add_query(&target, "experiment_name", options->experiment);
	add_query(&target, "status", options->status);
	add_query(&target, "tag", options->tag);
	add_query(&target, "user", options->user);
	add_query(&target, "before", before);
	return client_get(&cli->client, target.data, ret, &cli->err);
}

/* All pages as one array. */
static int get_runs(struct cli *cli, const struct list_options *options, struct json **ret)
{
	int64_t left = options->count ? options->count : COUNT_DEFAULT;
	_cleanup_(json_freep) struct json *runs = json_new_array();
	_cleanup_(freep) char *before = NULL;

	while (left > 0) {
		_cleanup_(json_freep) struct json *page = NULL;
		int64_t limit = left < PAGE_MAX ? left : PAGE_MAX;
		int64_t count = 0;
		int r = get_page(cli, options, limit, before, &page);

		if (r < 0)
			return r;
		for (const struct json *run = json_first(page); run;
			run = json_next(run), count++) {
			json_append(runs, json_copy(run));
			mem_replace(&before, record_id(run));
		}
		if (count < limit)
			break;
		left -= count;
	}
	*ret = TAKE(runs);
	return 0;
}

/* The display name, or what went wrong: the one of them that says more. */
static char *note(const struct json *run)
{
	_cleanup_(freep) char *name = text_first_line(json_string(json_get(run, "display_name")));
	const char *code = record_error_code(run);
	_cleanup_(freep) char *gist = record_gist(run);

	if (!code)
		return TAKE(name);
	if (!name[0])
		return mem_printf("%s: %s", code, gist);
	return mem_printf("%s (%s: %s)", name, code, gist);
}

/* The columns that are only there when they say something. */
struct shape {
	bool user;
	bool waiting;
};

static struct shape shape_of(const struct json *runs, const struct list_options *options)
{
	struct shape shape = { .user = options->all_users };
	const char *first = json_string(json_get(json_first(runs), "submitted_by"));

	for (const struct json *run = json_first(runs); run; run = json_next(run)) {
		_cleanup_(freep) char *waits = waiting_column(run);
		const char *user = json_string(json_get(run, "submitted_by"));

		shape.waiting |= waits != NULL;
		shape.user |= user && first && strcmp(user, first);
	}
	return shape;
}

static void add_run(
	struct table *table, const struct json *run, const struct shape *shape, int64_t now)
{
	_cleanup_(freep) char *waits = waiting_column(run);
	_cleanup_(freep) char *created = time_relative(now, record_time(run, "created_utc"));
	int64_t us = record_duration(run);
	_cleanup_(freep) char *duration = us < 0 ? NULL : time_duration(us);
	_cleanup_(freep) char *text = note(run);

	table_add(table, record_id(run));
	table_add(table, json_string(json_get(run, "experiment_name")));
	if (shape->user)
		table_add(table, json_string(json_get(run, "submitted_by")));
	table_add_coloured(table, record_status(run), status_colour(record_status(run)));
	table_add(table, created);
	table_add(table, duration);
	if (shape->waiting)
		table_add(table, waits ? waits : "");
	table_add(table, text);
}

static void print_runs(const struct json *runs, const struct list_options *options)
{
	static const struct table_column all[] = {
		{ "RUN", TABLE_LEFT, false },
		{ "EXPERIMENT", TABLE_LEFT, true },
		{ "USER", TABLE_LEFT, true },
		{ "STATUS", TABLE_LEFT, false },
		{ "CREATED", TABLE_LEFT, false },
		{ "DURATION", TABLE_LEFT, false },
		{ "WAITS FOR", TABLE_LEFT, true },
		{ "NAME / ERROR", TABLE_LEFT, true },
	};
	const struct shape shape = shape_of(runs, options);
	const bool shown[] = { true, true, shape.user, true, true, true, shape.waiting, true };
	struct table_column columns[ARRAY_SIZE(all)];
	_cleanup_(table_release) struct table table;
	int64_t now = clock_utc();
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (shown[i])
			columns[count++] = all[i];
	table_init(&table, columns, count);
	for (const struct json *run = json_first(runs); run; run = json_next(run))
		add_run(&table, run, &shape, now);
	table_print(&table);
}

/* Whose runs: those of the user who asks, where the daemon has others' too. Root and a daemon of
 * one user give all: root has hardly runs of his own, and asks for the machine's. By number, which
 * is there without asking the name service. */
static int choose_user(struct cli *cli, struct list_options *options, char **ret_uid)
{
	int r;

	if (options->user && options->all_users)
		return usage_error(cli, "--user and --all-users exclude each other");
	if (options->user || options->all_users)
		return 0;
	r = client_connect(&cli->client, &cli->err);
	if (r < 0 || !endpoint_is_shared(&cli->endpoint))
		return r;
	*ret_uid = mem_printf("%u", (unsigned)geteuid());
	options->user = *ret_uid;
	return 0;
}

static bool is_narrowed(const struct list_options *options)
{
	return options->experiment || options->status || options->tag;
}

static int run(struct cli *cli, void *data, char **operands)
{
	struct list_options *options = data;
	_cleanup_(json_freep) struct json *runs = NULL;
	_cleanup_(freep) char *uid = NULL;
	int r = choose_user(cli, options, &uid);

	(void)operands;
	if (r >= 0)
		r = get_runs(cli, options, &runs);
	if (r < 0)
		return r;
	if (options->json)
		print_json(runs);
	else if (json_first(runs))
		print_runs(runs, options);
	else
		say("no runs%s%s",
			is_narrowed(options) || (options->user && !uid) ? " match" : " yet",
			uid ? " (of yours; --all-users shows others' too)" : "");
	return finish_output();
}

const struct command cmd_list = {
	.name = "list",
	.synopsis = "",
	.summary = "List runs, newest first",
	.details =
		"STATUS is one of NotStarted, Queued, Preparing, Starting, Running, Finalizing,\n"
		"CancelRequested, Completed, Failed, Canceled.\n"
		"\n"
		"With the system service: your own runs; as root, all. Of others you see what they\n"
		"share, and as an admin everything.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct list_options),
	.operands_max = 0,
	.run = run,
};
