/* SPDX-License-Identifier: MIT */
/* waiting - what a run in the queue waits for, in words; see waiting.h */
#include "cli/waiting.h"

#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/record.h"
#include "common/mem.h"
#include "common/run_state.h"

static bool is_queued(const struct json *record)
{
	const char *status = record_status(record);

	return !strcmp(status, run_state_name(RUN_QUEUED)) ||
	       !strcmp(status, run_state_name(RUN_NOT_STARTED));
}

static bool is_being_prepared(const struct json *record)
{
	const char *status = record_status(record);

	return !strcmp(status, run_state_name(RUN_PREPARING)) ||
	       !strcmp(status, run_state_name(RUN_STARTING));
}

/* The sentence without the words that a title says already; NULL: none. */
static const char *reason(const struct json *record)
{
	static const char said[] = "waits for ";
	const char *text = json_string(json_get(record, "waiting_for"));

	if (!text || !text[0])
		return NULL;
	return strncmp(text, said, sizeof(said) - 1) ? text : text + sizeof(said) - 1;
}

char *ordinal(int64_t number)
{
	static const char *const endings[] = { "th", "st", "nd", "rd" };
	int64_t last = number % 10;
	bool teen = number % 100 / 10 == 1;

	return mem_printf("%lld%s", (long long)number, endings[teen || last > 3 ? 0 : last]);
}

char *waiting_text(const struct json *record)
{
	int64_t position = json_int(json_get(record, "queue_position"));
	const char *sentence = json_string(json_get(record, "waiting_for"));
	_cleanup_(freep) char *place = NULL;

	if (!is_queued(record))
		return NULL;
	if (position > 0)
		place = ordinal(position);
	return mem_printf("%s in the queue%s%s", place ? place : "waiting",
		sentence && sentence[0] ? ": " : "", sentence ? sentence : "");
}

char *waiting_column(const struct json *record)
{
	int64_t position = json_int(json_get(record, "queue_position"));
	const char *why = reason(record);
	_cleanup_(freep) char *place = NULL;

	if (!is_queued(record) || (position <= 0 && !why))
		return NULL;
	if (position <= 0)
		return mem_strdup(why);
	place = ordinal(position);
	return mem_printf("%s%s%s", place, why ? ": " : "", why ? why : "");
}

static void tell_terminal(const struct json *record)
{
	_cleanup_(freep) char *text = waiting_text(record);
	_cleanup_(freep) char *line = text ? mem_printf("%s ...", text) : NULL;

	if (!line && is_being_prepared(record))
		line = mem_strdup("being prepared ...");
	say_status(line);
}

void waiting_tell(struct waiting *waiting, const struct json *record)
{
	_cleanup_(freep) char *text = NULL;

	waiting->asked = true;
	waiting->queued = is_queued(record);
	if (isatty(STDERR_FILENO)) {
		tell_terminal(record);
		return;
	}
	if (waiting->said || !waiting->queued || !reason(record))
		return;
	text = waiting_text(record);
	say("run %s: %s", record_id(record), text);
	waiting->said = true;
}

bool waiting_is_told(const struct waiting *waiting)
{
	return !isatty(STDERR_FILENO) && waiting->asked && (waiting->said || !waiting->queued);
}

int waiting_pause(const struct waiting *waiting, int most)
{
	if (!waiting->asked)
		return 1;
	return waiting->queued && !waiting_is_told(waiting) ? 1 : most;
}
