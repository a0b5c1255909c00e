/* SPDX-License-Identifier: MIT */
/*
 * activation - an environment list as activating a venv or a conda environment leaves it; see
 * interpreter.h
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/activate_scripts.h"
#include "capture/interpreter.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/strv.h"

#define CONDA_VARIABLES_MAX ((size_t)1 << 20)
/* What conda writes for "this variable is not set in that environment". */
#define CONDA_UNSET "***unset***"

static void remove_from_path(char ***env, const char *dir)
{
	const char *path = env_get(*env, "PATH");
	_cleanup_(strbuf_release) struct strbuf rest = STRBUF_INIT;
	bool first = true;

	for (const char *part = path; part; part = *part ? part + 1 : NULL) {
		size_t size = strcspn(part, ":");

		if (size != strlen(dir) || strncmp(part, dir, size) != 0) {
			if (!first)
				strbuf_addc(&rest, ':');
			strbuf_add(&rest, part, size);
			first = false;
		}
		part += size;
	}
	if (path)
		env_set(env, "PATH", rest.data ? rest.data : "");
}

/* Once, at the front: doing it again changes nothing. */
static void put_first_on_path(char ***env, const char *dir)
{
	_cleanup_(freep) char *path = NULL;
	const char *rest;

	remove_from_path(env, dir);
	rest = env_get(*env, "PATH");
	path = rest && *rest ? mem_printf("%s:%s", dir, rest) : mem_strdup(dir);
	env_set(env, "PATH", path);
}

/* The folder of the program, which is PREFIX/bin but for odd layouts. */
static char *folder_of(const char *program)
{
	const char *slash = strrchr(program, '/');

	return mem_strndup(program, slash && slash > program ? (size_t)(slash - program) : 1);
}

static int activate_plain(const struct interpreter *interpreter, char ***env, struct error *err)
{
	(void)err;
	if (interpreter->named) {
		_cleanup_(freep) char *folder = folder_of(interpreter->path);

		put_first_on_path(env, folder);
	}
	return 0;
}

/* Another venv that is active in the submitter's shell is left first, as `activate` does it. */
static int activate_venv(const struct interpreter *interpreter, char ***env, struct error *err)
{
	_cleanup_(freep) char *bin = path_join(interpreter->prefix, "bin");
	const char *active = env_get(*env, "VIRTUAL_ENV");

	(void)err;
	if (active && strcmp(active, interpreter->prefix) != 0) {
		_cleanup_(freep) char *old_bin = path_join(active, "bin");

		remove_from_path(env, old_bin);
		env_set(env, "VIRTUAL_ENV_PROMPT", NULL);
	}
	put_first_on_path(env, bin);
	env_set(env, "VIRTUAL_ENV", interpreter->prefix);
	env_set(env, "PYTHONHOME", NULL);
	return 0;
}

static bool exists(const char *dir, const char *name)
{
	_cleanup_(freep) char *path = path_join(dir, name);
	struct stat st;

	return stat(path, &st) == 0;
}

/* As conda calls it: a name below a folder `envs`, "base" for the root, else the path. */
static char *conda_name(const char *prefix)
{
	_cleanup_(freep) char *parent = folder_of(prefix);
	const char *name = strrchr(prefix, '/');
	size_t size = strlen(parent);

	if (name && size >= 5 && !strcmp(parent + size - 5, "/envs"))
		return mem_strdup(name + 1);
	return mem_strdup(exists(prefix, "condabin/conda") ? "base" : prefix);
}

/* How many conda environments are active, one on top of the other. */
static long conda_level(char *const *env)
{
	const char *text = env_get(env, "CONDA_SHLVL");
	long level = text ? strtol(text, NULL, 10) : 0;

	return level > 0 && level < 1000 && env_get(env, "CONDA_PREFIX") ? level : 0;
}

static int set_conda_variables(const char *path, const char *member, char ***env, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(json_freep) struct json *root = NULL;
	const struct json *variables;
	int r = file_read(AT_FDCWD, path, CONDA_VARIABLES_MAX, &text);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return error_errno(err, r, NULL, "the conda environment's %s", path);
	r = json_parse(text.data, text.size, &root, err);
	if (r < 0) {
		error_prefix(err, path);
		return r;
	}
	variables = member ? json_get(root, member) : root;
	if (!json_is_object(variables))
		return 0;
	for (const struct json *at = json_first(variables); at; at = json_next(at)) {
		const char *value = json_string(at);

		if (value && env_name_valid(json_key(at)))
			env_set(env, json_key(at), !strcmp(value, CONDA_UNSET) ? NULL : value);
	}
	return 0;
}

