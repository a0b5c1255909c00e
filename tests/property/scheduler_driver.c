/* SPDX-License-Identifier: MIT */
/*
 * scheduler_driver - the scheduler by hand, for test_scheduler.py
 *
 * Commands on stdin, a line each; times are in seconds. What answers, answers with one line.
 *
 *	machine GPUS HALF_LIFE                     a new one, with no runs
 *	limits PLACES CPUS MEMORY RUNS CPUS GPUS   given out; to one user (0: no limit)
 *	aside GPU 0|1
 *	queue ID UID PRIORITY CPUS MEMORY GPUS LIMIT 0|1    (1: keeps its turn)
 *	park ID 0|1
 *	remove ID NOW
 *	claim ID UID PRIORITY CPUS MEMORY GPUS LIMIT FROM NOW [GPU...]
 *	pass NOW 0|1         -> "LOOK ID:GPU,GPU ID ..." who started, with which GPUs (1: GPUs known)
 *	explain NOW 0|1      -> "ID:REASON:POSITION:BEFORE ..." of all that wait
 *	usage NOW UID...     -> one number a user
 *	sound                -> "1" or "0"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "runs/scheduler.h"

#define RUNS_MAX 2000
#define GPUS_MAX_HERE 64
#define S USEC_PER_SEC

static struct scheduler scheduler;
static bool is_made;
static struct scheduler_run *runs[RUNS_MAX];

static void __attribute__((noreturn)) die(const char *line)
{
	fprintf(stderr, "scheduler_driver: %s\n", line);
	exit(2);
}

static int64_t next(char **rest)
{
	char *word = strsep(rest, " \n");
	char *end;
	int64_t number;

	if (!word || !*word)
		die("a number is missing");
	number = strtoll(word, &end, 10);
	if (*end)
		die(word);
	return number;
}

static bool has_more(char *const *rest)
{
	return *rest && **rest && **rest != '\n';
}

static size_t next_id(char **rest)
{
	int64_t id = next(rest);

	if (id < 0 || id >= RUNS_MAX)
		die("no such id");
	return (size_t)id;
}

static void forget_all(void)
{
	for (size_t i = 0; i < RUNS_MAX; i++) {
		if (runs[i])
			scheduler_remove(&scheduler, runs[i], 0);
		free(runs[i]);
		runs[i] = NULL;
	}
	scheduler_release(&scheduler);
}

static void do_machine(char *rest)
{
	size_t gpus = (size_t)next(&rest);
	int64_t half_life = next(&rest) * S;

	if (is_made)
		forget_all();
	is_made = true;
	scheduler_init(&scheduler, gpus, half_life);
}

static void do_limits(char *rest)
{
	struct slots_amount total = { 0 };
	struct scheduler_limits limits;

	total.places = next(&rest);
	total.cpus = next(&rest);
	total.memory_bytes = next(&rest);
	limits.runs = next(&rest);
	limits.cpus = next(&rest);
	limits.gpus = next(&rest);
	scheduler_set_limits(&scheduler, &total, &limits);
}

static void do_aside(char *rest)
{
	size_t gpu = (size_t)next(&rest);

	scheduler_set_aside(&scheduler, gpu, next(&rest));
}

static struct scheduler_run *read_run(char **rest)
{
	size_t id = next_id(rest);
	struct scheduler_run *run = runs[id] ? runs[id] : NEW(struct scheduler_run);

	runs[id] = run;
	run->uid = (uid_t)next(rest);
	run->priority = next(rest);
	run->wants.places = 1;
	run->wants.cpus = next(rest);
	run->wants.memory_bytes = next(rest);
	run->wants.gpus = next(rest);
	run->limit_us = next(rest) * S;
	return run;
}

static void do_queue(char *rest)
{
	struct scheduler_run *run = read_run(&rest);

	scheduler_queue(&scheduler, run, next(&rest));
}

static void do_park(char *rest)
{
	size_t id = next_id(&rest);

	scheduler_park(&scheduler, runs[id], next(&rest));
}

static void do_remove(char *rest)
{
	size_t id = next_id(&rest);

	scheduler_remove(&scheduler, runs[id], next(&rest) * S);
}

static void do_claim(char *rest)
{
	struct scheduler_run *run = read_run(&rest);
	int64_t from = next(&rest) * S, now = next(&rest) * S;
	size_t gpus[GPUS_MAX_HERE], count = 0;

	while (has_more(&rest))
		gpus[count++] = (size_t)next(&rest);
	scheduler_claim(&scheduler, run, gpus, count, from, now);
}

static size_t id_of(const struct scheduler_run *run)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (runs[i] == run)
			return i;
	die("a run of nobody's");
}

static void do_pass(char *rest)
{
	int64_t now = next(&rest) * S;
	bool known = next(&rest), look;
	size_t count = scheduler_pass(&scheduler, now, known, &look);

	printf("%d", look);
	for (size_t i = 0; i < count; i++) {
		const struct slots_grant *grant = &scheduler.given[i]->grant;

		printf(" %zu:", id_of(scheduler.given[i]));
		for (int64_t j = 0; j < grant->amount.gpus; j++)
			printf("%s%zu", j ? "," : "", grant->gpus[j]);
	}
	printf("\n");
}

static void do_explain(char *rest)
{
	static const char *const names[SCHEDULER_REASON_COUNT] = { "goes", "parked", "looking",
		"gpus", "memory", "cpus", "place", "behind", "user_runs", "user_cpus", "user_gpus",
		"too_large" };
	int64_t now = next(&rest) * S;
	const char *separator = "";

	scheduler_explain(&scheduler, now, next(&rest));
	for (size_t i = 0; i < RUNS_MAX; i++) {
		const struct scheduler_run *run = runs[i];

		if (!run || run->where != SCHEDULER_WAITS)
			continue;
		printf("%s%zu:%s:%zu:%zu", separator, i, names[run->wait.reason],
			run->wait.position, run->wait.before);
		separator = " ";
	}
	printf("\n");
}

static void do_usage(char *rest)
{
	int64_t now = next(&rest) * S;

	while (has_more(&rest))
		printf("%.17g ", fair_share_read(&scheduler.share, (uid_t)next(&rest), now));
	printf("\n");
}

static void do_sound(char *rest)
{
	_cleanup_(freep) const struct slots_grant **grants =
		mem_alloc(RUNS_MAX * sizeof(const struct slots_grant *));
	size_t count = 0;

	(void)rest;
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (runs[i])
			grants[count++] = &runs[i]->grant;
	printf("%d\n", slots_are_sound(&scheduler.slots, grants, count));
}

int main(void)
{
	static const struct {
		const char *name;
		void (*carry_out)(char *rest);
	} commands[] = {
		{ "machine", do_machine },
		{ "limits", do_limits },
		{ "aside", do_aside },
		{ "queue", do_queue },
		{ "park", do_park },
		{ "remove", do_remove },
		{ "claim", do_claim },
		{ "pass", do_pass },
		{ "explain", do_explain },
		{ "usage", do_usage },
		{ "sound", do_sound },
	};
	char line[4096];

	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line;
		const char *name = strsep(&rest, " \n");
		size_t i = 0;

		while (i < ARRAY_SIZE(commands) && strcmp(commands[i].name, name))
			i++;
		if (i == ARRAY_SIZE(commands))
			die(name);
		commands[i].carry_out(rest);
		fflush(stdout);
	}
	if (is_made)
		forget_all();
	return 0;
}
