/* SPDX-License-Identifier: MIT */
/* cmd_run - amlctl run: submit, stream the log, end as the script ended */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/log_stream.h"
#include "cli/output.h"
#include "cli/record.h"
#include "cli/request.h"
#include "cli/waiting.h"
#include "common/mem.h"
#include "common/run_dir.h"

#define FIELD(name) offsetof(struct run_options, name)

static const struct option_spec options_table[] = {
	{ 'e', "experiment", "NAME", "the experiment (default: the source folder's name)",
		option_text, FIELD(experiment) },
	{ 'C', "source-directory", "DIR", "the folder that is snapshotted (default: .)",
		option_text, FIELD(source_directory) },
	{ 'c', "run-configuration", "NAME",
		".azureml/NAME.runconfig of the source folder, or a path to a file", option_text,
		FIELD(run_configuration) },
	{ 0, "command", "\"...\"", "a shell command line in place of SCRIPT", option_text,
		FIELD(command) },
	{ 0, "python", "PATH",
		"the interpreter, or a venv or conda folder (default: python or python3 on your PATH)",
		option_text, FIELD(python) },
	{ 0, "set-env", "KEY=VALUE", "an environment variable for the run; any number of times",
		option_pair, FIELD(set_env) },
	{ 0, "clean-env", NULL, "do not hand your environment on to the run", option_flag,
		FIELD(clean_env) },
	{ 0, "max-run-duration", "TIME",
		"stop the run after this: seconds, 90m, 2h (default: 30 days)", option_duration,
		FIELD(max_run_duration) },
	{ 0, "cpus", "N", "how many CPUs the run asks for (default: 1)", option_count,
		FIELD(cpus) },
	{ 0, "memory", "SIZE", "how much memory it asks for: 512M, 8G, ...", option_size,
		FIELD(memory) },
	{ 0, "gpus", "N", "how many GPUs it asks for (default: 0)", option_number, FIELD(gpus) },
	{ 0, "priority", "N",
		"its place in the queue: from -1000 to 1000, higher goes first (default: 0)",
		option_number, FIELD(priority) },
	{ 0, "after", "[afterok:|afterany:]RUN",
		"start it after that run: when that one completed (afterok, the default) or has ended "
		"in any way (afterany); several with commas, and any number of times",
		option_list, FIELD(after) },
	{ 0, "hold", NULL, "keep it in the queue until `amlctl release`", option_flag,
		FIELD(hold) },
	{ 0, "share", NULL, "let every user of this daemon read the run", option_flag,
		FIELD(share) },
	{ 0, "tag", "KEY=VALUE", "a tag; any number of times", option_pair, FIELD(tags) },
	{ 0, "display-name", "TEXT", "what to call the run", option_text, FIELD(display_name) },
	{ 'd', "detach", NULL, "print the run id and return, the run goes on", option_flag,
		FIELD(detach) },
	{ 0, "environment", "NAME|FILE", NULL, option_not_yet, FIELD(not_yet) },
};

/* A run whose log is being streamed. */
struct streamed {
	struct cli *cli;
	const char *id;
	struct client other; /* asks for the state while the log's connection waits */
	struct waiting waiting;
};

static int write_log(void *data, const char *bytes, size_t size, struct error *err)
{
	(void)data;
	say_status(NULL);
	return write_output(bytes, size, err);
}

/* Nothing has come yet: say what the run is waiting for. */
static bool tell_why(void *data)
{
	struct streamed *streamed = data;
	_cleanup_(json_freep) struct json *record = NULL;
	_cleanup_(freep) char *target = run_target(streamed->id, "%s", "");
	struct error none = ERROR_INIT;

	if (waiting_is_told(&streamed->waiting))
		return false;
	if (client_get(&streamed->other, target, &record, &none) >= 0)
		waiting_tell(&streamed->waiting, record);
	return true;
}

static int stream(struct cli *cli, const char *id)
{
	struct streamed streamed = { .cli = cli, .id = id };
	struct log_stream log = {
		.client = &cli->client,
		.run = id,
		.name = RUN_LOG_ARTIFACT,
		.follow = true,
		.sink = write_log,
		.idle = tell_why,
		.data = &streamed,
	};
	int r;

	client_init(&streamed.other, &cli->endpoint);
	streamed.other.once = true; /* the log's connection mends itself */
	r = log_stream_run(&log, &cli->err);
	client_release(&streamed.other);
	say_status(NULL);
	/* A run that failed before it began has no log: its record says the rest. */
	if (client_found_none(&cli->client, r)) {
		cli->err = (struct error)ERROR_INIT;
		return 0;
	}
	return r;
}

static int follow(struct cli *cli, const char *id)
{
	_cleanup_(json_freep) struct json *record = NULL;
	_cleanup_(freep) char *farewell = mem_printf(
		"\namlctl: detached; run %s goes on: `amlctl logs -f %s` follows it, `amlctl cancel %s` "
		"stops it\n",
		id, id, id);
	int r;

	interrupt_say_and_leave(farewell);
	r = stream(cli, id);
	if (r >= 0)
		r = record_await(&cli->client, id, &record, &cli->err);
	interrupt_default();
	/* Whoever reads our output was so slow that somebody could delete it meanwhile. */
	if (client_found_none(&cli->client, r))
		return record_gone(id, &cli->err);
	if (r < 0) {
		_cleanup_(freep) char *where = mem_printf(
			"run %s goes on, but cannot be followed (`amlctl show %s`)", id, id);

		error_prefix(&cli->err, where);
		return r;
	}
	record_say_end(record, false);
	return record_exit_status(record);
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct run_options *options = data;
	_cleanup_(json_freep) struct json *body = NULL;
	_cleanup_(json_freep) struct json *record = NULL;
	const char *id;
	int r = request_make(options, operands, environ, &body, &cli->err);

	if (r >= 0)
		r = client_call(&cli->client, "POST", "/v1/runs", body, &record, &cli->err);
	if (r == -ECONNRESET && !cli->client.unread)
		say("whether the run was accepted is not known: look with `amlctl list`");
	if (r < 0)
		return r;
	id = record_id(record);
	record_say_warnings(record);
	if (options->detach) {
		puts(id);
		return finish_output();
	}
	say("run %s", id);
	return follow(cli, id);
}

const struct command cmd_run = {
	.name = "run",
	.synopsis = "SCRIPT [ARGS...]",
	.summary = "Submit a script, stream its output, exit with its exit status",
	.details =
		"All that follows SCRIPT belongs to the script. SCRIPT is relative to the source\n"
		"folder. SCRIPT or --command take the place of the run configuration's script,\n"
		"command and arguments; other options of the command line win one by one.\n"
		"\n"
		"Standard output is the script's stdout and stderr and nothing else. Ctrl-C\n"
		"detaches: the run goes on, and amlctl exits with 0. While the run waits in the\n"
		"queue, standard error says what for.\n"
		"\n"
		"Exit status: the script's own; 128+N when signal N ended it; 124 when the time\n"
		"limit did; 130 when it was cancelled; 125 when amlctl or the daemon failed, or\n"
		"the run could not be set up, stored, or was lost; 2 for wrong usage.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct run_options),
	.operands_min = 0,
	.operands_max = -1,
	.stop_at_operand = true,
	.run = run,
};
