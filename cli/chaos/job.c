/* SPDX-License-Identifier: MIT */
/* job - the runs that a chaos run submits; see job.h */
#include "cli/chaos/job.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chaos/draw.h"
#include "common/mem.h"

#define WITNESS_VARIABLE "AMLAGENT_CHAOS_WITNESS"
#define PADDING "........................................"
#define LIMIT_SECONDS 1
#define LONGEST_SECONDS 120 /* nothing outlives this, whatever goes wrong */

const char chaos_job_script[] = "# A run of `amlctl doctor --chaos`: KIND NUMBER LINES VALUE\n"
				"kind=$1 number=$2 lines=$3 value=$4 i=0\n"
				"[ \"$kind\" = limit ] && trap '' TERM\n"
				"echo \"s $number\" >>\"$" WITNESS_VARIABLE "\"\n"
				"while [ $i -lt $lines ]; do\n"
				"	echo \"run $number line $i " PADDING "\"\n"
				"	i=$((i + 1))\n"
				"done\n"
				"if [ \"$kind\" = long ]; then\n"
				"	while [ $value -gt 0 ]; do\n"
				"		sleep 0.1\n"
				"		echo \"run $number, $value to go\"\n"
				"		value=$((value - 1))\n"
				"	done\n"
				"fi\n"
				"echo \"run $number has said all\" >&2\n"
				"echo \"the result of run $number\" >" CHAOS_OUTPUT_PATH "\n"
				"echo \"p $number\" >>\"$" WITNESS_VARIABLE "\"\n"
				"case $kind in\n"
				"exit) exit $value ;;\n"
				"signal) kill -$value $$ ;;\n"
				"leftovers)\n"
				"	setsid sleep 60 &\n"
				"	[ $value = 0 ] && { trap '' TERM; setsid sleep 60 & }\n"
				"	exit 0 ;;\n"
				"wait|limit) sleep 60 ;;\n"
				"esac\n";

/* clang-format off */
static const struct kind {
	const char *name;
	const char *word; /* of the script */
	unsigned weight;
	int64_t lines_min, lines_span;
	int64_t value_min, value_span;
} kinds[CHAOS_JOB_KINDS] = {
	[CHAOS_JOB_EXIT_0]         = { "exit 0",                "exit",      28,   3,  20,  0,  1 },
	[CHAOS_JOB_EXIT_N]         = { "exit n",                "exit",      16,   3,  20,  1, 125 },
	[CHAOS_JOB_SIGNAL]         = { "signal of its own",     "signal",    12,   3,  20,  0,  4 },
	[CHAOS_JOB_LIMIT]          = { "time limit",            "limit",      2,   3,  20,  0,  1 },
	[CHAOS_JOB_CANCEL]         = { "canceled",              "wait",      12,   3,  20,  0,  1 },
	[CHAOS_JOB_CANCEL_AT_ONCE] = { "canceled at once",      "wait",       8,   3,  20,  0,  1 },
	[CHAOS_JOB_LEFTOVERS]      = { "leaves processes",      "leftovers", 10,   3,  20,  0, 12 },
	[CHAOS_JOB_LOUD]           = { "prints a lot",          "exit",       8, 400, 600,  0,  1 },
	[CHAOS_JOB_LONG]           = { "lives through kills",   "long",       4,   3,  20,  3,  8 },
};
/* clang-format on */

static const int own_signals[] = { SIGKILL, SIGTERM, SIGHUP, SIGUSR1 };

void chaos_job_draw(uint64_t seed, int64_t number, struct chaos_job_plan *ret)
{
	unsigned weights[CHAOS_JOB_KINDS];
	const struct kind *kind;

	for (size_t i = 0; i < CHAOS_JOB_KINDS; i++)
		weights[i] = kinds[i].weight;
	*ret = (struct chaos_job_plan){ .number = number };
	ret->kind = (enum chaos_job_kind)chaos_draw_weighted(
		seed, CHAOS_DRAW_JOB, number, weights, CHAOS_JOB_KINDS);
	kind = &kinds[ret->kind];
	ret->lines = kind->lines_min + (int64_t)chaos_draw(seed, CHAOS_DRAW_LINES, number,
					       (uint64_t)kind->lines_span);
	ret->value = kind->value_min + (int64_t)chaos_draw(seed, CHAOS_DRAW_VALUE, number,
					       (uint64_t)kind->value_span);
	if (ret->kind == CHAOS_JOB_SIGNAL)
		ret->value = own_signals[ret->value];
}

