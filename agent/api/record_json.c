/* SPDX-License-Identifier: MIT */
/* record_json - the run record and artifacts as docs/api.md shows them, to those who may see them */
#include <string.h>

#include "api/api_internal.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/run_state.h"

static struct json *error_json(const struct run_record *record)
{
	struct json *error;

	if (record->cause == RUN_CAUSE_NONE)
		return json_new_null();
	error = json_new_object();
	json_set_string(error, "code", run_cause_name(record->cause));
	json_set_string(error, "message", record->error_message ? record->error_message : "");
	return error;
}

static struct json *used_json(const struct run_record *record)
{
	struct json *used;

	if (!record->used_known)
		return json_new_null();
	used = json_new_object();
	json_set_real(used, "wall_seconds", (double)record->wall_us / 1e6);
	json_set_real(used, "user_cpu_seconds", (double)record->user_us / 1e6);
	json_set_real(used, "system_cpu_seconds", (double)record->system_us / 1e6);
	json_set_int(used, "peak_memory_bytes", record->peak_bytes);
	return used;
}

static struct json *interpreter_json(const struct run_record *record)
{
	struct json *interpreter;

	if (!record->interpreter_path)
		return json_new_null();
	interpreter = json_new_object();
	json_set_string(interpreter, "path", record->interpreter_path);
	json_set_string(interpreter, "version", record->interpreter_version);
	return interpreter;
}

static struct json *log_files_json(const struct run_record *record)
{
	struct json *files = json_new_object();
	_cleanup_(freep) char *href =
		mem_printf("/v1/runs/%s/logs/%s", record->run_id, RUN_LOG_ARTIFACT);

	/* Before it has started there is nothing to read; a run that failed in set-up has no log.
	 */
	if (record->start_us)
		json_set_string(files, RUN_LOG_ARTIFACT, href);
	return files;
}

/* ---- what not everybody sees ---- */

/* A record as one viewer may see it. */
struct view {
	struct api *api;
	const struct viewer *viewer;
	const struct run_record *record;
	bool whole; /* he is its owner or an admin */
};

/* Of a run that it follows another viewer of it may not know. */
static bool sees_run(const struct view *view, const char *run_id)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };

	return view->whole || (run_manager_get(view->api->options.runs, run_id, &record) >= 0 &&
				      history_viewer_sees(&view->viewer->sees, &record));
}

/* entry: "afterok:ID" or "afterany:ID". */
static const char *after_run(const char *entry)
{
	const char *colon = strchr(entry, ':');

	return colon ? colon + 1 : entry;
}

static struct json *after_json(const struct view *view)
{
	struct json *array = json_new_array();

	for (char **entry = view->record->after; entry && *entry; entry++) {
		struct run_after after = {
			.run_id = (char *)(uintptr_t)after_run(*entry),
			.any = !strncmp(*entry, RUN_AFTER_ANY ":", sizeof(RUN_AFTER_ANY)),
		};

		if (sees_run(view, after.run_id))
			json_append(array, run_after_json(&after));
	}
	return array;
}

/* The names are no secret, the values may be. */
static struct json *masked_variables(const struct json *variables)
{
	struct json *masked = json_new_object();

	for (const struct json *m = json_first(variables); m; m = json_next(m))
		json_set_string(masked, json_key(m), "");
	return masked;
}

static struct json *masked_environment(const struct json *environment)
{
	struct json *masked = json_new_object();

	for (const struct json *m = json_first(environment); m; m = json_next(m))
		json_set(masked, json_key(m),
			strcmp(json_key(m), "environment_variables") ? json_copy(m)
								     : masked_variables(m));
	return masked;
}

static struct json *masked_definition(const struct view *view, const struct json *definition)
{
	struct json *masked = json_new_object();

	for (const struct json *m = json_first(definition); m; m = json_next(m)) {
		const char *key = json_key(m);

		if (!strcmp(key, "environment"))
			json_set(masked, key, masked_environment(m));
		else if (!strcmp(key, "after"))
			json_set(masked, key, after_json(view));
		else
			json_set(masked, key, json_copy(m));
	}
	return masked;
}

static struct json *definition_json(const struct view *view)
{
	const char *text = view->record->definition;
	struct json *definition, *masked;

