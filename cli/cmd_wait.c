/* SPDX-License-Identifier: MIT */
/* cmd_wait - amlctl wait: until the runs have ended */
#include <stdio.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/record.h"
#include "common/mem.h"
#include "common/strv.h"

struct wait_options {
	bool json;
};

static const struct option_spec options_table[] = {
	OPTION_OUTPUT(struct wait_options, json),
};

/* Its exit status, or a negative errno. */
static int await_one(struct cli *cli, const char *id, struct json *records)
{
	struct json *record = NULL;
	int r = record_await(&cli->client, id, &record, &cli->err);

	/* No reason to lose the others. */
	if (client_found_none(&cli->client, r)) {
		record_gone(id, &cli->err);
		say("%s", cli->err.message);
		cli->err = (struct error)ERROR_INIT;
		return EXIT_TROUBLE;
	}
	if (r < 0)
		return r;
	json_append(records, record);
	return record_exit_status(record);
}

/* Wait for each in turn: the records as an array; the status of the first that did not complete. */
static int await_all(struct cli *cli, char *const *ids, struct json *records)
{
	int status = EXIT_OK;

	for (size_t i = 0; ids && ids[i]; i++) {
		int r = await_one(cli, ids[i], records);

		if (r < 0)
			return r;
		if (status == EXIT_OK)
			status = r;
	}
	return status;
}

/* Of several RUNs an array, also where one record is all that is left of them. */
static void print_ends(const struct json *records, bool json, bool several)
{
	if (json && several)
		print_json(records);
	else if (json && json_first(records))
		print_json(json_first(records));
	for (const struct json *record = json_first(records); !json && record;
		record = json_next(record))
		printf("%s %s\n", record_id(record), record_status(record));
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct wait_options *options = data;
	_cleanup_(json_freep) struct json *records = json_new_array();
	_cleanup_(strv_freep) char **ids = NULL;
	/* By id, so that `latest` stays the run that it is now. */
	int r = record_resolve_all(&cli->client, operands, &ids, &cli->err);

	if (r >= 0)
		r = await_all(cli, ids, records);
	if (r < 0)
		return r;
	print_ends(records, options->json, strv_length(ids) > 1);
	if (finish_output())
		return EXIT_TROUBLE;
	for (const struct json *record = json_first(records); record; record = json_next(record))
		record_say_end(record, true);
	return r;
}

const struct command cmd_wait = {
	.name = "wait",
	.synopsis = "RUN...",
	.summary = "Wait until runs have ended",
	.details =
		"Prints a line per run when all have ended. With one RUN, -o json prints its record,\n"
		"with several an array of them. What a run in the queue waits for is said on\n"
		"standard error.\n"
		"\n"
		"Exit status: that of the first RUN, in the order given, that did not complete, as\n"
		"`amlctl run` would have it: the script's own, 128+N, 124, 130 or 125; else 0. A run\n"
		"that is deleted meanwhile is told on standard error, and counts as 125.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct wait_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = run,
};
