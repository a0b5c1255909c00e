/* SPDX-License-Identifier: MIT */
/* request - the body of POST /v1/runs; see request.h */
#include "cli/request.h"

#include <limits.h>
#include <string.h>

#include "cli/after.h"
#include "cli/output.h"
#include "cli/runconfig.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "common/utf8.h"

static int check_utf8(const char *text, const char *what, struct error *err)
{
	_cleanup_(freep) char *shown = NULL;

	if (!text || utf8_valid(text, strlen(text)))
		return 0;
	shown = utf8_sanitize(text, strlen(text));
	return error_set(err, -EINVAL, "usage", "%s is not UTF-8, which requests must be: \"%s\"",
		what, shown);
}

static int check_list(char *const *list, const char *what, struct error *err)
{
	int r = 0;

	for (size_t i = 0; list && list[i] && r >= 0; i++) {
		_cleanup_(freep) char *which = mem_printf("%s %zu", what, i + 1);

		r = check_utf8(list[i], which, err);
	}
	return r;
}

/* Strings that are not UTF-8 cannot be sent: say which one it is. */
static int check_text(const struct run_options *options, char *const *operands, struct error *err)
{
	const struct {
		const char *text;
		const char *what;
	} texts[] = {
		{ options->experiment, "--experiment" },
		{ options->source_directory, "--source-directory" },
		{ options->python, "--python" },
		{ options->command, "--command" },
		{ options->display_name, "--display-name" },
		{ operands[0], "SCRIPT" },
	};
	int r = check_list(operands[0] ? operands + 1 : operands, "argument", err);

	for (size_t i = 0; i < ARRAY_SIZE(texts) && r >= 0; i++)
		r = check_utf8(texts[i].text, texts[i].what, err);
	if (r >= 0)
		r = check_list(options->set_env, "--set-env", err);
	if (r >= 0)
		r = check_list(options->after, "--after", err);
	return r < 0 ? r : check_list(options->tags, "--tag", err);
}

static bool has_dotdot(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2)
		if ((p == path || p[-1] == '/') && (p[2] == '/' || !p[2]))
			return true;
	return false;
}

/* Absolute. Links stay as they were given, but "link/.." means what the kernel takes it for. */
static int absolute(const char *path, char **ret, struct error *err)
{
	char *full = has_dotdot(path) ? realpath(path, NULL) : path_absolute(path);

	if (!full && has_dotdot(path))
		full = path_absolute(path);
	if (!full)
		return error_set(
			err, -ENOENT, path, "the current folder is gone; cd to another one");
	*ret = full;
	return 0;
}

static int source_directory(const struct run_options *options, char **ret, struct error *err)
{
	_cleanup_(freep) char *path = NULL;
	int r = absolute(options->source_directory ? options->source_directory : ".", &path, err);

	if (r < 0)
		return r;
	if (!utf8_valid(path, strlen(path))) {
		_cleanup_(freep) char *shown = utf8_sanitize(path, strlen(path));

		return error_set(err, -EINVAL, "source_directory",
			"the source directory's name is not UTF-8: %s; rename it", shown);
	}
	*ret = TAKE(path);
	return 0;
}

/* With a '/' it is a file or folder, as seen from `base`; else a name that the daemon looks up. */
static int interpreter(const char *path, const char *base, char **ret, struct error *err)
{
	_cleanup_(freep) char *joined = base ? path_join(base, path) : mem_strdup(path);

	if (strchr(path, '/'))
		return absolute(joined, ret, err);
	*ret = mem_strdup(path);
	return 0;
}

static struct json *env_object(char *const *env)
{
	struct json *object = json_new_object();

	for (size_t i = 0; env && env[i]; i++) {
		const char *equals = strchr(env[i], '=');
		_cleanup_(freep) char *name = mem_strndup(env[i], (size_t)(equals - env[i]));

		json_set_string(object, name, equals + 1);
	}
	return object;
}

static bool sendable(const char *entry)
{
	const char *equals = strchr(entry, '=');

	return equals && equals != entry && utf8_valid(entry, strlen(entry));
}

/* The submitter's own environment, as far as it can be sent. */
static struct json *submit_environment(char *const *environment)
{
	_cleanup_(strv_freep) char **kept = NULL;
	_cleanup_(strbuf_release) struct strbuf left_out = STRBUF_INIT;

	for (size_t i = 0; environment && environment[i]; i++) {
		const char *entry = environment[i];
		_cleanup_(freep) char *name = mem_strndup(entry, strcspn(entry, "="));

		if (sendable(entry))
			/* A name given twice: the first one counts, as for getenv(). */
			env_get(kept, name) ? (void)0 : strv_add(&kept, entry);
		else if (name[0])
			strbuf_addf(&left_out, "%s%s", left_out.size ? ", " : "", name);
	}
	if (left_out.size)
		say("warning: environment variables that are not UTF-8 are left out: %s",
			left_out.data);
	return env_object(kept);
}

