/* SPDX-License-Identifier: MIT */
/* cmd_delete - amlctl delete: remove runs from history */
#include <stdio.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/record.h"
#include "common/mem.h"

struct delete_options {
	bool json;
};

static const struct option_spec options_table[] = {
	{ 'o', "output", "json|table", "json: the ids of what was deleted, as an array",
		option_json, offsetof(struct delete_options, json) },
};

static int delete_one(struct cli *cli, const char *id, struct json *deleted, bool json)
{
	_cleanup_(freep) char *target = run_target(id, "%s", "");
	int r = client_call(&cli->client, "DELETE", target, NULL, NULL, &cli->err);

	/* It was there when the names were resolved: somebody else was quicker. */
	if (client_found_none(&cli->client, r)) {
		cli->err = (struct error)ERROR_INIT;
		say("run %s has been deleted already", id);
		return 0;
	}
	if (r < 0)
		return r;
	json_append(deleted, json_new_string(id));
	if (!json)
		puts(id);
	return 0;
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct delete_options *options = data;
	_cleanup_(json_freep) struct json *deleted = json_new_array();
	_cleanup_(strv_freep) char **ids = NULL;
	int r = record_resolve_all(&cli->client, operands, &ids, &cli->err);

	for (size_t i = 0; ids && ids[i] && r >= 0; i++)
		r = delete_one(cli, ids[i], deleted, options->json);
	if (options->json)
		print_json(deleted);
	return finish_output() ? EXIT_TROUBLE : r;
}

const struct command cmd_delete = {
	.name = "delete",
	.synopsis = "RUN...",
	.summary = "Remove runs from history, with their artifacts",
	.details =
		"Asks nothing. Prints the ids of what it deleted. A run that has not ended is an\n"
		"error: cancel it first.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct delete_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = run,
};
