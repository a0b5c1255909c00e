/* SPDX-License-Identifier: MIT */
/* tally - what was tried and what became of it; see tally.h */
#include "cli/chaos/tally.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

struct name {
	const char *text;
	const char *key;
};

static const struct name kill_names[CHAOS_KILL_COUNT] = {
	[CHAOS_KILL_DAEMON] = { "daemon", "daemon" },
	[CHAOS_KILL_SUBMIT] = { "in mid-submit", "in_mid_submit" },
	[CHAOS_KILL_START] = { "while it starts", "while_starting" },
	[CHAOS_KILL_TERM] = { "restart", "restart" },
	[CHAOS_KILL_SUPERVISOR] = { "supervisor", "supervisor" },
	[CHAOS_KILL_BOTH] = { "both", "both" },
};

static const struct name fault_names[CHAOS_FAULT_COUNT] = {
	[CHAOS_LOST] = { "lost", "lost" },
	[CHAOS_WRONG] = { "wrong", "wrong" },
	[CHAOS_TWICE] = { "started twice", "started_twice" },
	[CHAOS_LEFTOVER] = { "left-over processes", "left_over_processes" },
	[CHAOS_LOG] = { "logs with bytes missing or repeated", "logs_damaged" },
	[CHAOS_OUTPUT] = { "outputs missing or damaged", "outputs_damaged" },
	[CHAOS_SLOT] = { "slots held", "slots_held" },
	[CHAOS_STUCK] = { "stuck", "stuck" },
	[CHAOS_DAEMON] = { "daemon failures", "daemon_failures" },
	[CHAOS_STATE] = { "damaged states", "damaged_states" },
};

static const struct name verdict_names[CHAOS_VERDICT_COUNT] = {
	[CHAOS_COMPLETED] = { "COMPLETED", "completed" },
	[CHAOS_FAILED] = { "FAILED", "failed" },
	[CHAOS_CANCELED] = { "CANCELED", "canceled" },
	[CHAOS_SUPERVISOR_KILLED] = { "SUPERVISOR KILLED", "supervisor_killed" },
	[CHAOS_BAD] = { "LOST OR WRONG", "lost_or_wrong" },
};

const char *chaos_kill_name(enum chaos_kill kill)
{
	return kill_names[kill].text;
}

const char *chaos_kill_key(enum chaos_kill kill)
{
	return kill_names[kill].key;
}

const char *chaos_fault_name(enum chaos_fault fault)
{
	return fault_names[fault].text;
}

const char *chaos_fault_key(enum chaos_fault fault)
{
	return fault_names[fault].key;
}

const char *chaos_verdict_name(enum chaos_verdict verdict)
{
	return verdict_names[verdict].text;
}

const char *chaos_verdict_key(enum chaos_verdict verdict)
{
	return verdict_names[verdict].key;
}

void chaos_tally_release(struct chaos_tally *tally)
{
	for (size_t i = 0; i < tally->entry_count; i++) {
		free(tally->entries[i].run_id);
		free(tally->entries[i].evidence);
	}
	free(tally->entries);
	free(tally->recoveries.values);
	free(tally->in_flight.values);
	*tally = (struct chaos_tally){ 0 };
}

void chaos_tally_fault(
	struct chaos_tally *tally, enum chaos_fault fault, const char *run_id, const char *fmt, ...)
{
	struct chaos_fault_entry entry = { .fault = fault, .run_id = mem_strdup(run_id) };
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&entry.evidence, fmt, args) < 0)
		abort();
	va_end(args);
	tally->faults[fault]++;
	GROW(tally->entries, tally->entry_count, tally->entry_room);
	tally->entries[tally->entry_count++] = entry;
}

bool chaos_tally_is_clean(const struct chaos_tally *tally)
{
	return tally->entry_count == 0;
}

bool chaos_tally_is_full(const struct chaos_tally *tally)
{
	return tally->entry_count >= CHAOS_FAULTS_MAX;
}

void chaos_samples_add(struct chaos_samples *samples, int64_t value)
{
	GROW(samples->values, samples->count, samples->room);
	samples->values[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a;
	int64_t right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

int64_t chaos_samples_median(const struct chaos_samples *samples)
{
	_cleanup_(freep) int64_t *sorted = NULL;
	size_t count = samples->count;

	if (!count)
		return 0;
	sorted = mem_dup(samples->values, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare);
	return sorted[count / 2];
}

int64_t chaos_samples_max(const struct chaos_samples *samples)
{
	int64_t max = 0;

	for (size_t i = 0; i < samples->count; i++)
		if (samples->values[i] > max)
			max = samples->values[i];
	return max;
}

int64_t chaos_tally_kills(const struct chaos_tally *tally)
{
	int64_t sum = 0;

	for (size_t i = 0; i < CHAOS_KILL_COUNT; i++)
		sum += tally->kills[i];
	return sum;
}
