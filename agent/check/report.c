/* SPDX-License-Identifier: MIT */
/* report - what a look at the state folder found; see report.h */
#include "check/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "history/history.h"

#define PROGRESS_AFTER USEC_PER_SEC
#define PROGRESS_EVERY (USEC_PER_SEC / 5)

static const char *const part_names[CHECK_PART_COUNT] = {
	[CHECK_DATABASE] = "database",
	[CHECK_BLOBS] = "blobs",
	[CHECK_RUNS] = "runs",
};

void check_report_init(struct check_report *report, const char *state_dir)
{
	*report = (struct check_report){ .state_dir = state_dir, .format = -1 };
}

void check_report_release(struct check_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->findings[i].found);
	free(report->findings);
	report->findings = NULL;
}

void check_report_add(struct check_report *report, enum check_part part, bool problem, char *found,
	const char *advice)
{
	*(problem ? &report->problems : &report->notes) += 1;
	if (report->kept[part]++ >= CHECK_FINDINGS_MAX) {
		free(found);
		return;
	}
	GROW(report->findings, report->count, report->room);
	report->findings[report->count++] = (struct check_finding){
		.part = part,
		.problem = problem,
		.found = found,
		.advice = advice,
	};
}

/* ---- for people ---- */

static void print_database(const struct check_report *report)
{
	if (!report->has_history)
		puts("database: none yet");
	else if (report->format < 0)
		puts("database: cannot be read");
	else
		printf("database: format %d (this version makes %d), %" PRId64 " runs, %" PRId64
		       " of them not over\n",
			report->format, history_format(), report->runs, report->live_runs);
}

static void print_blobs(const struct check_report *report)
{
	const struct store_check_totals *store = &report->store;
	_cleanup_(freep) char *bytes = size_text((int64_t)store->bytes);
	_cleanup_(freep) char *spare = size_text((int64_t)store->unreferred_bytes);

	printf("blobs: %" PRIu64 " (%s), %s", store->blobs, bytes,
		report->blobs_read ? "compared with their digests" : "not read");
	if (report->referred)
		printf("; %" PRIu64 " (%s) that no run refers to", store->unreferred, spare);
	putchar('\n');
}

static void print_finding(const struct check_finding *finding)
{
	printf("%s: %s: %s\n", finding->problem ? "PROBLEM" : "note", part_names[finding->part],
		finding->found);
	if (finding->advice)
		printf("    -> %s\n", finding->advice);
}

static void print_rest(const struct check_report *report)
{
	for (size_t i = 0; i < CHECK_PART_COUNT; i++)
		if (report->kept[i] > CHECK_FINDINGS_MAX)
			printf("and %" PRIu64 " more of %s\n", report->kept[i] - CHECK_FINDINGS_MAX,
				part_names[i]);
}

void check_report_print(const struct check_report *report)
{
	printf("state folder: %s%s\n", report->state_dir,
		!report->exists  ? " is not there yet: the first daemon makes it"
		: report->in_use ? ", a daemon uses it"
				 : ", no daemon uses it");
	if (report->exists) {
		print_database(report);
		print_blobs(report);
		printf("runs: %" PRId64 " folders\n", report->folders);
	}
	for (size_t i = 0; i < report->count; i++)
		print_finding(&report->findings[i]);
	print_rest(report);
	if (report->problems)
		printf("%" PRIu64 " problem%s\n", report->problems,
			report->problems == 1 ? "" : "s");
	else
		puts("no problems found");
}

/* ---- for programs ---- */

static struct json *database_json(const struct check_report *report)
{
	struct json *json = json_new_object();

	json_set_bool(json, "exists", report->has_history);
	if (report->format < 0)
		json_set_null(json, "format");
	else
		json_set_int(json, "format", report->format);
	json_set_int(json, "known_format", history_format());
	json_set_int(json, "runs", report->runs);
	json_set_int(json, "live_runs", report->live_runs);
	json_set_time(json, "newest_run_utc", report->newest_us);
	return json;
}

static struct json *blobs_json(const struct check_report *report)
{
	const struct store_check_totals *store = &report->store;
	struct json *json = json_new_object();

	json_set_int(json, "count", (int64_t)store->blobs);
	json_set_int(json, "bytes", (int64_t)store->bytes);
	json_set_int(json, "compared", (int64_t)store->read);
	if (report->referred) {
		json_set_int(json, "unreferenced", (int64_t)store->unreferred);
		json_set_int(json, "unreferenced_bytes", (int64_t)store->unreferred_bytes);
	}
	json_set_int(json, "temporary", (int64_t)store->temporary);
	json_set_int(json, "temporary_bytes", (int64_t)store->temporary_bytes);
	return json;
}

static struct json *findings_json(const struct check_report *report)
{
	struct json *array = json_new_array();

	for (size_t i = 0; i < report->count; i++) {
		const struct check_finding *finding = &report->findings[i];
		struct json *json = json_new_object();

		json_set_string(json, "part", part_names[finding->part]);
		json_set_bool(json, "problem", finding->problem);
		json_set_string(json, "found", finding->found);
		json_set_string(json, "advice", finding->advice);
		json_append(array, json);
	}
	return array;
}

/* Frees it. */
static void print(struct json *json)
{
	_cleanup_(freep) char *text =
		isatty(STDOUT_FILENO) ? json_print_pretty(json) : json_print(json);

	puts(text);
	json_free(json);
}

void check_report_print_error(const struct check_report *report, const char *message)
{
	struct json *json = json_new_object();

	json_set_string(json, "state_directory", report->state_dir);
	json_set_string(json, "error", message);
	print(json);
}

void check_report_print_json(const struct check_report *report)
{
	struct json *json = json_new_object();
	struct json *runs = json_new_object();

	json_set_string(json, "state_directory", report->state_dir);
	json_set_bool(json, "exists", report->exists);
	json_set_bool(json, "in_use", report->in_use);
	json_set(json, "database", database_json(report));
	json_set(json, "blobs", blobs_json(report));
	json_set_int(runs, "folders", report->folders);
	json_set_int(runs, "folders_left", report->folders_left);
	json_set(json, "runs", runs);
	json_set(json, "findings", findings_json(report));
	json_set_int(json, "problems", (int64_t)report->problems);
	json_set_int(json, "notes", (int64_t)report->notes);
	print(json);
}

/* ---- on the way ---- */

static int64_t began_us, shown_us;

void check_report_progress(const struct store_check_progress *progress)
{
	int64_t now = clock_boot();
	_cleanup_(freep) char *total = NULL;
	double share;
	int64_t left;

	if (!began_us)
		began_us = now;
	if (now - began_us < PROGRESS_AFTER || now - shown_us < PROGRESS_EVERY ||
		!isatty(STDERR_FILENO) || !progress->total)
		return;
	shown_us = now;
	share = (double)progress->done / (double)progress->total;
	left = share > 0 ? (int64_t)((double)(now - began_us) * (1 / share - 1)) : 0;
	total = size_text((int64_t)progress->total);
	fprintf(stderr, "\r\033[Kamlagentd: reading blobs, %.0f %% of %s, %lld s left", share * 100,
		total, (long long)(left > 0 ? left / USEC_PER_SEC : 0));
	fflush(stderr);
}

void check_report_progress_end(void)
{
	if (shown_us)
		fputs("\r\033[K", stderr);
	began_us = shown_us = 0;
}
