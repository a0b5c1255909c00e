/* SPDX-License-Identifier: MIT */
/* git_info - which commit a source directory is at; see git_info.h */
#include "capture/git_info.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "capture/child_process.h"
#include "capture/git_answer.h"
#include "capture/git_url.h"
#include "common/cleanup.h"
#include "common/mem.h"

#define HELPER_TIMEOUT_MS 20000
#define HELPER_OUTPUT_MAX (GIT_PATCH_MAX + ((size_t)256 << 10))

/* Is there a `.git`, a folder or a file, in dir or above? dir is absolute, without links. */
static bool has_repository(const char *dir)
{
	for (size_t size = strlen(dir);; size--) {
		_cleanup_(freep) char *path = mem_printf("%.*s/.git", (int)size, dir);
		struct stat st;

		if (lstat(path, &st) == 0)
			return true;
		while (size && dir[size - 1] != '/')
			size--;
		if (!size)
			return false;
	}
}

/*
 * The submitter's GIT_* say nothing about the source directory and stay out. His home is where
 * git's configuration is: rewritten URLs, files that are ignored everywhere.
 */
static char **helper_environment(char *const *env)
{
	static const char *const names[] = { "HOME", "XDG_CONFIG_HOME" };
	char **list = NULL;

	strv_add(&list, "LC_ALL=C");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		env_set(&list, names[i], env_get(env, names[i]));
	return list;
}

static void explain_end(const struct child_process *child, const char *dir, char ***warnings)
{
	if (child->end == CHILD_PROCESS_TIMED_OUT)
		strv_addf(warnings,
			"git: the repository of %s could not be read within %d s: what was not "
			"known by then is left out",
			dir, HELPER_TIMEOUT_MS / 1000);
	else
		strv_addf(warnings, "git: the repository of %s could not be read (%s %d): %.200s",
			dir, child->end == CHILD_PROCESS_SIGNALED ? "signal" : "status",
			child->status,
			child->complaint.size ? child->complaint.data : "no message");
}

static void run_helper(const char *helper, const struct identity *as, const char *dir,
	char *const *env, struct git_answer *answer, char ***warnings)
{
	_cleanup_(strv_freep) char **clean = helper_environment(env);
	_cleanup_(child_process_release) struct child_process child = { 0 };
	char *const argv[] = { (char *)helper, (char *)dir, NULL };
	struct child_process_options options = { argv, clean, NULL, HELPER_OUTPUT_MAX,
		HELPER_TIMEOUT_MS, as, NULL };
	int r = child_process_run(&options, &child);

	if (r < 0) {
		strv_addf(warnings, "git: %s cannot be started: %s", helper, strerror(-r));
		return;
	}
	git_answer_parse(child.output.data, child.output.size, answer);
	if (!answer->complete)
		explain_end(&child, dir, warnings);
}

static bool is_true(const char *text)
{
	return !strcmp(text, "1") || !strcasecmp(text, "true");
}

static void override(char *const *env, const char *name, char **field)
{
	const char *value = env_get(env, name);

	if (value && *value && strlen(value) <= GIT_ANSWER_VALUE_MAX)
		mem_replace(field, value);
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

static void apply_overrides(char *const *env, struct git_answer *answer)
{
	_cleanup_(freep) char *commit = mem_strdup(answer->commit);

	override(env, "AZUREML_GIT_REPOSITORY_URI", &answer->repository_uri);
	override(env, "AZUREML_GIT_BRANCH", &answer->branch);
	override(env, "AZUREML_GIT_COMMIT", &answer->commit);
	override(env, "AZUREML_GIT_DIRTY", &answer->dirty);
	if (answer->dirty)
		mem_replace(&answer->dirty, is_true(answer->dirty) ? "True" : "False");
	/* A patch is against the commit that the record names, or it misleads. */
	if (!same(answer->dirty, "True") || !same(answer->commit, commit)) {
		free(TAKE(answer->patch));
		answer->patch_size = 0;
	}
}

static void set_properties(const struct git_answer *answer, struct pairs *properties)
{
	_cleanup_(freep) char *uri =
		answer->repository_uri ? git_url_strip(answer->repository_uri) : NULL;
	const struct {
		const char *key, *value;
	} list[] = {
		{ "azureml.git.repository_uri", uri },
		{ "mlflow.source.git.repoURL", uri },
		{ "azureml.git.branch", answer->branch },
		{ "mlflow.source.git.branch", answer->branch },
		{ "azureml.git.commit", answer->commit },
		{ "mlflow.source.git.commit", answer->commit },
		{ "azureml.git.dirty", answer->dirty },
	};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i].value && *list[i].value)
			pairs_set(properties, list[i].key, list[i].value);
}

/* Where there is no repository no process is started. */
static void read_as_we_are(const char *helper, const char *source_dir, char *const *env,
	struct git_answer *answer, char ***warnings)
{
	_cleanup_(freep) char *dir = realpath(source_dir, NULL);

	if (!dir)
		strv_addf(warnings, "git: %s: %s", source_dir, strerror(errno));
	else if (helper && has_repository(dir))
		run_helper(helper, NULL, dir, env, answer, warnings);
}

void git_info_read(const char *helper, const struct identity *as, const char *source_dir,
	char *const *env, struct git_info *ret)
{
	_cleanup_(git_answer_release) struct git_answer answer = { 0 };
	char **warnings = NULL;

	if (as && helper)
		run_helper(helper, as, source_dir, env, &answer, &warnings);
	else if (!as)
		read_as_we_are(helper, source_dir, env, &answer, &warnings);
	apply_overrides(env, &answer);
	*ret = (struct git_info){ .warnings = warnings };
	set_properties(&answer, &ret->properties);
	for (size_t i = 0; answer.warnings && answer.warnings[i]; i++)
		strv_add(&ret->warnings, answer.warnings[i]);
	ret->patch = TAKE(answer.patch);
	ret->patch_size = answer.patch_size;
}

void git_info_release(struct git_info *info)
{
	pairs_release(&info->properties);
	free(info->patch);
	strv_free(info->warnings);
	*info = (struct git_info){ 0 };
}
