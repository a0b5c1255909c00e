/* SPDX-License-Identifier: MIT */
/*
 * api_audit - what a call has changed, or was refused, told to the audit before its answer
 *
 * An audit line names the user, and names come from the name service, which may block: a call whose
 * user is not known yet waits with its answer until he is (api_names.c).
 */
#include "api/api_internal.h"
#include "common/audit.h"
#include "common/mem.h"

static void tell(struct call *call, const char *name)
{
	struct call_event *event = &call->event;
	const char *action = call->action ? call->action : call->route ? call->route->action : NULL;

	audit(&(struct audit_event){
		.action = action ? action : "read",
		.user = name,
		.uid = call->viewer.sees.uid,
		.pid = call->viewer.pid,
		.run_id = event->run_id,
		.result = event->result,
		.reason = event->reason,
	});
	free(event->run_id);
	free(event->reason);
	*event = (struct call_event){ 0 };
}

void api_audit(struct call *call, const char *run_id, const char *result, const char *reason)
{
	const char *name;

	call->audited = true;
	call->event = (struct call_event){ result, mem_strdup(run_id), mem_strdup(reason) };
	if (api_names_get(call->api->names, call, &name))
		tell(call, name);
}

/* -EPERM is a refusal: one may not ask for so high a priority. */
void api_audit_result(struct call *call, const struct run_record *record, const struct error *err)
{
	const char *run_id = record ? record->run_id : call->run_id;

	if (record || !err->code)
		api_audit(call, run_id, AUDIT_OK,
			call->reason && call->reason[0] ? call->reason : NULL);
	else
		api_audit(call, run_id, err->code == -EPERM ? AUDIT_DENIED : AUDIT_ERROR,
			err->message);
}

void api_named(struct call *call, const char *name)
{
	tell(call, name);
	api_send_answer(call);
}

void api_audit_failure(struct call *call, const struct error *err)
{
	if (!call->audited && call->route && call->route->action)
		api_audit(call, call->run_id, AUDIT_ERROR, err->message);
}

/* What is not answered has been refused below us (its body is too large), or its client has left. */
void api_audit_end(struct call *call)
{
	static const struct error cut_off = { .message = "the request did not come to its end" };

	api_audit_failure(call, &cut_off);
	if (!call->event.result)
		return;
	api_names_forget(call);
	tell(call, NULL);
}