static int is_json(const struct dirent *entry)
{
	size_t size = strlen(entry->d_name);

	return size > 5 && !strcmp(entry->d_name + size - 5, ".json");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Variables of packages, then those of `conda env config vars set`, which win. */
static int add_conda_variables(const char *prefix, char ***env, struct error *err)
{
	_cleanup_(freep) char *dir = path_join(prefix, "etc/conda/env_vars.d");
	_cleanup_(freep) char *state = path_join(prefix, "conda-meta/state");
	struct dirent **entries = NULL;
	int count = scandir(dir, &entries, is_json, by_name);
	int r = 0;

	for (int i = 0; i < count; i++) {
		_cleanup_(freep) char *path = path_join(dir, entries[i]->d_name);

		if (r >= 0)
			r = set_conda_variables(path, NULL, env, err);
		free(entries[i]);
	}
	free(entries);
	return r < 0 ? r : set_conda_variables(state, "env_vars", env, err);
}

static int source_conda_scripts(
	const char *prefix, const char *folder, bool reverse, char ***env, struct error *err)
{
	_cleanup_(freep) char *dir = mem_printf("%s/etc/conda/%s", prefix, folder);

	return activate_scripts_apply(dir, reverse, env, err);
}

/* The one that is active in the submitter's shell: its scripts undo what they did. */
static int leave_conda(long level, char ***env, struct error *err)
{
	_cleanup_(freep) char *old = mem_strdup(env_get(*env, "CONDA_PREFIX"));
	_cleanup_(freep) char *old_bin = path_join(old, "bin");
	_cleanup_(freep) char *variable = mem_printf("CONDA_PREFIX_%ld", level);
	int r = source_conda_scripts(old, "deactivate.d", true, env, err);

	if (r < 0)
		return r;
	remove_from_path(env, old_bin);
	env_set(env, variable, old);
	env_set(env, "CONDA_PROMPT_MODIFIER", NULL);
	return 0;
}

/* What conda's activate.py computes. One that is active already has had all this done to it. */
static int activate_conda(const struct interpreter *interpreter, char ***env, struct error *err)
{
	_cleanup_(freep) char *bin = path_join(interpreter->prefix, "bin");
	_cleanup_(freep) char *name = conda_name(interpreter->prefix);
	_cleanup_(freep) char *next_level = NULL;
	long level = conda_level(*env);
	int r = 0;

	if (level && !strcmp(env_get(*env, "CONDA_PREFIX"), interpreter->prefix)) {
		put_first_on_path(env, bin);
		return 0;
	}
	if (level)
		r = leave_conda(level, env, err);
	if (r < 0)
		return r;
	next_level = mem_printf("%ld", level + 1);
	put_first_on_path(env, bin);
	env_set(env, "CONDA_PREFIX", interpreter->prefix);
	env_set(env, "CONDA_DEFAULT_ENV", name);
	env_set(env, "CONDA_SHLVL", next_level);
	r = add_conda_variables(interpreter->prefix, env, err);
	return r < 0 ? r : source_conda_scripts(interpreter->prefix, "activate.d", false, env, err);
}

int interpreter_activate(const struct interpreter *interpreter, char ***env, struct error *err)
{
	static const struct {
		const char *marker; /* below the prefix; NULL: any */
		int (*activate)(
			const struct interpreter *interpreter, char ***env, struct error *err);
	} kinds[] = {
		{ "pyvenv.cfg", activate_venv },
		{ "bin/pyvenv.cfg", activate_venv },
		{ "conda-meta", activate_conda },
		{ NULL, activate_plain },
	};
	_cleanup_(strv_freep) char **changed = strv_copy(*env);
	size_t i = 0;
	int r;

	while (kinds[i].marker && !exists(interpreter->prefix, kinds[i].marker))
		i++;
	r = kinds[i].activate(interpreter, &changed, err);
	if (r < 0)
		return r;
	strv_free(*env);
	*env = TAKE(changed);
	return 0;
}
