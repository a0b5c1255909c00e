/* SPDX-License-Identifier: MIT */
/* cmd_status - amlctl status: the daemon, and what it has to do */
#include <stdio.h>

#include "cli/card.h"
#include "cli/command.h"
#include "cli/holdings.h"
#include "cli/output.h"
#include "cli/record.h"
#include "cli/table.h"
#include "common/clock.h"
#include "common/mem.h"

/* As many as the API gives at once. */
#define LIVE_RUNS \
	"/v1/runs?limit=1000&status=Queued,Preparing,Starting,Running,Finalizing,CancelRequested"

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

static void add_draining(struct card *card, const struct json *draining)
{
	const char *by = json_string(json_get(draining, "by"));
	const char *reason = json_string(json_get(draining, "reason"));
	int64_t since = record_time(draining, "since_utc");
	_cleanup_(freep) char *when = since ? time_relative(clock_utc(), since) : NULL;
	_cleanup_(freep) char *text = NULL;

	if (!json_is_object(draining))
		return;
	text = mem_printf("by %s%s%s%s%s; nothing is started until `amlctl resume`", by ? by : "?",
		when ? ", " : "", when ? when : "", reason && reason[0] ? ": " : "",
		reason ? reason : "");
	card_add_wrapped(card, "Drained", text, "\033[33m");
}

/* What there is to give out, and what is given. */
static void add_slots(struct card *card, const struct json *status)
{
	_cleanup_(freep) char *cpus = holdings_share(json_get(status, "cpus"), false);
	_cleanup_(freep) char *memory = holdings_share(json_get(status, "memory_bytes"), true);
	_cleanup_(freep) char *gpus = holdings_gpus(json_get(status, "gpus"));

	card_add(card, "CPUs", cpus);
	card_add(card, "Memory", memory);
	card_add(card, "GPUs", gpus);
}

static void print_card(struct cli *cli, const struct json *status)
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
	add_draining(&card, json_get(status, "draining"));
	card_addf(&card, "Running", "%lld of at most %lld",
		(long long)json_int(json_get(status, "running")),
		(long long)json_int(json_get(status, "max_running_runs")));
	card_addf(&card, "Queued", "%lld", (long long)json_int(json_get(status, "queued")));
	add_slots(&card, status);
	add_runs(&card, json_get(status, "runs"));
	card_print(&card);
}

static int print_status(struct cli *cli, const struct json *status)
{
	_cleanup_(json_freep) struct json *runs = NULL;
	int r = 0;

	if (json_int(json_get(status, "running")) || json_int(json_get(status, "queued")))
		r = client_get(&cli->client, LIVE_RUNS, &runs, &cli->err);
	if (r < 0)
		return r;
	print_card(cli, status);
	holdings_print_users(status);
	holdings_print_gpus(status);
	holdings_print_running(runs);
	holdings_print_queue(runs, status);
	return 0;
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
		r = print_status(cli, status);
	return r < 0 ? r : finish_output();
}

const struct command cmd_status = {
	.name = "status",
	.synopsis = "",
	.summary = "Show the daemon, who holds what, and what waits",
	.details =
		"Drained or not; CPUs, memory and GPUs in use; each user's share; the runs that\n"
		"hold something; and the queue, next first, with what each run waits for. Runs of\n"
		"others are shown as far as you may see them, and counted in any case.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct status_options),
	.operands_max = 0,
	.run = run,
};
