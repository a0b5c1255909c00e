/* SPDX-License-Identifier: MIT */
/* run_definition - a request back as JSON, without submit_environment; see run_request.h */
#include <string.h>

#include "common/mem.h"
#include "common/run_request.h"

static struct json *environment_definition(const struct run_request *request)
{
	struct json *environment = json_new_object();
	struct json *python = json_new_object();
	struct json *variables = json_new_object();

	for (size_t i = 0; request->environment_variables && request->environment_variables[i];
		i++) {
		const char *entry = request->environment_variables[i];
		const char *equals = strchr(entry, '=');
		_cleanup_(freep) char *name = mem_strndup(entry, (size_t)(equals - entry));

		json_set_string(variables, name, equals + 1);
	}
	json_set_bool(python, "user_managed_dependencies", true);
	json_set_string(python, "interpreter_path", request->interpreter_path);
	json_set_string(environment, "name", request->environment_name);
	json_set(environment, "environment_variables", variables);
	json_set(environment, "python", python);
	return environment;
}

static struct json *resources_definition(const struct run_request *request)
{
	struct json *resources = json_new_object();

	json_set_int(resources, "cpus", request->cpus);
	json_set_int(resources, "gpus", request->gpus);
	if (request->memory_bytes)
		json_set_int(resources, "memory_bytes", request->memory_bytes);
	else
		json_set_null(resources, "memory_bytes");
	return resources;
}

struct json *run_after_json(const struct run_after *after)
{
	struct json *json = json_new_object();

	json_set_string(json, "run_id", after->run_id);
	json_set_string(json, "condition", after->any ? RUN_AFTER_ANY : RUN_AFTER_OK);
	return json;
}

static struct json *after_definition(const struct run_request *request)
{
	struct json *array = json_new_array();

	for (size_t i = 0; i < request->after_count; i++)
		json_append(array, run_after_json(&request->after[i]));
	return array;
}

struct json *run_request_definition(const struct run_request *request)
{
	struct json *definition = json_new_object();

	json_set_string(definition, "experiment_name", request->experiment_name);
	json_set_string(definition, "display_name", request->display_name);
	json_set_string(definition, "source_directory", request->source_directory);
	json_set_string(definition, "script", request->script);
	json_set_strv(definition, "arguments", request->arguments);
	json_set_string(definition, "command", request->command);
	json_set_string(definition, "compute_target", request->compute_target);
	json_set(definition, "environment", environment_definition(request));
	json_set_null(definition, "distributed_job_config");
	if (request->max_run_duration_seconds)
		json_set_int(
			definition, "max_run_duration_seconds", request->max_run_duration_seconds);
	else
		json_set_null(definition, "max_run_duration_seconds");
	json_set(definition, "resources", resources_definition(request));
	json_set_int(definition, "priority", request->priority);
	json_set_bool(definition, "share", request->share);
	json_set_bool(definition, "hold", request->hold);
	json_set(definition, "after", after_definition(request));
	json_set_pairs(definition, "tags", &request->tags);
	json_set_pairs(definition, "properties", &request->properties);
	return definition;
}
