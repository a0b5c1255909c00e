/* SPDX-License-Identifier: MIT */
/* api_queue - hold, release, drain, resume */
#include <string.h>

#include "api/api_internal.h"
#include "common/mem.h"

#define REASON_MAX 1000

static void changed(void *data, const struct run_record *record, const struct error *err)
{
	struct call *call = data;

	api_audit_result(call, record, err);
	if (record)
		api_reply_record(call, 200, record);
	else
		api_reply_error(call, err);
}

/* A body says nothing to these: it is empty, or an empty object. */
static bool has_no_keys(struct call *call)
{
	_cleanup_(json_freep) struct json *body = NULL;
	struct error err = ERROR_INIT;

	if (api_read_body(call, true, &body) < 0)
		return false;
	if (json_read(body, NULL, 0, NULL, NULL, &err) >= 0)
		return true;
	changed(call, NULL, &err);
	return false;
}

void queue_hold(struct call *call)
{
	if (api_names_await(call, queue_hold) && has_no_keys(call))
		run_manager_hold(call->api->options.runs, call->run_id, call->viewer.sees.uid,
			changed, call);
}

/* What another has held, an admin that is, its owner does not release. */
static bool may_release(struct call *call)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };

	if (call->viewer.sees.all ||
		run_manager_get(call->api->options.runs, call->run_id, &record) < 0 ||
		!run_record_is_held_by_other(&record))
		return true;
	access_refuse(call, call->run_id,
		"%s is held by %s: only an admin may release it; ask %s or another", call->run_id,
		record.held_by, record.held_by);
	return false;
}

void queue_release(struct call *call)
{
	if (has_no_keys(call) && may_release(call))
		run_manager_release(call->api->options.runs, call->run_id, call->viewer.sees.uid,
			changed, call);
}

static int read_reason(const struct json *value, const char *path, void *to, struct error *err)
{
	if (json_is_string(value) && strlen(json_string(value)) > REASON_MAX)
		return error_set(err, -EINVAL, path, "%s: longer than %d bytes", path, REASON_MAX);
	return json_read_string(value, path, to, err);
}

static const struct json_field drain_fields[] = { { "reason", read_reason, 0, 0 } };

/* The answer is the daemon's status as it is then. */
static void drained(void *data, const struct run_record *record, const struct error *err)
{
	struct call *call = data;

	api_audit_result(call, record, err);
	if (err->code)
		api_reply_error(call, err);
	else
		api_reply_json(call, 200, status_json(call));
}

void queue_drain(struct call *call)
{
	_cleanup_(json_freep) struct json *body = NULL;
	struct error err = ERROR_INIT;

	if (!api_names_await(call, queue_drain) || api_read_body(call, true, &body) < 0)
		return;
	if (json_read(body, drain_fields, ARRAY_SIZE(drain_fields), &call->reason, NULL, &err) < 0)
		drained(call, NULL, &err);
	else
		run_manager_drain(call->api->options.runs, call->viewer.sees.uid,
			call->reason ? call->reason : "", drained, call);
}

void queue_resume(struct call *call)
{
	if (api_names_await(call, queue_resume) && has_no_keys(call))
		run_manager_resume(call->api->options.runs, call->viewer.sees.uid, drained, call);
}
