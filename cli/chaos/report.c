/* SPDX-License-Identifier: MIT */
/* report - what a chaos run says; see report.h */
#include "cli/chaos/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "cli/table.h"
#include "common/clock.h"
#include "common/mem.h"

#define PROGRESS_US 200000

static int64_t now_us(const struct chaos_tally *tally)
{
	int64_t us = clock_boot() - tally->started_us;

	return us > 0 ? us : 1;
}

void chaos_report_progress(const struct chaos_tally *tally, int64_t rounds)
{
	static int64_t last;
	int64_t us = now_us(tally);
	_cleanup_(freep) char *left = NULL;
	_cleanup_(freep) char *line = NULL;

	if (!tally->rounds || us - last < PROGRESS_US)
		return;
	last = us;
	left = time_duration(us / tally->rounds * (rounds - tally->rounds));
	line = mem_printf("round %" PRId64 " of %" PRId64 ", %" PRId64 " runs, lost %" PRId64
			  ", other faults %" PRId64 ", %s left",
		tally->rounds, rounds, tally->acknowledged, tally->faults[CHAOS_LOST],
		(int64_t)tally->entry_count - tally->faults[CHAOS_LOST], left);
	say_status(line);
}

/* ---- for people ---- */

/* 1234567 -> "1,234,567" */
static char *grouped(int64_t number)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	char digits[24];
	int size = snprintf(digits, sizeof(digits), "%" PRId64, number);

	for (int i = 0; i < size; i++) {
		if (i && (size - i) % 3 == 0)
			strbuf_addc(&out, ',');
		strbuf_addc(&out, digits[i]);
	}
	return strbuf_steal(&out);
}

static void add_count(struct strbuf *out, const char *before, const char *name, int64_t count)
{
	_cleanup_(freep) char *text = grouped(count);

	strbuf_addf(out, "%s%s %s", before, name, text);
}

static void print_kills(const struct chaos_tally *tally)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	add_count(&out, "", "kills tried", chaos_tally_kills(tally));
	for (int i = 0; i < CHAOS_KILL_COUNT; i++)
		add_count(&out, i ? ", " : " (", chaos_kill_name((enum chaos_kill)i),
			tally->kills[i]);
	strbuf_addc(&out, ')');
	puts(out.data);
}

static void print_in_flight(const struct chaos_tally *tally)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	add_count(&out, "runs in flight when a kill struck (waiting or running) ", "median",
		chaos_samples_median(&tally->in_flight));
	add_count(&out, ", ", "max", chaos_samples_max(&tally->in_flight));
	puts(out.data);
}

static void print_runs(const struct chaos_tally *tally)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	add_count(&out, "", "runs acknowledged", tally->acknowledged);
	add_count(&out, ", ", "submits cut off", tally->unanswered);
	add_count(&out, " (", "of these accepted", tally->unanswered_kept);
	add_count(&out, "), ", "deleted", tally->deleted);
	add_count(&out, ", ", "logs followed through it", tally->followed);
	puts(out.data);
}

static void print_faults(const struct chaos_tally *tally)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	for (int i = 0; i < CHAOS_FAULT_COUNT; i++)
		add_count(&out, i ? " \302\267 " : "", chaos_fault_name((enum chaos_fault)i),
			tally->faults[i]);
	puts(out.data);
}

static void print_times(const struct chaos_tally *tally)
{
	_cleanup_(freep) char *median = time_duration(chaos_samples_median(&tally->recoveries));
	_cleanup_(freep) char *max = time_duration(chaos_samples_max(&tally->recoveries));
	_cleanup_(freep) char *all = time_duration(now_us(tally));

	printf("recovery median %s, max %s (start of the program to ready) \302\267 took %s"
	       " \302\267 seed %" PRIu64 "%s\n",
		median, max, all, tally->seed,
		tally->state_checks ? "" : " \302\267 this amlagentd cannot check its state");
}

static void print_verdicts(const struct chaos_tally *tally)
{
	struct table_column columns[1 + CHAOS_VERDICT_COUNT] = { { "RUN", TABLE_LEFT, false } };
	_cleanup_(table_release) struct table table;

	for (int i = 0; i < CHAOS_VERDICT_COUNT; i++)
		columns[1 + i] = (struct table_column){ chaos_verdict_name((enum chaos_verdict)i),
			TABLE_RIGHT, false };
	table_init(&table, columns, ARRAY_SIZE(columns));
	for (int kind = 0; kind < CHAOS_JOB_KINDS; kind++) {
		table_add(&table, chaos_job_kind_name((enum chaos_job_kind)kind));
		for (int i = 0; i < CHAOS_VERDICT_COUNT; i++)
			table_addf(&table, "%" PRId64, tally->verdicts[kind][i]);
	}
	table_print(&table);
}

static void print_fault(const struct chaos_fault_entry *entry)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;

	strbuf_addf(&line, "%s", chaos_fault_name(entry->fault));
	if (entry->run_id)
		strbuf_addf(&line, " %s", entry->run_id);
	strbuf_adds(&line, ": ");
	text_escape(&line, entry->evidence);
	puts(line.data);
}

