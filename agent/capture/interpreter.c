/* SPDX-License-Identifier: MIT */
/* interpreter - which Python runs the script; see interpreter.h */
#include "capture/interpreter.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/python_probe.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"

/* What execvp() takes for an environment without PATH, and where people install Pythons. */
#define PATH_DEFAULT "/usr/local/bin:/usr/bin:/bin"
#define LINKS_MAX 40 /* the kernel's own limit */

/* What interpreter_find() was told, for those that it calls. */
struct search {
	const char *source_dir;
	char *const *env;
};

/* 0 for a regular file that may be executed; else -ENOENT, -EACCES, -EISDIR, ... */
static int check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* Where a link leads in the end, though nothing is there: malloc'ed; NULL when path is no link. */
static char *dead_end_of(const char *path)
{
	char *at = NULL;

	for (int i = 0; i < LINKS_MAX; i++) {
		_cleanup_(freep) char *link = at;
		_cleanup_(freep) char *dir = NULL;
		char target[PATH_MAX];
		ssize_t size = readlink(at ? at : path, target, sizeof(target) - 1);
		const char *slash = strrchr(at ? at : path, '/');

		if (size < 0)
			return TAKE(link);
		target[size] = '\0';
		dir = mem_strndup(
			at ? at : path, slash ? (size_t)(slash - (at ? at : path)) + 1 : 0);
		at = path_join(dir, target);
	}
	return at;
}

static int explain_missing(const char *path, struct error *err)
{
	_cleanup_(freep) char *end = dead_end_of(path);

	if (end)
		return error_set(err, -ENOENT, PYTHON_TARGET,
			"the interpreter %s is a link to %s, which is not there: make that "
			"environment again, or %s",
			path, end, PYTHON_ADVICE);
	return error_set(
		err, -ENOENT, PYTHON_TARGET, "no such interpreter: %s; %s", path, PYTHON_ADVICE);
}

static int explain(const char *path, int r, struct error *err)
{
	struct stat st;

	if (r == -ENOENT || r == -ENOTDIR)
		return explain_missing(path, err);
	if (r == -EISDIR)
		return error_set(err, -ENOEXEC, PYTHON_TARGET,
			"%s is a folder, not an interpreter; %s", path, PYTHON_ADVICE);
	if (r == -EACCES && stat(path, &st) == 0)
		return error_set(err, r, PYTHON_TARGET, "the interpreter %s is not executable; %s",
			path, PYTHON_ADVICE);
	return error_set(err, r, PYTHON_TARGET, "the interpreter %s cannot be reached: %s; %s",
		path, strerror(-r), PYTHON_ADVICE);
}

/*
 * The first on PATH that may be executed, as a shell finds it; *ret is malloc'ed. Parts of PATH
 * that are not absolute mean the submitter's working directory, which we do not know: skipped.
 */
static int search_path(char *const *env, const char *name, char **ret)
{
	const char *path = env_get(env, "PATH");
	int result = -ENOENT;

	for (const char *part = path ? path : PATH_DEFAULT; *part;) {
		size_t size = strcspn(part, ":");
		_cleanup_(freep) char *program = NULL;
		int r = -ENOENT;

		if (*part == '/') {
			program = mem_printf("%.*s/%s", (int)size, part, name);
			r = check_program(program);
		}
		if (r >= 0) {
			*ret = TAKE(program);
			return 0;
		}
		if (r == -EACCES)
			result = r;
		part += size + (part[size] == ':');
	}
	return result;
}

/* The source directory may have gone since the submit; absolute paths need none. */
static const char *probe_directory(const char *source_dir)
{
	return faccessat(AT_FDCWD, source_dir, X_OK, AT_EACCESS) == 0 ? source_dir : "/";
}

/* follow: a script stands for the Python that it leads to (a shim). */
static int identify(const struct search *search, const char *path, bool follow,
	struct interpreter *ret, struct error *err)
{
	_cleanup_(python_answer_release) struct python_answer answer = { 0 };
	int r = python_probe(path, probe_directory(search->source_dir), search->env,
		INTERPRETER_TIMEOUT_MS, &answer, err);

