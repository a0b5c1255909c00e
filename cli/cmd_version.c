/* SPDX-License-Identifier: MIT */
/* cmd_version - amlctl version: this program's, and the daemon's when one answers */
#include <stdio.h>

#include "cli/command.h"
#include "cli/output.h"
#include "common/json.h"

struct version_options {
	bool json;
};

static const struct option_spec options_table[] = {
	OPTION_OUTPUT(struct version_options, json),
};

static void print_versions(const struct json *status)
{
	const char *daemon = json_string(json_get(status, "version"));

	printf("amlctl %s\n", AMLAGENT_VERSION);
	if (daemon)
		printf("amlagentd %s (pid %lld)\n", daemon,
			(long long)json_int(json_get(status, "pid")));
	else
		puts("amlagentd: none answers");
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct version_options *options = data;
	_cleanup_(json_freep) struct json *status = NULL;
	_cleanup_(json_freep) struct json *answer = json_new_object();

	(void)operands;
	/* A question about versions starts nothing, and no daemon is an answer, not a fault. */
	cli->endpoint.no_autostart = true;
	cli->client.fd = endpoint_connect_existing(&cli->endpoint, &cli->err);
	if (cli->client.fd >= 0)
		client_call(&cli->client, "GET", "/v1/status", NULL, &status, &cli->err);
	json_set_string(answer, "client", AMLAGENT_VERSION);
	json_set_string(answer, "daemon", json_string(json_get(status, "version")));
	if (options->json)
		print_json(answer);
	else
		print_versions(status);
	return finish_output();
}

const struct command cmd_version = {
	.name = "version",
	.synopsis = "",
	.summary = "Print the versions of amlctl and, if one answers, of the daemon",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct version_options),
	.operands_max = 0,
	.run = run,
};
