/* SPDX-License-Identifier: MIT */
/* record - reading the run record that the daemon sends; see record.h */
#include "cli/record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/waiting.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/run_state.h"
#include "common/strv.h"

#define WAIT_SECONDS 3600 /* the most that the API takes */

char *run_target(const char *run, const char *fmt, ...)
{
	_cleanup_(freep) char *name = http_encode(run, false);
	_cleanup_(freep) char *rest = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&rest, fmt, args) < 0)
		abort();
	va_end(args);
	return mem_printf("/v1/runs/%s%s", name, rest);
}

static const char *text_or_unknown(const struct json *value)
{
	const char *text = json_string(value);

	return text ? text : "?";
}

const char *record_id(const struct json *record)
{
	return text_or_unknown(json_get(record, "run_id"));
}

const char *record_status(const struct json *record)
{
	return text_or_unknown(json_get(record, "status"));
}

const char *record_error_code(const struct json *record)
{
	return json_string(json_get(json_get(record, "error"), "code"));
}

bool record_is_over(const struct json *record)
{
	enum run_state state;

	return run_state_parse(record_status(record), &state) >= 0 && run_state_is_terminal(state);
}

int64_t record_time(const struct json *record, const char *key)
{
	const char *text = json_string(json_get(record, key));
	int64_t us = 0;

	if (text && clock_parse(text, &us) < 0)
		us = 0;
	return us;
}

int64_t record_duration(const struct json *record)
{
	int64_t start = record_time(record, "start_time_utc");
	int64_t end = record_time(record, "end_time_utc");

	if (!start || (!end && record_is_over(record)))
		return -1;
	return (end ? end : clock_utc()) - start;
}