	if (!text || json_parse(text, strlen(text), &definition, NULL) < 0)
		return json_new_null();
	if (view->whole)
		return definition;
	masked = masked_definition(view, definition);
	json_free(definition);
	return masked;
}

/* ---- the queue ---- */

/* The sentence may name a run that it follows. */
static bool may_say(const struct view *view, const char *sentence)
{
	for (char **entry = view->record->after; entry && *entry; entry++)
		if (strstr(sentence, after_run(*entry)) && !sees_run(view, after_run(*entry)))
			return false;
	return true;
}

static struct json *granted_json(const struct run_record *record)
{
	struct json *json = json_new_object();

	json_set_int(json, "cpus", record->cpus);
	if (record->memory_bytes)
		json_set_int(json, "memory_bytes", record->memory_bytes);
	else
		json_set_null(json, "memory_bytes");
	json_set_strv(json, "gpus", record->gpu_ids);
	return json;
}

static void add_queue(const struct view *view, struct json *json)
{
	const struct run_record *record = view->record;
	struct queue_info info = { 0 };

	if (!run_state_is_terminal(record->state))
		run_manager_queue_info(view->api->options.runs, record->run_id, &info);
	if (info.position > 0)
		json_set_int(json, "queue_position", info.position);
	else
		json_set_null(json, "queue_position");
	if (info.waiting_for && !may_say(view, info.waiting_for))
		json_set_string(json, "waiting_for", "waits for another run to end");
	else
		json_set_string(json, "waiting_for", info.waiting_for);
	json_set(json, "resources_granted", info.granted ? granted_json(record) : json_new_null());
	queue_info_release(&info);
}

static void set_number(struct json *object, const char *key, int number, bool known)
{
	if (known)
		json_set_int(object, key, number);
	else
		json_set_null(object, key);
}

struct json *record_json(
	struct api *api, const struct viewer *viewer, const struct run_record *record)
{
	const struct view view = { api, viewer, record,
		.whole = viewer->sees.all || viewer->sees.uid == record->owner };
	struct json *json = json_new_object();

	json_set_string(json, "run_id", record->run_id);
	json_set_string(json, "experiment_name", record->experiment_name);
	json_set_string(json, "display_name", record->display_name);
	json_set_string(json, "status", run_state_name(record->state));
	json_set_string(json, "target", record->target);
	json_set_string(json, "submitted_by", record->submitted_by);
	json_set_time(json, "created_utc", record->created_us);
	json_set_time(json, "queued_utc", record->queued_us);
	json_set_time(json, "start_time_utc", record->start_us);
	json_set_time(json, "end_time_utc", record->end_us);
	set_number(json, "exit_code", record->exit_code, record->exit_code >= 0);
	set_number(json, "signal", record->signal, record->signal > 0);
	json_set(json, "error", error_json(record));
	json_set_strv(json, "warnings", record->warnings);
	json_set_string(json, "snapshot_id", record->snapshot_id);
	json_set_pairs(json, "tags", &record->tags);
	json_set_pairs(json, "properties", &record->properties);
	json_set(json, "run_definition", definition_json(&view));
	json_set_bool(json, "shared", record->shared);
	json_set_string(json, "held_by", record->held_by);
	json_set(json, "after", after_json(&view));
	add_queue(&view, json);
	json_set(json, "resources_used", used_json(record));
	json_set(json, "interpreter", interpreter_json(record));
	json_set(json, "log_files", log_files_json(record));
	json_set_string(json, "parent_run_id", record->parent_run_id);
	return json;
}

struct json *artifact_json(const char *run_id, const struct artifact *artifact)
{
	static const struct digest unknown;
	struct json *json = json_new_object();
	_cleanup_(freep) char *encoded = http_percent_encode(artifact->path);
	_cleanup_(freep) char *href = mem_printf("/v1/runs/%s/artifacts/%s", run_id, encoded);
	char hex[DIGEST_HEX_SIZE + 1];
	_cleanup_(freep) char *digest = NULL;

	digest_format(&artifact->digest, hex);
	if (!digest_equal(&artifact->digest, &unknown))
		digest = mem_printf("sha256:%s", hex);
	json_set_string(json, "path", artifact->path);
	json_set_string(json, "href", href);
	json_set_int(json, "size", (int64_t)artifact->size);
	json_set_string(json, "digest", digest);
	json_set_time(json, "modified_utc", artifact->modified_us);
	return json;
}