const char *chaos_job_kind_name(enum chaos_job_kind kind)
{
	return kinds[kind].name;
}

char *chaos_job_name(int64_t number)
{
	return mem_printf("chaos %" PRId64, number);
}

int64_t chaos_job_number(const char *name)
{
	int64_t number;
	char end;

	return name && sscanf(name, "chaos %" SCNd64 "%c", &number, &end) == 1 ? number : -1;
}

static struct json *job_environment(
	const struct chaos_job_plan *plan, const char *folder, const char *witness)
{
	_cleanup_(freep) char *mark = mem_printf("%s#%" PRId64, folder, plan->number);
	struct json *environment = json_new_object();
	const char *path = getenv("PATH");

	json_set_string(environment, "PATH", path ? path : "/usr/bin:/bin");
	json_set_string(environment, CHAOS_VARIABLE, mark);
	json_set_string(environment, WITNESS_VARIABLE, witness);
	return environment;
}

struct json *chaos_job_request(const struct chaos_job_plan *plan, const char *folder,
	const char *source, const char *witness)
{
	struct json *request = json_new_object();
	_cleanup_(freep) char *name = chaos_job_name(plan->number);
	_cleanup_(freep) char *command = mem_printf("exec /bin/sh ./" CHAOS_JOB_SCRIPT
						    " %s %" PRId64 " %" PRId64 " %" PRId64,
		kinds[plan->kind].word, plan->number, plan->lines, plan->value);

	json_set_string(request, "experiment_name", "chaos");
	json_set_string(request, "display_name", name);
	json_set_string(request, "source_directory", source);
	json_set_string(request, "command", command);
	json_set_int(request, "max_run_duration_seconds",
		plan->kind == CHAOS_JOB_LIMIT ? LIMIT_SECONDS : LONGEST_SECONDS);
	json_set(request, "submit_environment", job_environment(plan, folder, witness));
	return request;
}

void chaos_job_log(const struct chaos_job_plan *plan, struct strbuf *ret)
{
	for (int64_t i = 0; i < plan->lines; i++)
		strbuf_addf(ret, "run %" PRId64 " line %" PRId64 " " PADDING "\n", plan->number, i);
	for (int64_t i = plan->value; plan->kind == CHAOS_JOB_LONG && i > 0; i--)
		strbuf_addf(ret, "run %" PRId64 ", %" PRId64 " to go\n", plan->number, i);
	strbuf_addf(ret, "run %" PRId64 " has said all\n", plan->number);
}

void chaos_job_output(const struct chaos_job_plan *plan, struct strbuf *ret)
{
	strbuf_addf(ret, "the result of run %" PRId64 "\n", plan->number);
}

void chaos_job_expect(
	const struct chaos_job_plan *plan, bool supervisor_killed, struct chaos_job_end *ret)
{
	int number = (int)plan->value;
	const struct chaos_job_end ends[CHAOS_JOB_KINDS] = {
		[CHAOS_JOB_EXIT_0] = { "Completed", NULL, 0, 0, false },
		[CHAOS_JOB_EXIT_N] = { "Failed", "UserError", number, 0, false },
		[CHAOS_JOB_SIGNAL] = { "Failed", "Killed", -1, number, false },
		[CHAOS_JOB_LIMIT] = { "Canceled", "MaxRunDurationExceeded", -1, SIGKILL, true },
		[CHAOS_JOB_CANCEL] = { "Canceled", "CanceledByUser", -1, SIGTERM, true },
		[CHAOS_JOB_CANCEL_AT_ONCE] = { "Canceled", "CanceledByUser", -1, 0, true },
		[CHAOS_JOB_LEFTOVERS] = { "Completed", NULL, 0, 0, false },
		[CHAOS_JOB_LOUD] = { "Completed", NULL, 0, 0, false },
		[CHAOS_JOB_LONG] = { "Completed", NULL, 0, 0, false },
	};

	*ret = ends[plan->kind];
	if (supervisor_killed)
		*ret = (struct chaos_job_end){ "Failed", "Lost", -1, 0, false };
}