static int environment_object(const struct run_options *options, const struct runconfig *config,
	const char *directory, struct json **ret, struct error *err)
{
	_cleanup_(strv_freep) char **variables = strv_copy(config->environment_variables);
	_cleanup_(freep) char *path = NULL;
	struct json *environment;
	struct json *python;
	int r = 0;

	if (options->python)
		r = interpreter(options->python, NULL, &path, err);
	else if (config->interpreter_path)
		r = interpreter(config->interpreter_path, directory, &path, err);
	if (r < 0)
		return r;
	for (size_t i = 0; options->set_env && options->set_env[i]; i++) {
		const char *equals = strchr(options->set_env[i], '=');
		_cleanup_(freep) char *name =
			mem_strndup(options->set_env[i], (size_t)(equals - options->set_env[i]));

		env_set(&variables, name, equals + 1);
	}
	environment = json_new_object();
	python = json_new_object();
	if (config->environment_name)
		json_set_string(environment, "name", config->environment_name);
	json_set(environment, "environment_variables", env_object(variables));
	json_set_bool(python, "user_managed_dependencies", true);
	if (path)
		json_set_string(python, "interpreter_path", path);
	json_set(environment, "python", python);
	*ret = environment;
	return 0;
}

/* What to run: SCRIPT or --command, else what the run configuration has. */
static int set_what(struct json *body, const struct run_options *options,
	const struct runconfig *config, char *const *operands, struct error *err)
{
	if (options->command && operands[0])
		return error_set(err, -EINVAL, "usage",
			"--command stands in place of SCRIPT (\"%s\"); give one of them",
			operands[0]);
	if (options->command) {
		json_set_string(body, "command", options->command);
	} else if (operands[0]) {
		json_set_string(body, "script", operands[0]);
		json_set_strv(body, "arguments", operands + 1);
	} else if (config->command) {
		json_set_string(body, "command", config->command);
	} else if (config->script) {
		json_set_string(body, "script", config->script);
		json_set_strv(body, "arguments", config->arguments);
	} else {
		return error_set(err, -EINVAL, "usage", "which SCRIPT? (or --command \"...\")");
	}
	return 0;
}

/* Absent means the daemon's default, null no limit. */
static void set_limit(
	struct json *body, const struct run_options *options, const struct runconfig *config)
{
	int64_t seconds = config->max_run_duration_seconds;

	if (options->max_run_duration)
		seconds = options->max_run_duration;
	else if (!config->has_max_run_duration)
		return;
	if (seconds)
		json_set_int(body, "max_run_duration_seconds", seconds);
	else
		json_set_null(body, "max_run_duration_seconds");
}

static void set_optional(struct json *body, const char *key, const char *text)
{
	if (text)
		json_set_string(body, key, text);
}

/* What is not asked for is left to the daemon. */
static void set_queue(struct json *body, const struct run_options *options)
{
	struct json *resources = json_new_object();

	if (options->cpus)
		json_set_int(resources, "cpus", options->cpus);
	if (options->gpus)
		json_set_int(resources, "gpus", options->gpus);
	if (options->memory)
		json_set_int(resources, "memory_bytes", options->memory);
	if (json_size(resources))
		json_set(body, "resources", resources);
	else
		json_free(resources);
	if (options->priority)
		json_set_int(body, "priority", options->priority);
	if (options->hold)
		json_set_bool(body, "hold", true);
	if (options->share)
		json_set_bool(body, "share", true);
}

static int load_config(const struct run_options *options, const char *directory,
	struct runconfig *ret, struct error *err)
{
	int r;

	if (!options->run_configuration)
		return 0;
	r = runconfig_load(directory, options->run_configuration, ret, err);
	for (size_t i = 0; r >= 0 && ret->warnings && ret->warnings[i]; i++)
		say("warning: %s", ret->warnings[i]);
	return r;
}

static int fill(struct json *body, const struct run_options *options,
	const struct runconfig *config, const char *directory, char *const *operands,
	struct error *err)
{
	struct json *environment = NULL;
	int r = set_what(body, options, config, operands, err);

	if (r >= 0)
		r = environment_object(options, config, directory, &environment, err);
	if (r < 0)
		return r;
	json_set(body, "environment", environment);
	json_set_string(body, "source_directory", directory);
	set_optional(body, "experiment_name", options->experiment);
	set_optional(body, "display_name", options->display_name);
	set_limit(body, options, config);
	json_set(body, "tags", env_object(options->tags));
	set_queue(body, options);
	return after_set(body, options->after, err);
}

int request_make(const struct run_options *options, char *const *operands, char *const *environment,
	struct json **ret, struct error *err)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };
	_cleanup_(json_freep) struct json *body = json_new_object();
	_cleanup_(freep) char *directory = NULL;
	int r = check_text(options, operands, err);

	if (r >= 0)
		r = source_directory(options, &directory, err);
	if (r >= 0)
		r = load_config(options, directory, &config, err);
	if (r >= 0)
		r = fill(body, options, &config, directory, operands, err);
	if (r < 0)
		return r;
	if (!options->clean_env)
		json_set(body, "submit_environment", submit_environment(environment));
	*ret = TAKE(body);
	return 0;
}
