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

/* Wait for each in turn; the records as an array. */
static int await_all(struct cli *cli, char *const *ids, struct json *records)
{
	for (size_t i = 0; ids && ids[i]; i++) {
		struct json *record = NULL;
		int r = record_await(&cli->client, ids[i], &record, &cli->err);

		if (r < 0)
			return r;
		json_append(records, record);
	}
	return 0;
}

static int conclude(const struct json *records, bool json)
{
	int status = EXIT_OK;

	for (const struct json *record = json_first(records); record; record = json_next(record)) {
		if (!json)
			printf("%s %s\n", record_id(record), record_status(record));
		if (status == EXIT_OK)
			status = record_exit_status(record);
	}
	if (json)
		print_records(records);
	if (finish_output())
		return EXIT_TROUBLE;
	for (const struct json *record = json_first(records); record; record = json_next(record))
		record_say_end(record, true);
	return status;
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
	return r < 0 ? r : conclude(records, options->json);
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
		"`amlctl run` would have it: the script's own, 128+N, 124, 130 or 125; else 0.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct wait_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = run,
};
