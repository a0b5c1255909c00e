/* SPDX-License-Identifier: MIT */
/* run_request - what a run is asked to do; see run_request.h */
#include "common/run_request.h"

#include <ctype.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"

static int read_duration(const struct json *value, const char *path, void *to, struct error *err)
{
	int64_t seconds = 0;
	int r;

	if (json_is_null(value)) {
		*(int64_t *)to = 0;
		return 0;
	}
	r = json_read_int(value, path, &seconds, err);
	if (r < 0)
		return r;
	if (seconds < 1 || seconds > INT64_C(10000000000))
		return error_set(err, -EINVAL, path,
			"%s: must be at least 1 second; null means no limit", path);
	*(int64_t *)to = seconds;
	return 0;
}

static int read_bounded(const struct json *value, const char *path, int64_t low, int64_t high,
	int64_t *to, struct error *err)
{
	int64_t number = 0;
	int r = json_read_int(value, path, &number, err);

	if (r < 0)
		return r;
	if (number < low || number > high)
		return error_set(err, -EINVAL, path, "%s: must be between %lld and %lld", path,
			(long long)low, (long long)high);
	*to = number;
	return 0;
}

static int read_cpus(const struct json *value, const char *path, void *to, struct error *err)
{
	return read_bounded(value, path, 1, 65536, to, err);
}

static int read_gpus(const struct json *value, const char *path, void *to, struct error *err)
{
	return read_bounded(value, path, 0, 1024, to, err);
}

static int read_memory(const struct json *value, const char *path, void *to, struct error *err)
{
	return read_bounded(value, path, 1, INT64_C(1) << 52, to, err);
}

static int read_priority(const struct json *value, const char *path, void *to, struct error *err)
{
	return read_bounded(value, path, -1000, 1000, to, err);
}

static int read_condition(const struct json *value, const char *path, void *to, struct error *err)
{
	const char *text = json_string(value);

	if (!json_is_string(value))
		return json_type_error(value, path, "\"afterok\" or \"afterany\"", err);
	if (strcmp(text, RUN_AFTER_OK) && strcmp(text, RUN_AFTER_ANY))
		return error_set(err, -EINVAL, path,
			"%s: \"%.100s\" is none; one of \"%s\" and \"%s\"", path, text,
			RUN_AFTER_OK, RUN_AFTER_ANY);
	*(bool *)to = !strcmp(text, RUN_AFTER_ANY);
	return 0;
}

static const struct json_field after_fields[] = {
	{ "run_id", run_request_read_text, offsetof(struct run_after, run_id), JSON_REQUIRED },
	{ "condition", read_condition, offsetof(struct run_after, any), 0 },
};

static int read_one_after(
	const struct json *value, const char *path, struct run_after *to, struct error *err)
{
	int r = json_read(value, after_fields, ARRAY_SIZE(after_fields), to, path, err);

	if (r >= 0 && !to->run_id[0]) {
		char key[64];

		snprintf(key, sizeof(key), "%.40s.run_id", path);
		return error_set(err, -EINVAL, key, "%s: is empty", key);
	}
	return r;
}

static int read_after(const struct json *value, const char *path, void *to, struct error *err)
{
	struct run_request *request = to;
	size_t count = json_size(value);
	int r = 0;

	if (!json_is_array(value))
		return json_type_error(value, path, "a list of {\"run_id\", \"condition\"}", err);
	if (count > RUN_AFTER_MAX)
		return error_set(err, -EINVAL, path,
			"%s: %zu runs are too many (%d at most); let them be after one another",
			path, count, RUN_AFTER_MAX);
	request->after = count ? mem_alloc(count * sizeof(*request->after)) : NULL;
	for (const struct json *m = json_first(value); r >= 0 && m; m = json_next(m)) {
		char item[64];

		snprintf(item, sizeof(item), "%.32s[%zu]", path, request->after_count);
		r = read_one_after(m, item, &request->after[request->after_count++], err);
	}
	return r;
}

static const char arguments_advice[] = "put them into a file of the source directory";

static int read_tags(const struct json *value, const char *path, void *to, struct error *err)
{
	int r = run_request_check_tags(value, path, err);

	return r < 0 ? r : json_read_pairs(value, path, to, err);
}

static int read_variables(const struct json *value, const char *path, void *to, struct error *err)
{
	int r = run_request_check_variables(value, path, err);

	return r < 0 ? r : json_read_env(value, path, to, err);
}

static int read_arguments(const struct json *value, const char *path, void *to, struct error *err)
{
	if (json_is_array(value) && json_size(value) > RUN_ARGUMENTS_MAX)
		return error_set(err, -E2BIG, path, "%s: %zu are too many (%u at most); %s", path,
			json_size(value), RUN_ARGUMENTS_MAX, arguments_advice);
	return json_read_strv(value, path, to, err);
}

/* A command in pieces is joined with spaces and goes through the shell all the same, as Azure ML
 * does it (docs/azure-ml.md): users write ["export", "X=1", "&&", "python", ...]. */
