/* SPDX-License-Identifier: MIT */
/*
 * api_status - the daemon's status, as the viewer may see it
 *
 * Who holds how much is everybody's to know, and so are the GPUs; a run is named to those who see
 * it, and counted for them.
 */
#include <pwd.h>

#include "api/api_internal.h"
#include "common/mem.h"

static struct json *state_counts(const struct call *call)
{
	int64_t counts[RUN_STATE_COUNT] = { 0 };
	struct json *json = json_new_object();

	history_count_states(call->api->options.history, &call->viewer.sees, counts);
	for (unsigned i = 0; i < RUN_STATE_COUNT; i++)
		if (counts[i])
			json_set_int(json, run_state_name((enum run_state)i), counts[i]);
	return json;
}

static struct json *share_json(int64_t total, int64_t used)
{
	struct json *json = json_new_object();

	json_set_int(json, "total", total);
	json_set_int(json, "used", used);
	return json;
}

static struct json *users_json(const struct run_holdings *holdings)
{
	struct json *array = json_new_array();

	for (size_t i = 0; i < holdings->user_count; i++) {
		const struct user_holding *user = &holdings->users[i];
		struct json *json = json_new_object();

		json_set_string(json, "user", user->user);
		json_set_int(json, "running", user->running);
		json_set_int(json, "queued", user->queued);
		json_set_int(json, "cpus", user->cpus);
		json_set_int(json, "memory_bytes", user->memory_bytes);
		json_set_int(json, "gpus", user->gpus);
		json_append(array, json);
	}
	return array;
}

static bool is_seen(const struct call *call, const char *run_id)
{
	_cleanup_(run_record_release) struct run_record record = { 0 };

	return run_id && run_manager_get(call->api->options.runs, run_id, &record) >= 0 &&
	       history_viewer_sees(&call->viewer.sees, &record);
}

static struct json *gpus_json(const struct call *call, const struct run_holdings *holdings)
{
	static const char *const states[] = {
		[GPU_FREE] = "free", [GPU_HELD] = "held", [GPU_ASIDE] = "aside"
	};
	struct json *array = json_new_array();

	for (size_t i = 0; i < holdings->gpu_count; i++) {
		const struct gpu_holding *gpu = &holdings->gpus[i];
		struct json *json = json_new_object();

		json_set_string(json, "id", gpu->gpu->id);
		json_set_string(json, "name", gpu->gpu->name);
		json_set_string(json, "state", states[gpu->use]);
		json_set_string(json, "user", gpu->user);
		json_set_string(json, "run_id", is_seen(call, gpu->run_id) ? gpu->run_id : NULL);
		json_set_string(json, "reason", gpu->reason);
		json_append(array, json);
	}
	return array;
}

static struct json *draining_json(const struct run_holdings *holdings)
{
	struct json *json;

	if (!holdings->draining_since_us)
		return json_new_null();
	json = json_new_object();
	json_set_string(json, "by", holdings->draining_by);
	json_set_time(json, "since_utc", holdings->draining_since_us);
	json_set_string(json, "reason", holdings->draining_reason);
	return json;
}

static void add_holdings(const struct call *call, struct json *json)
{
	struct run_holdings holdings = { 0 };

	run_manager_holdings(call->api->options.runs, &holdings);
	json_set(json, "cpus", share_json(holdings.cpus, holdings.cpus_used));
	json_set(json, "memory_bytes", share_json(holdings.memory_bytes, holdings.memory_used));
	json_set(json, "gpus", gpus_json(call, &holdings));
	json_set(json, "users", users_json(&holdings));
	json_set(json, "draining", draining_json(&holdings));
	run_holdings_release(&holdings);
}

struct json *status_json(const struct call *call)
{
	const struct api_options *options = &call->api->options;
	const struct passwd *user = getpwuid(geteuid());
	bool admin = call->viewer.sees.all;
	struct json *json = json_new_object();
	struct run_counts counts;

	run_manager_count(options->runs, &counts);
	json_set_string(json, "version", AMLAGENT_VERSION);
	json_set_int(json, "pid", getpid());
	json_set_int(json, "uid", geteuid());
	json_set_string(json, "user", user ? user->pw_name : NULL);
	json_set_bool(json, "system", options->access.system);
	json_set_string(json, "state_directory", admin ? options->state_dir : NULL);
	json_set_string(json, "configuration_file", admin ? options->config_path : NULL);
	json_set_time(json, "started_utc", options->started_us);
	json_set_bool(json, "admin", admin);
	json_set_int(json, "max_running_runs", counts.max_running);
	json_set_int(json, "running", counts.running);
	json_set_int(json, "queued", counts.queued);
	json_set(json, "runs", state_counts(call));
	add_holdings(call, json);
	return json;
}
