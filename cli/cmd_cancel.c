/* SPDX-License-Identifier: MIT */
/* cmd_cancel - amlctl cancel: stop runs */
#include <stdio.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/record.h"
#include "common/mem.h"

struct cancel_options {
	bool wait;
	bool json;
};

#define FIELD(name) offsetof(struct cancel_options, name)

static const struct option_spec options_table[] = {
	{ 0, "wait", NULL, "return when the runs have ended", option_flag, FIELD(wait) },
	OPTION_OUTPUT(struct cancel_options, json),
};

/* What there is of the run; NULL and an errno when there is none. */
static int get_record(struct cli *cli, const char *name, struct json **ret)
{
	_cleanup_(freep) char *target = run_target(name, "%s", "");

	return client_get(&cli->client, target, ret, &cli->err);
}

static int cancel(struct cli *cli, const char *name, struct json **ret)
{
	_cleanup_(freep) char *target = run_target(name, "/cancel");
	int r = client_call(&cli->client, "POST", target, NULL, ret, &cli->err);

	/* It ended by itself first: what the user wants, and worth a word. */
	if (r != -EREMOTEIO || cli->client.message.status != 409)
		return r;
	cli->err = (struct error)ERROR_INIT;
	r = get_record(cli, name, ret);
	if (r >= 0 && !record_is_over(*ret))
		r = error_set(&cli->err, -EREMOTEIO, NULL, "run %s cannot be cancelled now (%s)",
			record_id(*ret), record_status(*ret));
	return r;
}

static void report(const struct json *record, const char *id)
{
	const char *status = record_status(record);

	if (record_is_over(record))
		say("run %s has ended: %s", id, status);
	else
		say("run %s: cancel requested", id);
}

static int cancel_one(
	struct cli *cli, const struct cancel_options *options, const char *name, struct json **ret)
{
	_cleanup_(json_freep) struct json *record = NULL;
	_cleanup_(json_freep) struct json *first = NULL;
	int r = get_record(cli, name, &first);

	/* By its id from here on: `latest` may become another run meanwhile. */
	if (r >= 0)
		r = cancel(cli, record_id(first), &record);
	if (r < 0)
		return r;
	if (options->wait && !record_is_over(record)) {
		json_free(TAKE(record));
		r = record_await(&cli->client, record_id(first), &record, &cli->err);
		if (r < 0)
			return r;
	}
	report(record, record_id(first));
	*ret = TAKE(record);
	return 0;
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct cancel_options *options = data;
	_cleanup_(json_freep) struct json *records = json_new_array();

	for (size_t i = 0; operands[i]; i++) {
		struct json *record = NULL;
		int r = cancel_one(cli, options, operands[i], &record);

		if (r < 0) {
			record_name_in_error(operands[i], &cli->err);
			return r;
		}
		json_append(records, record);
	}
	if (options->json)
		print_records(records);
	return finish_output();
}

const struct command cmd_cancel = {
	.name = "cancel",
	.synopsis = "RUN...",
	.summary = "Stop runs",
	.details =
		"Returns when the daemon has taken the request on; the run's processes get SIGTERM,\n"
		"and SIGKILL after the grace. A run that has ended already is left as it is, which\n"
		"is no error.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct cancel_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = run,
};
