/* SPDX-License-Identifier: MIT */
/* run - what happens to a run, as events on its record; see run.h */
#include "runs/run.h"

#include "common/mem.h"

static void queued(struct run_record *record, const struct run_event *event)
{
	if (!record->queued_us)
		record->queued_us = event->at_us;
}

static void preparing(struct run_record *record, const struct run_event *event)
{
	mem_replace(&record->boot_id, event->boot_id);
}

static void starting(struct run_record *record, const struct run_event *event)
{
	mem_replace(&record->interpreter_path, event->interpreter_path);
	mem_replace(&record->interpreter_version, event->interpreter_version);
}

static void running(struct run_record *record, const struct run_event *event)
{
	record->start_us = event->at_us;
}

static void exited(struct run_record *record, const struct run_event *event)
{
	/* The clock may have been set back meanwhile. */
	record->end_us = event->at_us < record->start_us ? record->start_us : event->at_us;
}

static void ended(struct run_record *record, const struct run_event *event)
{
	record->cause = event->cause;
	mem_replace(&record->error_message, event->message);
	if (!record->end_us)
		record->end_us = event->at_us;
}

/* What an event leads to; END's state follows from its cause. */
static const struct {
	enum run_state to;
	void (*change)(struct run_record *record, const struct run_event *event);
} events[RUN_EVENT_COUNT] = {
	[RUN_EVENT_QUEUE] = { RUN_QUEUED, queued },
	[RUN_EVENT_PREPARE] = { RUN_PREPARING, preparing },
	[RUN_EVENT_START] = { RUN_STARTING, starting },
	[RUN_EVENT_RUNNING] = { RUN_RUNNING, running },
	[RUN_EVENT_CANCEL] = { RUN_CANCEL_REQUESTED, NULL },
	[RUN_EVENT_EXITED] = { RUN_FINALIZING, exited },
	[RUN_EVENT_END] = { RUN_COMPLETED, ended },
};

int run_apply(struct run_record *record, const struct run_event *event)
{
	enum run_state to = events[event->type].to;

	if (event->type == RUN_EVENT_END)
		to = run_cause_state(event->cause);
	if (!run_state_may_follow(record->state, to))
		return -EINVAL;
	record->state = to;
	if (events[event->type].change)
		events[event->type].change(record, event);
	return 0;
}
