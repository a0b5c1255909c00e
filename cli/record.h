/* SPDX-License-Identifier: MIT */
/*
 * record - reading the run record that the daemon sends (docs/api.md), and saying it to people
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cli/client.h"
#include "common/json.h"

/* "/v1/runs/{run}" and what the format makes; malloc'ed. The run's name is encoded. */
char *run_target(const char *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Never NULL: "?" when the record has none. */
const char *record_id(const struct json *record);
const char *record_status(const struct json *record);
const char *record_error_code(const struct json *record);
bool record_is_over(const struct json *record);
/* UTC microseconds, 0 when it is null. */
int64_t record_time(const struct json *record, const char *key);
/* How long it ran, until now if it still does; -1 when it never did. */
int64_t record_duration(const struct json *record);
/* An escape sequence, NULL for none. */
const char *status_colour(const char *status);

/* What `run` and `wait` exit with for a run that is over (contract, section 3). */
int record_exit_status(const struct json *record);
/* The first line of the error's message, "" when there is none; malloc'ed. */
char *record_gist(const struct json *record);
/* On stderr: why it did not complete and where to look; nothing for one that did. whole: all lines
 * of the message, else its gist. */
void record_say_end(const struct json *record, bool whole);
void record_say_warnings(const struct json *record);

/* In place of the daemon's answer that there is no such run (client_found_none()). Returns the errno. */
int record_gone(const char *run, struct error *err);

/* The ids of all that is named, each once, as a strv: a name that is none changes nothing. */
int record_resolve_all(struct client *client, char *const *names, char ***ret, struct error *err);
/* Whose error it is, before the message: unless that begins with the run, or quotes it. */
void record_name_in_error(const char *run, struct error *err);
/* What stdout gets for several RUNs with -o json: the record of the one, or an array. */
void print_records(const struct json *records);

/* Read the record, waiting until the run is over, and saying on stderr what it waits for
 * (waiting.h); client's errors. */
int record_await(struct client *client, const char *run, struct json **ret, struct error *err);