const char *status_colour(const char *status)
{
	static const struct {
		enum run_state state;
		const char *colour;
	} colours[] = {
		{ RUN_COMPLETED, "\033[32m" },
		{ RUN_FAILED, "\033[31m" },
		{ RUN_CANCELED, "\033[33m" },
		{ RUN_CANCEL_REQUESTED, "\033[33m" },
		{ RUN_RUNNING, "\033[36m" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(colours); i++)
		if (!strcmp(status, run_state_name(colours[i].state)))
			return colours[i].colour;
	return NULL;
}

enum ending { BY_EXIT_CODE, BY_SIGNAL, BY_TIME_LIMIT, BY_CANCEL, BY_TROUBLE };

static enum ending record_ending(const struct json *record)
{
	static const enum ending endings[RUN_CAUSE_COUNT] = {
		[RUN_CAUSE_NONE] = BY_EXIT_CODE,
		[RUN_CAUSE_OUTPUT_ERROR] = BY_TROUBLE,
		[RUN_CAUSE_USER_ERROR] = BY_EXIT_CODE,
		[RUN_CAUSE_KILLED] = BY_SIGNAL,
		[RUN_CAUSE_OUT_OF_MEMORY] = BY_SIGNAL,
		[RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED] = BY_TIME_LIMIT,
		[RUN_CAUSE_CANCELED_BY_USER] = BY_CANCEL,
		[RUN_CAUSE_SETUP_ERROR] = BY_TROUBLE,
		[RUN_CAUSE_LOST] = BY_TROUBLE,
	};
	const char *code = record_error_code(record);
	enum run_cause cause = RUN_CAUSE_NONE;

	if (code && run_cause_parse(code, &cause) < 0)
		return BY_TROUBLE;
	return endings[cause];
}

static int exit_status(const struct json *record)
{
	const struct json *exit_code = json_get(record, "exit_code");
	int64_t number = json_int(json_get(record, "signal"));

	switch (record_ending(record)) {
	case BY_TIME_LIMIT:
		return EXIT_TIME_LIMIT;
	case BY_CANCEL:
		return EXIT_CANCELED;
	case BY_SIGNAL:
		return number > 0 && number < 128 ? 128 + (int)number : EXIT_TROUBLE;
	case BY_EXIT_CODE:
		/* Without a code it cannot be said to have ended well. */
		return json_is_number(exit_code) ? (int)(json_int(exit_code) & 0xff) : EXIT_TROUBLE;
	default:
		return EXIT_TROUBLE;
	}
}

int record_exit_status(const struct json *record)
{
	bool completed = !strcmp(record_status(record), run_state_name(RUN_COMPLETED));
	int status = exit_status(record);

	return status == EXIT_OK && !completed ? EXIT_TROUBLE : status;
}

char *record_gist(const struct json *record)
{
	const char *message = json_string(json_get(json_get(record, "error"), "message"));
	char *line = mem_strndup(message ? message : "", strcspn(message ? message : "", "\n"));
	size_t size = strlen(line);
	char *clause = strrchr(line, ';');

	/* "exited with code 3; the log ends with:" announces lines that are not shown here. */
	if (size && line[size - 1] == ':')
		*(clause ? clause : line + size - 1) = '\0';
	return line;
}

void record_say_end(const struct json *record, bool whole)
{
	const char *status = record_status(record);
	const char *code = record_error_code(record);
	const char *message = json_string(json_get(json_get(record, "error"), "message"));
	const char *id = record_id(record);
	_cleanup_(freep) char *gist = record_gist(record);

	if (!strcmp(status, run_state_name(RUN_COMPLETED)))
		return;
	if (!code || !gist[0])
		say("run %s: %s; `amlctl show %s` tells more", id, status, id);
	else if (whole)
		say("run %s: %s (%s): %s\n`amlctl show %s` tells more", id, status, code, message,
			id);
	else
		say("run %s: %s (%s): %s; `amlctl show %s` tells more", id, status, code, gist, id);
}

void record_say_warnings(const struct json *record)
{
	const struct json *warnings = json_get(record, "warnings");

	for (const struct json *w = json_first(warnings); w; w = json_next(w))
		if (json_string(w))
			say("warning: %s", json_string(w));
}

int record_gone(const char *run, struct error *err)
{
	*err = (struct error)ERROR_INIT;
	return error_set(err, -EREMOTEIO, "run_id",
		"run %s has been deleted; how it ended is not known", run);
}

int record_resolve_all(struct client *client, char *const *names, char ***ret, struct error *err)
{
	_cleanup_(strv_freep) char **ids = NULL;

	for (size_t i = 0; names[i]; i++) {
		_cleanup_(freep) char *target = run_target(names[i], "%s", "");
		_cleanup_(json_freep) struct json *record = NULL;
		int r = client_get(client, target, &record, err);

		if (r < 0)
			return r;
		if (!strv_contains(ids, record_id(record)))
			strv_add(&ids, record_id(record));
	}
	*ret = TAKE(ids);
	return 0;
}

void record_name_in_error(const char *run, struct error *err)
{
	_cleanup_(freep) char *begins = mem_printf("%s ", run);
	_cleanup_(freep) char *quoted = mem_printf("\"%s\"", run);

	if (strncmp(err->message, begins, strlen(begins)) != 0 && !strstr(err->message, quoted))
		error_prefix(err, run);
}

void print_records(const struct json *records)
{
	print_json(json_size(records) == 1 ? json_first(records) : records);
}

static int await_end(struct client *client, const char *run, struct json **ret, struct error *err)
{
	struct waiting waiting = { 0 };

	for (;;) {
		_cleanup_(json_freep) struct json *record = NULL;
		_cleanup_(freep) char *target =
			run_target(run, "?wait=%d", waiting_pause(&waiting, WAIT_SECONDS));
		int r = client_get(client, target, &record, err);

		if (r < 0)
			return r;
		waiting_tell(&waiting, record);
		if (record_is_over(record)) {
			*ret = TAKE(record);
			return 0;
		}
	}
}

int record_await(struct client *client, const char *run, struct json **ret, struct error *err)
{
	int64_t patience_ms = client->patience_ms;
	int r;

	client->patience_ms = 0;
	r = await_end(client, run, ret, err);
	client->patience_ms = patience_ms;
	return r;
}
