/* SPDX-License-Identifier: MIT */
/* cmd_doctor - amlctl doctor: is everything there that amlagent needs, and what to do if not */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/chaos/chaos.h"
#include "cli/command.h"
#include "cli/doctor/doctor.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/mem.h"

#define WRAP_MIN 30

struct doctor_options {
	bool json;
	bool quick;
	int64_t chaos; /* rounds; 0: no chaos */
};

static const struct option_spec options_table[] = {
	OPTION_OUTPUT(struct doctor_options, json),
	{ 0, "quick", NULL, "do not read the stored bytes again", option_flag,
		offsetof(struct doctor_options, quick) },
	{ 0, "chaos", "N",
		"instead: N rounds of kills on a throw-away daemon, and what became of its runs",
		option_count, offsetof(struct doctor_options, chaos) },
};

static const struct check {
	const char *name;
	void (*look)(struct doctor *doctor, struct doctor_finding *ret);
} checks[] = {
	{ "programs", doctor_check_programs },
	{ "configuration", doctor_check_configuration },
	{ "socket", doctor_check_socket },
	{ "service", doctor_check_service },
	{ "groups", doctor_check_groups },
	{ "gpus", doctor_check_gpus },
	{ "state folder", doctor_check_state_folder },
	{ "free space", doctor_check_space },
	{ "file system", doctor_check_file_system },
	{ "kernel", doctor_check_kernel },
	{ "limits", doctor_check_limits },
	{ "cgroups", doctor_check_cgroups },
	{ "clock", doctor_check_clock },
	{ "python", doctor_check_python },
	{ "database", doctor_check_database },
	{ "blobs", doctor_check_blobs },
	{ "runs", doctor_check_runs },
};

static const struct {
	const char *name; /* for programs */
	const char *word; /* for people */
	const char *colour;
} results[] = {
	[DOCTOR_OK] = { "ok", "OK", "\033[32m" },
	[DOCTOR_NOTE] = { "note", "note", "\033[33m" },
	[DOCTOR_PROBLEM] = { "problem", "PROBLEM", "\033[31m" },
};

/* ---- findings ---- */

static void fill(struct doctor_finding *finding, enum doctor_result result, const char *advice,
	const char *fmt, va_list args)
{
	free(finding->found);
	free(finding->advice);
	*finding = (struct doctor_finding){ .result = result, .advice = mem_strdup(advice) };
	if (vasprintf(&finding->found, fmt, args) < 0)
		abort();
}

void doctor_ok(struct doctor_finding *finding, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fill(finding, DOCTOR_OK, NULL, fmt, args);
	va_end(args);
}

void doctor_note(struct doctor_finding *finding, const char *advice, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fill(finding, DOCTOR_NOTE, advice, fmt, args);
	va_end(args);
}

void doctor_problem(struct doctor_finding *finding, const char *advice, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fill(finding, DOCTOR_PROBLEM, advice, fmt, args);
	va_end(args);
}

/* ---- printing ---- */

/* The part of text that fits into a line, ended where a word ends; a longer word stands out. */
static size_t line_length(const char *text, size_t columns)
{
	size_t size = strlen(text);
	size_t at = columns;

	if (size <= columns)
		return size;
	while (at > 0 && text[at] != ' ')
		at--;
	return at ? at : columns + strcspn(text + columns, " ");
}

/* Rows under the name and the result of the first. */
static void add_text(struct table *table, const char *lead, const char *text, size_t columns)
{
	bool first = true;

	while (*text) {
		size_t size = line_length(text, columns);
		_cleanup_(freep) char *line = mem_strndup(text, size);
		_cleanup_(freep) char *cell = mem_printf("%s%s", first ? lead : "", line);

		if (table->used % table->column_count == 0) {
			table_add(table, "");
			table_add(table, "");
		}
		table_add(table, cell);
		text += size;
		text += strspn(text, " ");
		first = false;
	}
}

static void print_people(const struct doctor_finding *findings)
{
	static const struct table_column columns[] = { { 0 }, { 0 }, { 0 } };
	static const size_t before = sizeof("configuration  PROBLEM  -> ") - 1;
	size_t width = output_width();
	struct table table;

	width = !width ? SIZE_MAX : width < before + WRAP_MIN ? WRAP_MIN : width - before;
	table_init(&table, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		table_add(&table, checks[i].name);
		table_add_coloured(&table, results[findings[i].result].word,
			results[findings[i].result].colour);
		add_text(&table, "", findings[i].found, width);
		if (findings[i].advice)
			add_text(&table, "-> ", findings[i].advice, width);
	}
	table_print(&table);
	table_release(&table);
}

static int count(const struct doctor_finding *findings, enum doctor_result result)
{
	int found = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		found += findings[i].result == result;
	return found;
}

static void print_summary(const struct doctor_finding *findings)
{
	int problems = count(findings, DOCTOR_PROBLEM);

	if (!problems)
		puts("no problems found");
	else
		printf("%d problem%s\n", problems, problems == 1 ? "" : "s");
}

static void print_programs(const struct doctor_finding *findings)
{
	struct json *json = json_new_object();
	struct json *array = json_new_array();

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct json *check = json_new_object();

		json_set_string(check, "name", checks[i].name);
		json_set_string(check, "result", results[findings[i].result].name);
		json_set_string(check, "found", findings[i].found);
		json_set_string(check, "advice", findings[i].advice);
		json_append(array, check);
	}
	json_set(json, "checks", array);
	json_set_int(json, "problems", count(findings, DOCTOR_PROBLEM));
	print_json(json);
	json_free(json);
}

/* ---- the command ---- */

/* Could not look is worth saying only when nothing was seen to be wrong. */
static int status_of(const struct doctor_finding *findings)
{
	int blind = 0;

	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		blind += findings[i].blind;
	if (count(findings, DOCTOR_PROBLEM) > blind)
		return 1;
	return blind ? EXIT_TROUBLE : EXIT_OK;
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct doctor_options *options = data;
	struct doctor_finding findings[ARRAY_SIZE(checks)] = { 0 };
	struct doctor doctor = { .cli = cli, .quick = options->quick };
	int status;
	int r;

	(void)operands;
	if (options->chaos)
		return chaos_run(cli, options->chaos, options->json);
	cli->endpoint.no_autostart = true;
	doctor_meet(&doctor);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
		checks[i].look(&doctor, &findings[i]);
	if (options->json)
		print_programs(findings);
	else
		print_people(findings);
	if (!options->json)
		print_summary(findings);
	status = status_of(findings);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		free(findings[i].found);
		free(findings[i].advice);
	}
	doctor_release(&doctor);
	r = finish_output();
	return r ? r : status;
}

const struct command cmd_doctor = {
	.name = "doctor",
	.synopsis = "",
	.summary = "Check the installation and the state folder, and say what to do",
	.details =
		"Looks at the programs, the socket, the state folder and its file system, the\n"
		"machine, and at all that is stored: the database by its own checks, every blob\n"
		"against its digest, every file that a run refers to. Starts no daemon and changes\n"
		"nothing; runs go on meanwhile. What can be done without is a note, what does not\n"
		"work or will be lost is a PROBLEM.\n\n"
		"Exit status: 0 no problems, 1 problems, 125 something could not be looked at.\n\n"
		"--chaos starts a daemon of its own in a new folder, kills it and its runs'\n"
		"supervisors again and again while runs go on, and counts what was lost. It touches\n"
		"no other daemon and no other run.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct doctor_options),
	.operands_max = 0,
	.run = run,
};
