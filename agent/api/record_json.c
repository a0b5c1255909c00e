/* SPDX-License-Identifier: MIT */
/* record_json - the run record and artifacts as docs/api.md shows them */
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

static struct json *definition_json(const struct run_record *record)
{
	struct json *definition;

	if (!record->definition ||
		json_parse(record->definition, strlen(record->definition), &definition, NULL) < 0)
		return json_new_null();
	return definition;
}

static void set_number(struct json *object, const char *key, int number, bool known)
{
	if (known)
		json_set_int(object, key, number);
	else
		json_set_null(object, key);
}

struct json *record_json(const struct run_record *record)
{
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
	json_set(json, "run_definition", definition_json(record));
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
