/* SPDX-License-Identifier: MIT */
/* cmd_drain - amlctl drain, resume: finish what runs and start nothing, and start again */
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "common/mem.h"
#include "common/utf8.h"

struct drain_options {
	const char *reason;
	bool json;
};

#define FIELD(name) offsetof(struct drain_options, name)

static const struct option_spec drain_table[] = {
	{ 0, "reason", "TEXT", "why, for those whose runs wait", option_text, FIELD(reason) },
	OPTION_OUTPUT(struct drain_options, json),
};

static const struct option_spec resume_table[] = {
	OPTION_OUTPUT(struct drain_options, json),
};

static long long number(const struct json *status, const char *key)
{
	return (long long)json_int(json_get(status, key));
}

static int drain(struct cli *cli, void *data, char **operands)
{
	const struct drain_options *options = data;
	_cleanup_(json_freep) struct json *body = json_new_object();
	_cleanup_(json_freep) struct json *status = NULL;
	int r;

	(void)operands;
	if (options->reason && !utf8_valid(options->reason, strlen(options->reason)))
		return usage_error(cli, "--reason is not UTF-8");
	if (options->reason)
		json_set_string(body, "reason", options->reason);
	r = client_call(&cli->client, "POST", "/v1/drain", body, &status, &cli->err);
	if (r < 0)
		return r;
	say("drained: nothing is started until `amlctl resume`; %lld running, %lld queued",
		number(status, "running"), number(status, "queued"));
	if (options->json)
		print_json(status);
	return finish_output();
}

static int resume(struct cli *cli, void *data, char **operands)
{
	const struct drain_options *options = data;
	_cleanup_(json_freep) struct json *status = NULL;
	int r = client_call(&cli->client, "POST", "/v1/resume", NULL, &status, &cli->err);

	(void)operands;
	if (r < 0)
		return r;
	say("resumed: runs are started again; %lld running, %lld queued", number(status, "running"),
		number(status, "queued"));
	if (options->json)
		print_json(status);
	return finish_output();
}

const struct command cmd_drain = {
	.name = "drain",
	.synopsis = "",
	.summary = "Finish what runs, start nothing (admins)",
	.details =
		"Runs that go on are left alone; submits are accepted and wait. It stays so, also\n"
		"over restarts of the daemon, until `amlctl resume`.\n",
	.options = drain_table,
	.option_count = ARRAY_SIZE(drain_table),
	.options_size = sizeof(struct drain_options),
	.operands_max = 0,
	.run = drain,
};

const struct command cmd_resume = {
	.name = "resume",
	.synopsis = "",
	.summary = "Start runs again after a drain (admins)",
	.options = resume_table,
	.option_count = ARRAY_SIZE(resume_table),
	.options_size = sizeof(struct drain_options),
	.operands_max = 0,
	.run = resume,
};
