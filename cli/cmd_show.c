/* SPDX-License-Identifier: MIT */
/* cmd_show - amlctl show: all that matters of a run, in reading order */
#include <stdio.h>
#include <string.h>

#include "cli/card.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/record.h"
#include "cli/resources.h"
#include "cli/table.h"
#include "cli/waiting.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/run_dir.h"
#include "common/strv.h"

struct show_options {
	bool json;
};

static const struct option_spec options_table[] = {
	OPTION_OUTPUT(struct show_options, json),
};

/* The sentence, and below it the lines of the log that bear it out. */
static void add_cause(struct card *card, const struct json *run)
{
	const char *message = json_string(json_get(json_get(run, "error"), "message"));
	size_t size = message ? strcspn(message, "\n") : 0;
	_cleanup_(freep) char *sentence = message ? mem_strndup(message, size) : NULL;

	card_add_wrapped(card, "Cause", sentence, status_colour(record_status(run)));
	if (message && message[size])
		card_add(card, "", message + size + 1);
}

/* Its place in the queue, and what it waits for. */
static void add_waiting(struct card *card, const struct json *run)
{
	_cleanup_(freep) char *text = waiting_text(run);

	if (json_int(json_get(run, "queue_position")) || json_string(json_get(run, "waiting_for")))
		card_add_wrapped(card, "Waits", text, NULL);
	card_add_text(card, "Held by", json_get(run, "held_by"));
}

static void add_after(struct card *card, const struct json *after)
{
	const char *title = "After";

	for (const struct json *a = json_first(after); a; a = json_next(a)) {
		const char *condition = json_string(json_get(a, "condition"));
		const char *id = json_string(json_get(a, "run_id"));

		card_addf(card, title, "%s:%s", condition ? condition : "afterok", id ? id : "?");
		title = "";
	}
}

/* What it asked for and what it was given, with the GPUs by name. */
static void add_resources(
	struct card *card, const struct json *definition, const struct json *granted)
{
	_cleanup_(freep) char *asked = resources_text(json_get(definition, "resources"));
	_cleanup_(freep) char *given = resources_text(granted);
	const struct json *gpus = json_get(granted, "gpus");
	int64_t priority = json_int(json_get(definition, "priority"));

	if (priority)
		card_addf(card, "Asks for", "%s, priority %lld", asked, (long long)priority);
	else
		card_add(card, "Asks for", asked);
	card_add(card, "Granted", given);
	for (const struct json *gpu = json_first(gpus); gpu; gpu = json_next(gpu))
		card_add_text(card, "", gpu);
}

static void add_status(struct card *card, const struct json *run)
{
	const char *status = record_status(run);
	const char *code = record_error_code(run);
	_cleanup_(freep) char *text =
		code ? mem_printf("%s (%s)", status, code) : mem_strdup(status);

	card_add_coloured(card, "Status", text, status_colour(status));
	add_cause(card, run);
	add_waiting(card, run);
	add_after(card, json_get(run, "after"));
	if (json_is_number(json_get(run, "exit_code")))
		card_addf(
			card, "Exit code", "%lld", (long long)json_int(json_get(run, "exit_code")));
	if (json_int(json_get(run, "signal"))) {
		int number = (int)json_int(json_get(run, "signal"));
		const char *name = sigabbrev_np(number);

		card_addf(card, "Signal", "%d%s%s", number, name ? " SIG" : "", name ? name : "");
	}
}

static void add_times(struct card *card, const struct json *run)
{
	int64_t us = record_duration(run);

	card_add_time(card, "Created", json_get(run, "created_utc"));
	card_add_time(card, "Started", json_get(run, "start_time_utc"));
	card_add_time(card, "Ended", json_get(run, "end_time_utc"));
	if (us >= 0) {
		_cleanup_(freep) char *duration = time_duration(us);

		card_addf(card, "Duration", "%s%s", duration, record_is_over(run) ? "" : " so far");
	}
}

/* The arguments as a shell would take them. */
static void add_quoted(struct strbuf *to, const char *text)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "-_=+./:,@%$";

	if (text[0] && !text[strspn(text, safe)]) {
		strbuf_adds(to, text);
		return;
	}
	strbuf_addc(to, '\'');
	for (; *text; text++)
		*text == '\'' ? strbuf_adds(to, "'\\''") : strbuf_addc(to, *text);
	strbuf_addc(to, '\'');
}

static void add_what(struct card *card, const struct json *definition)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
	const struct json *arguments = json_get(definition, "arguments");

	card_add_text(card, "Source", json_get(definition, "source_directory"));
	if (json_string(json_get(definition, "command"))) {
		card_add_text(card, "Command", json_get(definition, "command"));
		return;
	}
	if (!json_string(json_get(definition, "script")))
		return;
	add_quoted(&line, json_string(json_get(definition, "script")));
	for (const struct json *a = json_first(arguments); a; a = json_next(a)) {
		strbuf_addc(&line, ' ');
		add_quoted(&line, json_string(a) ? json_string(a) : "?");
	}
	card_add(card, "Script", line.data);
}