static void print_text(const struct chaos_tally *tally, const char *kept, bool early)
{
	print_kills(tally);
	print_in_flight(tally);
	print_runs(tally);
	print_faults(tally);
	print_times(tally);
	putchar('\n');
	print_verdicts(tally);
	if (tally->entry_count)
		putchar('\n');
	for (size_t i = 0; i < tally->entry_count; i++)
		print_fault(&tally->entries[i]);
	if (chaos_tally_is_full(tally))
		puts("ended early: so many faults are enough");
	if (early)
		puts("ended early by a signal: the runs that were under way have not been checked");
	if (kept)
		printf("the folder is kept for a look: %s\n", kept);
}

/* ---- as JSON ---- */

static struct json *kills_json(const struct chaos_tally *tally)
{
	struct json *kills = json_new_object();

	json_set_int(kills, "total", chaos_tally_kills(tally));
	for (int i = 0; i < CHAOS_KILL_COUNT; i++)
		json_set_int(kills, chaos_kill_key((enum chaos_kill)i), tally->kills[i]);
	return kills;
}

static struct json *in_flight_json(const struct chaos_tally *tally)
{
	struct json *in_flight = json_new_object();

	json_set_int(in_flight, "median", chaos_samples_median(&tally->in_flight));
	json_set_int(in_flight, "max", chaos_samples_max(&tally->in_flight));
	return in_flight;
}

static struct json *runs_json(const struct chaos_tally *tally)
{
	struct json *runs = json_new_object();

	json_set_int(runs, "acknowledged", tally->acknowledged);
	json_set_int(runs, "unanswered", tally->unanswered);
	json_set_int(runs, "unanswered_accepted", tally->unanswered_kept);
	json_set_int(runs, "refused", tally->refused);
	json_set_int(runs, "deleted", tally->deleted);
	json_set_int(runs, "logs_followed", tally->followed);
	return runs;
}

static struct json *counts_json(const struct chaos_tally *tally)
{
	struct json *counts = json_new_object();

	for (int i = 0; i < CHAOS_FAULT_COUNT; i++)
		json_set_int(counts, chaos_fault_key((enum chaos_fault)i), tally->faults[i]);
	return counts;
}

static struct json *verdicts_json(const struct chaos_tally *tally)
{
	struct json *table = json_new_array();

	for (int kind = 0; kind < CHAOS_JOB_KINDS; kind++) {
		struct json *row = json_new_object();

		json_set_string(row, "run", chaos_job_kind_name((enum chaos_job_kind)kind));
		for (int i = 0; i < CHAOS_VERDICT_COUNT; i++)
			json_set_int(row, chaos_verdict_key((enum chaos_verdict)i),
				tally->verdicts[kind][i]);
		json_append(table, row);
	}
	return table;
}

static struct json *faults_json(const struct chaos_tally *tally)
{
	struct json *faults = json_new_array();

	for (size_t i = 0; i < tally->entry_count; i++) {
		struct json *fault = json_new_object();

		json_set_string(fault, "fault", chaos_fault_key(tally->entries[i].fault));
		json_set_string(fault, "run_id", tally->entries[i].run_id);
		json_set_string(fault, "evidence", tally->entries[i].evidence);
		json_append(faults, fault);
	}
	return faults;
}

static struct json *recovery_json(const struct chaos_tally *tally)
{
	struct json *recovery = json_new_object();

	json_set_int(recovery, "restarts", (int64_t)tally->recoveries.count);
	json_set_real(recovery, "median_seconds",
		(double)chaos_samples_median(&tally->recoveries) / (double)USEC_PER_SEC);
	json_set_real(recovery, "max_seconds",
		(double)chaos_samples_max(&tally->recoveries) / (double)USEC_PER_SEC);
	return recovery;
}

static void print_as_json(const struct chaos_tally *tally, const char *kept, bool early)
{
	_cleanup_(json_freep) struct json *all = json_new_object();

	json_set_int(all, "seed", (int64_t)tally->seed);
	json_set_int(all, "rounds", tally->rounds);
	json_set_real(all, "seconds", (double)now_us(tally) / (double)USEC_PER_SEC);
	json_set_bool(all, "interrupted", early);
	json_set(all, "kills", kills_json(tally));
	json_set(all, "runs_in_flight", in_flight_json(tally));
	json_set(all, "runs", runs_json(tally));
	json_set(all, "counts", counts_json(tally));
	json_set(all, "recovery", recovery_json(tally));
	json_set_int(all, "state_checks", tally->state_checks);
	json_set(all, "verdicts", verdicts_json(tally));
	json_set(all, "faults", faults_json(tally));
	json_set_string(all, "kept_directory", kept);
	print_json(all);
}

void chaos_report(const struct chaos_tally *tally, const char *kept, bool early, bool json)
{
	say_status(NULL);
	if (json)
		print_as_json(tally, kept, early);
	else
		print_text(tally, kept, early);
}