static int read_command(const struct json *value, const char *path, void *to, struct error *err)
{
	_cleanup_(strv_freep) char **parts = NULL;
	_cleanup_(strbuf_release) struct strbuf joined = STRBUF_INIT;
	int r;

	if (json_is_string(value))
		return json_read_string(value, path, to, err);
	if (!json_is_array(value))
		return json_type_error(value, path, "a string or a list", err);
	r = json_read_strv(value, path, &parts, err);
	if (r < 0)
		return r;
	for (size_t i = 0; parts[i]; i++)
		strbuf_addf(&joined, "%s%s", i ? " " : "", parts[i]);
	free(*(char **)to);
	*(char **)to = strbuf_steal(&joined);
	return 0;
}

static int read_distributed(const struct json *value, const char *path, void *to, struct error *err)
{
	(void)value;
	(void)to;
	return error_set(err, -EINVAL, path,
		"%s: distributed jobs are not supported by this version; leave it out", path);
}

static int read_user_managed(
	const struct json *value, const char *path, void *to, struct error *err)
{
	bool user_managed;
	int r = json_read_bool(value, path, &user_managed, err);

	(void)to;
	if (r < 0)
		return r;
	if (!user_managed)
		return error_set(err, -EINVAL, path,
			"%s: this version builds no environments; set it to true and name an "
			"interpreter_path that has the packages",
			path);
	return 0;
}

#define FIELD(name) offsetof(struct run_request, name)

static const struct json_field python_fields[] = {
	{ "user_managed_dependencies", read_user_managed, 0, 0 },
	{ "interpreter_path", run_request_read_text, FIELD(interpreter_path), 0 },
};

static int read_python(const struct json *value, const char *path, void *to, struct error *err)
{
	return json_read(value, python_fields, ARRAY_SIZE(python_fields), to, path, err);
}

static const struct json_field environment_fields[] = {
	{ "name", run_request_read_text, FIELD(environment_name), 0 },
	{ "environment_variables", read_variables, FIELD(environment_variables), 0 },
	{ "python", read_python, 0, 0 },
};

static int read_environment(const struct json *value, const char *path, void *to, struct error *err)
{
	return json_read(value, environment_fields, ARRAY_SIZE(environment_fields), to, path, err);
}

static const struct json_field resource_fields[] = {
	{ "cpus", read_cpus, FIELD(cpus), 0 },
	{ "gpus", read_gpus, FIELD(gpus), 0 },
	{ "memory_bytes", read_memory, FIELD(memory_bytes), 0 },
};

static int read_resources(const struct json *value, const char *path, void *to, struct error *err)
{
	return json_read(value, resource_fields, ARRAY_SIZE(resource_fields), to, path, err);
}

static const struct json_field request_fields[] = {
	{ "experiment_name", run_request_read_text, FIELD(experiment_name), 0 },
	{ "display_name", json_read_string, FIELD(display_name), 0 },
	{ "source_directory", run_request_read_text, FIELD(source_directory), JSON_REQUIRED },
	{ "script", run_request_read_text, FIELD(script), 0 },
	{ "arguments", read_arguments, FIELD(arguments), 0 },
	{ "command", read_command, FIELD(command), 0 },
	{ "compute_target", run_request_read_text, FIELD(compute_target), 0 },
	{ "environment", read_environment, 0, 0 },
	{ "distributed_job_config", read_distributed, 0, 0 },
	{ "max_run_duration_seconds", read_duration, FIELD(max_run_duration_seconds),
		JSON_SEES_NULL },
	{ "resources", read_resources, 0, 0 },
	{ "priority", read_priority, FIELD(priority), 0 },
	{ "share", json_read_bool, FIELD(share), 0 },
	{ "hold", json_read_bool, FIELD(hold), 0 },
	{ "after", read_after, 0, 0 },
	{ "tags", read_tags, FIELD(tags), 0 },
	{ "properties", read_tags, FIELD(properties), 0 },
	{ "submit_environment", json_read_env, FIELD(submit_environment), 0 },
};

static int check_what(const struct run_request *request, struct error *err)
{
	if (request->script && request->command)
		return error_set(err, -EINVAL, "command",
			"script and command cannot be combined; give one of them");
	if (!request->script && !request->command)
		return error_set(err, -EINVAL, "script", "script: is required (or command)");
	if (request->command && !request->command[0])
		return error_set(err, -EINVAL, "command", "command: is empty");
	if (request->command && request->arguments && request->arguments[0])
		return error_set(err, -EINVAL, "arguments",
			"arguments: go with script; write them into command");
	if (request->script && !path_is_inside(request->script))
		return error_set(err, -EINVAL, "script",
			"script: \"%s\" is not inside the source directory; give a path relative to %s",
			request->script, request->source_directory);
	return 0;
}

