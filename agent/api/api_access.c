/* SPDX-License-Identifier: MIT */
/* api_access - who may do what: the one place where it is decided; see api.h */
#include <string.h>

#include "api/api_internal.h"
#include "common/audit.h"
#include "common/mem.h"

static bool is_member(const struct viewer *viewer, gid_t gid)
{
	for (size_t i = 0; gid != API_NO_GROUP && i < viewer->sees.group_count; i++)
		if (viewer->sees.groups[i] == gid)
			return true;
	return false;
}

static bool is_admin(const struct api_access *access, const struct viewer *viewer)
{
	uid_t uid = viewer->sees.uid;

	return uid == 0 || uid == geteuid() ||
	       (access->system && is_member(viewer, access->admin_gid));
}

void access_look(struct call *call)
{
	struct viewer *viewer = &call->viewer;

	viewer->pid = http_request_pid(call->request);
	viewer->sees.uid = http_request_uid(call->request);
	viewer->sees.groups = http_request_groups(call->request, &viewer->sees.group_count);
	viewer->sees.all = is_admin(&call->api->options.access, viewer);
	/* Where there are others' runs, `amlctl cancel latest` is not about theirs. */
	viewer->sees.own_latest = call->api->options.access.system;
}

void access_refuse(struct call *call, const char *run_id, const char *fmt, ...)
{
	struct error err = { .code = -EPERM };
	va_list args;

	va_start(args, fmt);
	vsnprintf(err.message, sizeof(err.message), fmt, args);
	va_end(args);
	api_audit(call, run_id, AUDIT_DENIED, err.message);
	api_reply_error(call, &err);
}

bool access_is_served(struct call *call)
{
	const struct api_access *access = &call->api->options.access;

	if (call->viewer.sees.all || (call->route && call->route->access == ACCESS_EVERYBODY))
		return true;
	if (!access->system) {
		access_refuse(call, NULL, "this daemon belongs to another user");
		return false;
	}
	if (access->users_gid == API_NO_GROUP || is_member(&call->viewer, access->users_gid))
		return true;
	access_refuse(call, NULL,
		"amlagent serves the members of the group %s on this machine, and you are none; "
		"ask its administrator",
		access->users_group);
	return false;
}

int access_no_run(int r, const char *target, const char *name, struct error *err)
{
	if (r == -ENOTUNIQ)
		return error_set(err, r, target,
			"\"%.200s\" is the beginning of more than one run's id", name);
	if (r == -ENOENT)
		return error_set(err, r, target,
			"no run \"%.200s\"; `amlctl list` shows what there is", name);
	return error_ours(err, r, NULL, "cannot read the history");
}

void access_reply_no_run(struct call *call, int r)
{
	struct error err = ERROR_INIT;

	access_no_run(r, "run_id", call->run_id, &err);
	api_reply_error(call, &err);
}

bool access_is_gone(struct call *call)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	int r = run_manager_get(call->api->options.runs, call->run_id, &record);

	if (r >= 0)
		return false;
	access_reply_no_run(call, r);
	return true;
}

/* Who asks is told of nothing; the audit is, when he has named such a run: by its whole id, and not by
 * what for him may have meant another. */
static void audit_unseen(struct call *call, const char *name)
{
	_cleanup_(freep) char *run_id = NULL;

	if (run_manager_resolve(call->api->options.runs, NULL, name, &run_id) >= 0 &&
		!strcmp(run_id, name))
		api_audit(call, run_id, AUDIT_DENIED, "the run is not shared with this user");
}

static bool is_seen(struct call *call, const char *name)
{
	struct error err = ERROR_INIT;
	int r = run_manager_resolve(
		call->api->options.runs, &call->viewer.sees, name, &call->run_id);

	if (r >= 0)
		return true;
	if (r == -ENOENT)
		audit_unseen(call, name);
	access_no_run(r, "run_id", name, &err);
	api_reply_error(call, &err);
	return false;
}

bool access_is_foreign(const struct call *call, const struct run_record *record)
{
	return record->owner != call->viewer.sees.uid;
}

static bool is_own(struct call *call)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };
	int r;

	if (call->viewer.sees.all)
		return true;
	r = run_manager_get(call->api->options.runs, call->run_id, &record);
	if (r < 0) {
		access_reply_no_run(call, r);
		return false;
	}
	if (!access_is_foreign(call, &record))
		return true;
	access_refuse(call, call->run_id, "%s belongs to %s: only %s and admins may change it",
		call->run_id, record.submitted_by, record.submitted_by);
	return false;
}

static bool is_for_admins(struct call *call)
{
	const struct api_access *access = &call->api->options.access;
	bool named = access->admin_gid != API_NO_GROUP;

	if (call->viewer.sees.all)
		return true;
	access_refuse(call, NULL, "this is for admins: root%s%s",
		named ? " and the members of the group " : "", named ? access->admin_group : "");
	return false;
}

bool access_is_given(struct call *call, const char *run)
{
	switch (call->route->access) {
	case ACCESS_EVERYBODY:
	case ACCESS_ANY:
		return true;
	case ACCESS_READ:
		return is_seen(call, run);
	case ACCESS_OWN:
		return is_seen(call, run) && is_own(call);
	case ACCESS_ADMIN:
		return is_for_admins(call);
	}
	return false;
}