static void add_pairs(struct card *card, const char *title, const struct json *object)
{
	for (const struct json *m = json_first(object); m; m = json_next(m)) {
		card_addf(card, title, "%s=%s", json_key(m), json_string(m) ? json_string(m) : "");
		title = "";
	}
}

static void add_limits(struct card *card, const struct json *definition)
{
	const struct json *limit = json_get(definition, "max_run_duration_seconds");

	if (json_is_number(limit)) {
		_cleanup_(freep) char *text = time_duration(json_int(limit) * USEC_PER_SEC);

		card_add(card, "Time limit", text);
	} else if (limit) {
		card_add(card, "Time limit", "none");
	}
	add_pairs(card, "Variables",
		json_get(json_get(definition, "environment"), "environment_variables"));
}

static void add_git(struct card *card, const struct json *properties)
{
	const char *commit = json_string(json_get(properties, "azureml.git.commit"));
	const char *branch = json_string(json_get(properties, "azureml.git.branch"));
	const char *dirty = json_string(json_get(properties, "azureml.git.dirty"));

	if (commit || branch)
		card_addf(card, "Git", "%s%s%.12s%s", branch ? branch : "",
			branch && commit ? " " : "", commit ? commit : "",
			dirty && !strcasecmp(dirty, "true") ? " (dirty)" : "");
	card_add_text(card, "Repository", json_get(properties, "azureml.git.repository_uri"));
}

static void add_used(struct card *card, const struct json *used)
{
	_cleanup_(freep) char *memory = size_text(json_int(json_get(used, "peak_memory_bytes")));

	if (!json_is_object(used))
		return;
	card_addf(card, "Used", "%.2f s CPU (%.2f user, %.2f system), %s peak memory",
		json_number(json_get(used, "user_cpu_seconds")) +
			json_number(json_get(used, "system_cpu_seconds")),
		json_number(json_get(used, "user_cpu_seconds")),
		json_number(json_get(used, "system_cpu_seconds")), memory);
}

/* Properties that the lines above do not show already. */
static void add_properties(struct card *card, const struct json *properties)
{
	const char *title = "Properties";

	for (const struct json *m = json_first(properties); m; m = json_next(m)) {
		if (!strncmp(json_key(m), "azureml.git.", 12) ||
			!strncmp(json_key(m), "mlflow.source.git.", 18))
			continue;
		card_addf(card, title, "%s=%s", json_key(m), json_string(m) ? json_string(m) : "");
		title = "";
	}
}

static void add_origin(struct card *card, const struct json *run)
{
	const struct json *interpreter = json_get(run, "interpreter");
	const char *version = json_string(json_get(interpreter, "version"));

	if (json_string(json_get(interpreter, "path")))
		card_addf(card, "Interpreter", "%s%s%s%s",
			json_string(json_get(interpreter, "path")), version ? " (" : "",
			version ? version : "", version ? ")" : "");
	card_add_text(card, "Snapshot", json_get(run, "snapshot_id"));
	add_git(card, json_get(run, "properties"));
	card_add_text(card, "Submitted by", json_get(run, "submitted_by"));
	if (json_bool(json_get(run, "shared")))
		card_add(card, "Shared", "with every user of this daemon");
	card_add_text(card, "Parent", json_get(run, "parent_run_id"));
}

static void add_warnings(struct card *card, const struct json *warnings)
{
	const char *title = "Warnings";

	for (const struct json *w = json_first(warnings); w; w = json_next(w)) {
		card_add_text(card, title, w);
		title = "";
	}
}

static void print_hints(const struct json *run)
{
	const char *id = record_id(run);

	if (!record_is_over(run)) {
		printf("\namlctl logs -f %s\namlctl cancel %s\n", id, id);
		return;
	}
	printf("\namlctl logs %s\namlctl files %s\namlctl download %s\n", id, id, id);
}

static void print_run(const struct json *run)
{
	_cleanup_(card_release) struct card card;
	const struct json *definition = json_get(run, "run_definition");

	card_init(&card);
	card_add(&card, "Run", record_id(run));
	card_add_text(&card, "Name", json_get(run, "display_name"));
	card_add_text(&card, "Experiment", json_get(run, "experiment_name"));
	add_status(&card, run);
	add_times(&card, run);
	add_what(&card, definition);
	add_limits(&card, definition);
	add_resources(&card, definition, json_get(run, "resources_granted"));
	add_origin(&card, run);
	add_used(&card, json_get(run, "resources_used"));
	add_pairs(&card, "Tags", json_get(run, "tags"));
	add_properties(&card, json_get(run, "properties"));
	add_warnings(&card, json_get(run, "warnings"));
	card_print(&card);
	print_hints(run);
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct show_options *options = data;
	_cleanup_(freep) char *target = run_target(operands[0], "%s", "");
	_cleanup_(json_freep) struct json *record = NULL;
	int r = client_get(&cli->client, target, &record, &cli->err);

	if (r < 0)
		return r;
	if (options->json)
		print_json(record);
	else
		print_run(record);
	return finish_output();
}

const struct command cmd_show = {
	.name = "show",
	.synopsis = "RUN",
	.summary = "Show what a run is and what became of it",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct show_options),
	.operands_min = 1,
	.operands_max = 1,
	.run = run,
};
