/* SPDX-License-Identifier: MIT */
/* cmd_status - amlctl status: the daemon, and what it has to do */
#include <stdio.h>

#include "cli/card.h"
#include "cli/command.h"
#include "cli/output.h"
#include "common/mem.h"

struct status_options {
	bool json;
};

static const struct option_spec options_table[] = {
	OPTION_OUTPUT(struct status_options, json),
};

static void add_runs(struct card *card, const struct json *runs)
{
	const char *title = "History";

	for (const struct json *m = json_first(runs); m; m = json_next(m)) {
		if (!json_int(m))
			continue;
		card_addf(card, title, "%lld %s", (long long)json_int(m), json_key(m));
		title = "";
	}
}

static void print_status(struct cli *cli, const struct json *status)
{
	_cleanup_(card_release) struct card card;
	const char *user = json_string(json_get(status, "user"));

	card_init(&card);
	card_addf(&card, "Daemon", "amlagentd %s, pid %lld",
		json_string(json_get(status, "version")) ? json_string(json_get(status, "version"))
							 : "?",
		(long long)json_int(json_get(status, "pid")));
	card_addf(&card, "User", "%s (uid %lld)", user ? user : "?",
		(long long)json_int(json_get(status, "uid")));
	card_add_time(&card, "Started", json_get(status, "started_utc"));
	card_add(&card, "Socket", cli->endpoint.answered);
	card_add_text(&card, "State", json_get(status, "state_directory"));
	card_addf(&card, "Running", "%lld of at most %lld",
		(long long)json_int(json_get(status, "running")),
		(long long)json_int(json_get(status, "max_running_runs")));
	card_addf(&card, "Queued", "%lld", (long long)json_int(json_get(status, "queued")));
	add_runs(&card, json_get(status, "runs"));
	card_print(&card);
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct status_options *options = data;
	_cleanup_(json_freep) struct json *status = NULL;
	int r = client_get(&cli->client, "/v1/status", &status, &cli->err);

	(void)operands;
	if (r < 0)
		return r;
	if (options->json)
		print_json(status);
	else
		print_status(cli, status);
	return finish_output();
}

const struct command cmd_status = {
	.name = "status",
	.synopsis = "",
	.summary = "Show the daemon, what runs and what waits",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct status_options),
	.operands_max = 0,
	.run = run,
};
