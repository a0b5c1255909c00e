/* SPDX-License-Identifier: MIT */
/*
 * run - what happens to a run, as events on its record
 *
 * run_apply() changes the record and nothing else: no disk, no processes, no clock. It is the only
 * place where `state` changes, and the table in run_state.c says what may follow what; an event
 * that does not fit is refused and the record is as it was. What is due in a state is
 * run_manager.c's business (act()), any number of times.
 *
 * Threads: the loop's. Errors: -EINVAL when the event does not fit the state.
 */
#pragma once

#include "history/history.h"

enum run_event_type {
	RUN_EVENT_QUEUE,   /* its snapshot is taken; or: preparing starts afresh after a restart */
	RUN_EVENT_PREPARE, /* it has a slot; boot_id */
	RUN_EVENT_START,   /* laid out; interpreter known */
	RUN_EVENT_RUNNING, /* the command runs; at_us */
	RUN_EVENT_CANCEL,  /* asked to stop; by */
	RUN_EVENT_EXITED,  /* nothing of it is left; at_us is the end */
	RUN_EVENT_END,     /* over: cause, message, ... */
	RUN_EVENT_COUNT,
};

struct run_event {
	enum run_event_type type;
	int64_t at_us; /* UTC */
	const char *boot_id;
	const char *interpreter_path, *interpreter_version;
	enum run_cause cause;
	const char *message; /* NULL: no error */
};

int run_apply(struct run_record *record, const struct run_event *event);
