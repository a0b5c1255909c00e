/* SPDX-License-Identifier: MIT */
/* cmd_files - amlctl files: what a run left */
#include <stdio.h>

#include "cli/artifact_list.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/quantity.h"

struct files_options {
	bool json;
};

static const struct option_spec options_table[] = {
	OPTION_OUTPUT(struct files_options, json),
};

static void print_files(const struct artifact_list *list)
{
	static const struct table_column columns[] = {
		{ "SIZE", TABLE_RIGHT, false },
		{ "MODIFIED", TABLE_LEFT, false },
		{ "PATH", TABLE_LEFT, false },
	};
	_cleanup_(table_release) struct table table;
	int64_t now = clock_utc();

	table_init(&table, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < list->count; i++) {
		_cleanup_(freep) char *size = size_text(list->items[i].size);
		_cleanup_(freep) char *modified = time_relative(now, list->items[i].modified_us);

		table_add(&table, size);
		table_add(&table, modified);
		table_add(&table, list->items[i].name);
	}
	table_print(&table);
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct files_options *options = data;
	_cleanup_(artifact_list_release) struct artifact_list list = { 0 };
	int r = artifact_list_get(&cli->client, operands[0], &list, &cli->err);

	if (r < 0)
		return r;
	if (options->json)
		print_json(list.json);
	else if (list.count)
		print_files(&list);
	else
		say("run %s has left no files so far", operands[0]);
	return finish_output();
}

const struct command cmd_files = {
	.name = "files",
	.synopsis = "RUN",
	.summary = "List what a run left in outputs/, logs/ and user_logs/",
	.details =
		"Characters of a name that cannot be shown are written as `ls -b` writes them: \\n,\n"
		"\\033. While a run goes on, what is in logs/ and user_logs/ is listed.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct files_options),
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