	if (r < 0)
		return r;
	follow = follow && answer.is_script && answer.executable[0] == '/' &&
		 check_program(answer.executable) >= 0;
	ret->path = follow ? TAKE(answer.executable) : mem_strdup(path);
	ret->version = TAKE(answer.version);
	ret->prefix = TAKE(answer.prefix);
	return 0;
}

/* A folder is a venv or a conda prefix: the Python in its bin. */
static int find_in_folder(const char *folder, char **ret_path, struct error *err)
{
	static const char *const names[] = { "bin/python", "bin/python3" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *path = path_join(folder, names[i]);

		r = check_program(path);
		if (r >= 0) {
			*ret_path = TAKE(path);
			return 0;
		}
		/* A dead link or a file without x says more than the other name's absence. */
		if (r != -ENOENT || faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return explain(path, r, err);
	}
	return error_set(err, -ENOENT, PYTHON_TARGET,
		"the folder %s has no bin/python: it is neither a venv nor a conda environment; %s",
		folder, PYTHON_ADVICE);
}

/* What is named by a path is what is executed, also a script: it may set something up first. */
static int find_path(
	const struct search *search, const char *asked, struct interpreter *ret, struct error *err)
{
	_cleanup_(freep) char *path = NULL;
	int r;

	while (!strncmp(asked, "./", 2))
		asked += 2 + strspn(asked + 2, "/");
	/* Not made normal: a `..` behind a link means what the kernel says. */
	path = path_join(search->source_dir, asked);
	r = check_program(path);
	if (r == -EISDIR) {
		_cleanup_(freep) char *folder = TAKE(path);

		r = find_in_folder(folder, &path, err);
	}
	if (r < 0)
		return explain(path ? path : asked, r, err);
	return identify(search, path, false, ret, err);
}

static int find_name(
	const struct search *search, const char *name, struct interpreter *ret, struct error *err)
{
	const char *path = env_get(search->env, "PATH");
	_cleanup_(freep) char *program = NULL;
	int r = search_path(search->env, name, &program);

	if (r < 0)
		return error_set(err, r, PYTHON_TARGET, "no %s%s on PATH (%.500s); %s",
			r == -EACCES ? "executable " : "", name, path ? path : PATH_DEFAULT,
			PYTHON_ADVICE);
	return identify(search, program, true, ret, err);
}

/* A `python` that does not answer (a shim for a version that is not installed) does not hide a
 * `python3` that does. */
static int find_default(const struct search *search, struct interpreter *ret, struct error *err)
{
	struct error first = ERROR_INIT, second = ERROR_INIT;
	const char *path = env_get(search->env, "PATH");
	int r = find_name(search, "python", ret, &first);
	int r3;

	if (r >= 0)
		return 0;
	r3 = find_name(search, "python3", ret, &second);
	if (r3 >= 0)
		return 0;
	if (r == -ENOENT && r3 == -ENOENT)
		return error_set(err, -ENOENT, PYTHON_TARGET,
			"neither python nor python3 is on PATH (%.500s); %s",
			path ? path : PATH_DEFAULT, PYTHON_ADVICE);
	return r3 == -ENOENT ? error_set(err, r, PYTHON_TARGET, "%s", first.message)
			     : error_set(err, r3, PYTHON_TARGET, "%s", second.message);
}

int interpreter_find(const char *asked, const char *source_dir, char *const *env,
	struct interpreter *ret, struct error *err)
{
	struct search search = { source_dir, env };
	_cleanup_(interpreter_release) struct interpreter found = { .named = asked };
	int r;

	if (!asked)
		r = find_default(&search, &found, err);
	else if (strchr(asked, '/'))
		r = find_path(&search, asked, &found, err);
	else
		r = find_name(&search, asked, &found, err);
	if (r < 0)
		return r;
	*ret = found;
	found = (struct interpreter){ 0 };
	return 0;
}

void interpreter_release(struct interpreter *interpreter)
{
	free(interpreter->path);
	free(interpreter->version);
	free(interpreter->prefix);
	*interpreter = (struct interpreter){ 0 };
}