static int check_arguments(const struct run_request *request, struct error *err)
{
	size_t total = request->command ? strlen(request->command) : 0;
	size_t count = 0;

	for (; request->arguments && request->arguments[count]; count++) {
		size_t size = strlen(request->arguments[count]);

		total += size + 1;
		if (size > RUN_ARGUMENT_BYTES_MAX)
			return error_set(err, -E2BIG, "arguments",
				"arguments[%zu]: %zu bytes are more than the %u that Linux takes; %s",
				count, size, RUN_ARGUMENT_BYTES_MAX, arguments_advice);
	}
	if (request->command && total > RUN_ARGUMENT_BYTES_MAX)
		return error_set(err, -E2BIG, "command", "command: longer than %u bytes; %s",
			RUN_ARGUMENT_BYTES_MAX, "put it into a script of the source directory");
	if (total > RUN_ARGUMENTS_BYTES_MAX || count > RUN_ARGUMENTS_MAX)
		return error_set(err, -E2BIG, "arguments",
			"arguments: %zu with %zu bytes are too many (%u with %u bytes at most); %s",
			count, total, RUN_ARGUMENTS_MAX, RUN_ARGUMENTS_BYTES_MAX, arguments_advice);
	return 0;
}

static int check_names(struct run_request *request, struct error *err)
{
	if (!request->experiment_name)
		request->experiment_name = experiment_name_from(request->source_directory);
	if (!experiment_name_valid(request->experiment_name))
		return error_set(err, -EINVAL, "experiment_name",
			"experiment_name: \"%.300s\" must be 1 to %d letters, digits, '_' or '-', the "
			"first a letter or digit",
			request->experiment_name, RUN_NAME_MAX);
	if (request->display_name && strlen(request->display_name) > RUN_NAME_MAX)
		return error_set(err, -EINVAL, "display_name", "display_name: longer than %d bytes",
			RUN_NAME_MAX);
	if (!request->compute_target)
		request->compute_target = mem_strdup("local");
	if (strcmp(request->compute_target, "local"))
		return error_set(err, -EINVAL, "compute_target",
			"compute_target: \"%.100s\" is not known here; only \"local\" is",
			request->compute_target);
	return 0;
}

static int check_directory(struct run_request *request, struct error *err)
{
	char *normal;

	if (request->source_directory[0] != '/')
		return error_set(err, -EINVAL, "source_directory",
			"source_directory: \"%s\" must be an absolute path",
			request->source_directory);
	normal = path_absolute(request->source_directory);
	free(request->source_directory);
	request->source_directory = normal;
	return 0;
}

static int check(struct run_request *request, struct error *err)
{
	int r = check_directory(request, err);

	if (r >= 0)
		r = check_what(request, err);
	if (r >= 0)
		r = check_arguments(request, err);
	return r < 0 ? r : check_names(request, err);
}

int run_request_parse(const struct json *body, struct run_request *ret, struct error *err)
{
	struct run_request request = {
		.max_run_duration_seconds = RUN_DURATION_DEFAULT,
		.cpus = 1,
	};
	int r = json_read(body, request_fields, ARRAY_SIZE(request_fields), &request, NULL, err);

	if (r >= 0)
		r = check(&request, err);
	if (r < 0) {
		run_request_release(&request);
		return r;
	}
	*ret = request;
	return 0;
}

void run_request_release(struct run_request *request)
{
	free(request->experiment_name);
	free(request->display_name);
	free(request->source_directory);
	free(request->script);
	strv_free(request->arguments);
	free(request->command);
	free(request->compute_target);
	free(request->environment_name);
	strv_free(request->environment_variables);
	free(request->interpreter_path);
	for (size_t i = 0; i < request->after_count; i++)
		free(request->after[i].run_id);
	free(request->after);
	pairs_release(&request->tags);
	pairs_release(&request->properties);
	strv_free(request->submit_environment);
	*request = (struct run_request){ 0 };
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool experiment_name_valid(const char *name)
{
	size_t size = strlen(name);

	if (size < 1 || size > RUN_NAME_MAX || !name_char(name[0]))
		return false;
	for (size_t i = 1; i < size; i++)
		if (!name_char(name[i]) && name[i] != '_' && name[i] != '-')
			return false;
	return true;
}

char *experiment_name_from(const char *directory)
{
	const char *slash = strrchr(directory, '/');
	char *name = mem_strdup(slash ? slash + 1 : directory);
	char *start = name;

	for (char *p = name; *p; p++)
		if (!name_char(*p) && *p != '_')
			*p = '-';
	while (*start && !name_char(*start))
		start++;
	memmove(name, start, strlen(start) + 1);
	if (strlen(name) > RUN_NAME_MAX)
		name[RUN_NAME_MAX] = '\0';
	if (name[0])
		return name;
	free(name);
	return mem_strdup("experiment");
}

char *run_id_make(const char *experiment_name)
{
	uint32_t number;

	while (getrandom(&number, sizeof(number), 0) != sizeof(number))
		;
	/* A file name has 255 bytes at most: a long experiment's runs carry its beginning. */
	return mem_printf("%.200s_%lld_%08x", experiment_name,
		(long long)(clock_utc() / USEC_PER_SEC), number);
}

bool run_id_valid(const char *run_id)
{
	return strlen(run_id) < 256 && experiment_name_valid(run_id);
}
