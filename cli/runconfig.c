/* SPDX-License-Identifier: MIT */
/* runconfig - Azure ML's run configuration files; see runconfig.h */
#include "cli/runconfig.h"

#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/yaml_tree.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"

/* What the readers of keys fill in. */
struct reading {
	struct runconfig *config;
	const char *name; /* of the file */
	struct error *err;
	bool user_managed;
	const struct yaml_node *conda; /* dependencies to be installed, if any */
	char **outer_variables;        /* of the top level, which win */
};

struct key {
	const char *name;
	int (*read)(struct reading *reading, const struct yaml_node *value, const char *path);
};

static int fault(struct reading *reading, const struct yaml_node *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fault(struct reading *reading, const struct yaml_node *at, const char *fmt, ...)
{
	_cleanup_(freep) char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		abort();
	va_end(args);
	return error_set(reading->err, -EINVAL, reading->name, "%s:%zu:%zu: %s", reading->name,
		at->line, at->column, text);
}

static int read_text(
	struct reading *reading, const struct yaml_node *value, const char *path, char **ret)
{
	if (yaml_node_is_null(value))
		return 0;
	if (value->kind != YAML_TREE_SCALAR)
		return fault(reading, value, "%s: must be a text", path);
	if (value->text[0])
		mem_replace(ret, value->text);
	return 0;
}

static int read_script(struct reading *reading, const struct yaml_node *value, const char *path)
{
	return read_text(reading, value, path, &reading->config->script);
}

/* A command in pieces goes through the shell as one line all the same, as Azure ML has it. */
static int read_command(struct reading *reading, const struct yaml_node *value, const char *path)
{
	_cleanup_(strbuf_release) struct strbuf joined = STRBUF_INIT;

	if (value->kind != YAML_TREE_SEQUENCE)
		return read_text(reading, value, path, &reading->config->command);
	for (size_t i = 0; i < value->count; i++) {
		if (value->children[i]->kind != YAML_TREE_SCALAR)
			return fault(
				reading, value->children[i], "%s: must be a list of texts", path);
		strbuf_addf(&joined, "%s%s", i ? " " : "", value->children[i]->text);
	}
	if (joined.size)
		mem_replace(&reading->config->command, joined.data);
	return 0;
}

static int read_arguments(struct reading *reading, const struct yaml_node *value, const char *path)
{
	if (yaml_node_is_null(value))
		return 0;
	if (value->kind != YAML_TREE_SEQUENCE)
		return fault(reading, value, "%s: must be a list", path);
	for (size_t i = 0; i < value->count; i++) {
		const struct yaml_node *item = value->children[i];

		if (item->kind != YAML_TREE_SCALAR)
			return fault(reading, item, "%s: must be a list of texts", path);
		if (!strncasecmp(item->text, "DatasetConsumptionConfig:", 25))
			return fault(reading, item,
				"%s: datasets are not in this version; give a path in place of \"%s\"",
				path, item->text);
		strv_add(&reading->config->arguments, item->text);
	}
	return 0;
}

/* "None" is what Azure ML's own files write for nothing. */
static bool is_none(const struct yaml_node *value)
{
	return yaml_node_is_null(value) ||
	       (value->kind == YAML_TREE_SCALAR &&
		       (!value->text[0] || !strcasecmp(value->text, "none")));
}

static int read_target(struct reading *reading, const struct yaml_node *value, const char *path)
{
	if (is_none(value))
		return 0;
	if (value->kind == YAML_TREE_SCALAR && !strcasecmp(value->text, "local"))
		return 0;
	return fault(reading, value, "%s: \"%s\" is not known here; only \"local\" is", path,
		value->kind == YAML_TREE_SCALAR ? value->text : "...");
}

static int read_communicator(
	struct reading *reading, const struct yaml_node *value, const char *path)
{
	if (is_none(value))
		return 0;
	return fault(reading, value, "%s: distributed runs are not in this version; set it to None",
		path);
}

static int read_duration(struct reading *reading, const struct yaml_node *value, const char *path)
{
	int64_t seconds = 0;
	char *end = NULL;

	if (!yaml_node_is_null(value)) {
		errno = 0;
		if (value->kind == YAML_TREE_SCALAR)
			seconds = strtoll(value->text, &end, 10);
		if (!end || end == value->text || *end || errno || seconds < 1)
			return fault(reading, value,
				"%s: must be a whole number of seconds, at least 1; nothing means no limit",
				path);
	}
	reading->config->has_max_run_duration = true;
	reading->config->max_run_duration_seconds = seconds;
	return 0;
}

static int add_variables(
	struct reading *reading, const struct yaml_node *value, const char *path, char ***list)
{
	if (yaml_node_is_null(value))
		return 0;
	if (value->kind != YAML_TREE_MAPPING)
		return fault(reading, value, "%s: must be a mapping of names to texts", path);
	for (size_t i = 0; i < value->count; i += 2) {
		const struct yaml_node *name = value->children[i];
		const struct yaml_node *text = value->children[i + 1];

		if (!env_name_valid(name->text))
			return fault(reading, name, "%s: \"%s\" is no name of a variable", path,
				name->text);
		if (text->kind != YAML_TREE_SCALAR)
			return fault(reading, text, "%s.%s: must be a text", path, name->text);
		env_set(list, name->text, yaml_node_is_null(text) ? "" : text->text);
	}
	return 0;
}

static int read_outer_variables(
	struct reading *reading, const struct yaml_node *value, const char *path)
{
	return add_variables(reading, value, path, &reading->outer_variables);
}

static int read_variables(struct reading *reading, const struct yaml_node *value, const char *path)
{
	return add_variables(reading, value, path, &reading->config->environment_variables);
}

static int read_environment_name(
	struct reading *reading, const struct yaml_node *value, const char *path)
{
	return read_text(reading, value, path, &reading->config->environment_name);
}

static int read_user_managed(
	struct reading *reading, const struct yaml_node *value, const char *path)
{
	if (yaml_node_is_null(value) || yaml_node_bool(value, &reading->user_managed) >= 0)
		return 0;
	return fault(reading, value, "%s: must be true or false", path);
}

static int read_interpreter(
	struct reading *reading, const struct yaml_node *value, const char *path)
{
	char **to = &reading->config->interpreter_path;
	int r = read_text(reading, value, path, to);

	/* Azure ML's default stands for whatever python is there. */
	if (*to && !strcmp(*to, "python")) {
		free(*to);
		*to = NULL;
	}
	return r;
}

static int read_conda(struct reading *reading, const struct yaml_node *value, const char *path)
{
	(void)path;
	if (!is_none(value) && (value->kind == YAML_TREE_SCALAR || value->count))
		reading->conda = value;
	return 0;
}

static int read_docker(struct reading *reading, const struct yaml_node *value, const char *path)
{
	bool enabled = false;

	if (!yaml_node_is_null(value) && yaml_node_bool(value, &enabled) < 0)
		return fault(reading, value, "%s: must be true or false", path);
	if (!enabled)
		return 0;
	return fault(reading, value, "%s: runs in Docker are not in this version; set it to false",
		path);
}

static int read_mapping(struct reading *reading, const struct yaml_node *mapping, const char *path,
	const struct key *keys, size_t count);

#define MAPPING_READER(function, table) \
	static int function( \
		struct reading *reading, const struct yaml_node *value, const char *path) \
	{ \
		return read_mapping(reading, value, path, table, ARRAY_SIZE(table)); \
	}

static const struct key python_keys[] = {
	{ "userManagedDependencies", read_user_managed },
	{ "interpreterPath", read_interpreter },
	{ "condaDependenciesFile", read_conda },
	{ "condaDependencies", read_conda },
	{ "baseCondaEnvironment", NULL },
};
MAPPING_READER(read_python, python_keys)

static const struct key environment_docker_keys[] = {
	{ "enabled", read_docker },
	{ "baseImage", NULL },
	{ "baseDockerfile", NULL },
	{ "baseImageRegistry", NULL },
	{ "sharedVolumes", NULL },
	{ "shmSize", NULL },
	{ "arguments", NULL },
	{ "gpuSupport", NULL },
	{ "platform", NULL },
	{ "preparation", NULL },
};
MAPPING_READER(read_environment_docker, environment_docker_keys)

static const struct key environment_keys[] = {
	{ "name", read_environment_name },
	{ "version", NULL },
	{ "environmentVariables", read_variables },
	{ "python", read_python },
	{ "docker", read_environment_docker },
	{ "spark", NULL },
	{ "databricks", NULL },
	{ "r", NULL },
	{ "inferencingStackVersion", NULL },
};
MAPPING_READER(read_environment, environment_keys)

static const struct key docker_keys[] = {
	{ "useDocker", read_docker },
	{ "sharedVolumes", NULL },
	{ "shmSize", NULL },
	{ "arguments", NULL },
};
MAPPING_READER(read_outer_docker, docker_keys)

static const struct key top_keys[] = {
	{ "script", read_script },
	{ "arguments", read_arguments },
	{ "command", read_command },
	{ "target", read_target },
	{ "communicator", read_communicator },
	{ "maxRunDurationSeconds", read_duration },
	{ "environment", read_environment },
	{ "environmentVariables", read_outer_variables },
	{ "docker", read_outer_docker },
	{ "experiment", NULL },
	{ "experimentName", NULL },
	{ "useAbsolutePath", NULL },
	{ "framework", NULL },
	{ "autoPrepareEnvironment", NULL },
	{ "prepareEnvironment", NULL },
	{ "nodeCount", NULL },
	{ "priority", NULL },
	{ "history", NULL },
	{ "spark", NULL },
	{ "hdi", NULL },
	{ "tensorflow", NULL },
	{ "mpi", NULL },
	{ "pyTorch", NULL },
	{ "parallelTask", NULL },
	{ "commandReturnCodeConfig", NULL },
	{ "dataReferences", NULL },
	{ "data", NULL },
	{ "outputData", NULL },
	{ "datacaches", NULL },
	{ "sourceDirectoryDataStore", NULL },
	{ "jobName", NULL },
	{ "amlCompute", NULL },
	{ "containerInstance", NULL },
	{ "batchAi", NULL },
	{ "aiSuperComputer", NULL },
	{ "cmk8sCompute", NULL },
	{ "cmAksCompute", NULL },
	{ "exposedPorts", NULL },
	{ "applicationEndpoints", NULL },
	{ "identity", NULL },
	{ "credentialPassthrough", NULL },
};

static size_t find_key(const struct key *keys, size_t count, const char *name)
{
	size_t i = 0;

	while (i < count && strcasecmp(keys[i].name, name))
		i++;
	return i;
}

static int read_mapping(struct reading *reading, const struct yaml_node *mapping, const char *path,
	const struct key *keys, size_t count)
{
	uint64_t seen = 0;

	if (yaml_node_is_null(mapping))
		return 0;
	if (mapping->kind != YAML_TREE_MAPPING)
		return fault(reading, mapping, "%s: must be a mapping of keys to values",
			path[0] ? path : "a run configuration");
	for (size_t i = 0; i < mapping->count; i += 2) {
		const struct yaml_node *name = mapping->children[i];
		_cleanup_(freep) char *inner =
			mem_printf("%s%s%s", path, path[0] ? "." : "", name->text);
		size_t at = find_key(keys, count, name->text);
		int r = 0;

		if (at == count)
			strv_addf(&reading->config->warnings,
				"%s:%zu: the key \"%s\" is not known, skipped", reading->name,
				name->line, inner);
		else if (seen & (UINT64_C(1) << at))
			r = fault(reading, name, "the key \"%s\" is there twice, in another case",
				inner);
		else if (keys[at].read)
			r = keys[at].read(reading, mapping->children[i + 1], inner);
		if (r < 0)
			return r;
		if (at < count)
			seen |= UINT64_C(1) << at;
	}
	return 0;
}

static int check(struct reading *reading)
{
	if (reading->config->script && reading->config->command)
		return error_set(reading->err, -EINVAL, reading->name,
			"%s: script and command cannot be combined; leave one of them out",
			reading->name);
	if (!reading->conda || reading->user_managed)
		return 0;
	return fault(reading, reading->conda,
		"this version builds no environments from conda dependencies; set "
		"environment.python.userManagedDependencies to true and interpreterPath to a python that has "
		"the packages");
}

void runconfig_release(struct runconfig *config)
{
	free(config->script);
	strv_free(config->arguments);
	free(config->command);
	free(config->environment_name);
	strv_free(config->environment_variables);
	free(config->interpreter_path);
	strv_free(config->warnings);
	*config = (struct runconfig){ 0 };
}

static void merge_variables(struct reading *reading)
{
	for (size_t i = 0; reading->outer_variables && reading->outer_variables[i]; i++) {
		char *entry = reading->outer_variables[i];
		char *equals = strchr(entry, '=');

		*equals = '\0';
		env_set(&reading->config->environment_variables, entry, equals + 1);
	}
}

int runconfig_parse(
	const char *text, size_t size, const char *name, struct runconfig *ret, struct error *err)
{
	_cleanup_(yaml_tree_release) struct yaml_tree tree = { 0 };
	_cleanup_(runconfig_release) struct runconfig config = { 0 };
	struct reading reading = { .config = &config, .name = name, .err = err };
	int r;

	if (size > RUNCONFIG_SIZE_MAX)
		return error_set(
			err, -EFBIG, name, "%s: larger than %u bytes", name, RUNCONFIG_SIZE_MAX);
	r = yaml_tree_parse(text, size, name, &tree, err);
	if (r < 0)
		return r;
	if (!tree.root)
		return error_set(err, -EINVAL, name, "%s:1:1: there is nothing in it", name);
	r = read_mapping(&reading, tree.root, "", top_keys, ARRAY_SIZE(top_keys));
	if (r >= 0)
		r = check(&reading);
	merge_variables(&reading);
	strv_free(reading.outer_variables);
	if (r < 0)
		return r;
	*ret = config;
	config = (struct runconfig){ 0 };
	return 0;
}

/* Where NAME may be, in order; the first that is a file counts. */
static char **places(const char *source_directory, const char *name)
{
	static const char *const folders[] = { ".azureml", "aml_config" };
	static const char *const suffixes[] = { ".runconfig", "" };
	char **list = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		for (size_t j = 0; j < ARRAY_SIZE(suffixes); j++)
			strv_addf(&list, "%s/%s/%s%s", source_directory, folders[i], name,
				suffixes[j]);
	strv_add(&list, name);
	strv_take(&list, path_join(source_directory, name));
	return list;
}

int runconfig_load(
	const char *source_directory, const char *name, struct runconfig *ret, struct error *err)
{
	_cleanup_(strv_freep) char **paths = places(source_directory, name);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct stat st;
	size_t i = name[0] == '/' ? 4 : 0;
	int r;

	while (paths[i] && (stat(paths[i], &st) < 0 || !S_ISREG(st.st_mode)))
		i++;
	if (!paths[i])
		return error_set(err, -ENOENT, name,
			"no run configuration \"%s\": neither %s nor a file of that name", name,
			paths[0]);
	r = file_read(AT_FDCWD, paths[i], RUNCONFIG_SIZE_MAX, &text);
	if (r < 0)
		return error_errno(err, r, paths[i], "cannot read %s", paths[i]);
	return runconfig_parse(text.data ? text.data : "", text.size, paths[i], ret, err);
}
