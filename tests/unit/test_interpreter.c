/* SPDX-License-Identifier: MIT */
/* test_interpreter - which Python is found, what it is called, and what activation changes */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "capture/activate_scripts.h"
#include "capture/interpreter.h"
#include "capture/python_probe.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"

#define PYTHON "/usr/bin/python3"
#define SYSTEM_PATH "PATH=/usr/local/bin:/usr/bin:/bin"

static char *dir; /* of the test at hand */

static int set_up(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)state;
	dir = mem_printf("%s/test_interpreter.XXXXXX", base ? base : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tree_remove(AT_FDCWD, dir);
	free(dir);
	return 0;
}

/* A path below the test's folder; valid until the sixteenth call from now. */
static const char *at(const char *name)
{
	static char paths[16][PATH_MAX];
	static size_t next;
	char *path = paths[next++ % ARRAY_SIZE(paths)];

	snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, mode_t mode, const char *text)
{
	_cleanup_(freep) char *path = mem_strdup(at(name));

	*strrchr(path, '/') = '\0';
	assert_int_equal(dir_make(path, 0755), 0);
	assert_int_equal(
		file_replace(AT_FDCWD, at(name), text, strlen(text), mode, FILE_NO_SYNC), 0);
	assert_int_equal(chmod(at(name), mode), 0);
}

static void link_python(const char *name)
{
	_cleanup_(freep) char *path = mem_strdup(at(name));

	*strrchr(path, '/') = '\0';
	assert_int_equal(dir_make(path, 0755), 0);
	assert_int_equal(symlink(PYTHON, at(name)), 0);
}

static char **environment(const char *path)
{
	char **env = NULL;

	strv_addf(&env, "PATH=%s", path);
	strv_add(&env, "HOME=/nonexistent");
	return env;
}

static int find(const char *asked, const char *path, struct interpreter *ret, struct error *err)
{
	_cleanup_(strv_freep) char **env = environment(path);

	*err = (struct error)ERROR_INIT;
	return interpreter_find(asked, dir, env, ret, err);
}

static void assert_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static void assert_fails(const char *asked, const char *path, int code, const char *part)
{
	struct interpreter found = { 0 };
	struct error err;
	int64_t start = clock_boot();

	assert_int_equal(find(asked, path, &found, &err), code);
	assert_null(found.path);
	assert_text(err.message, part);
	assert_text(err.message, "/usr/bin/python3"); /* what to do */
	assert_null(strchr(err.message, '\n'));
	assert_true(clock_boot() - start < 9 * USEC_PER_SEC); /* a probe has ten */
}

static void test_a_path_is_kept_as_it_was_given(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	struct error err;

	(void)state;
	assert_int_equal(find(PYTHON, "/nonexistent", &found, &err), 0);
	assert_string_equal(found.path, PYTHON);
	assert_string_equal(found.prefix, "/usr");
	assert_int_equal(strncmp(found.version, "3.", 2), 0);
	assert_true(found.named);
}

static void test_a_name_is_looked_up_on_the_submitters_path(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	_cleanup_(freep) char *path = mem_printf("relative:%s:/usr/bin", at("empty"));
	struct error err;

	(void)state;
	assert_int_equal(find("python3", path, &found, &err), 0);
	assert_string_equal(found.path, PYTHON);
	assert_true(found.named);
}

static void test_a_relative_path_is_the_source_directorys(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	struct error err;

	(void)state;
	link_python("tools/py");
	assert_int_equal(find("./tools/py", "/nonexistent", &found, &err), 0);
	assert_string_equal(found.path, at("tools/py"));
}

static void test_by_default_python_then_python3(void **state)
{
	struct error err;

	(void)state;
	link_python("bin/python3");
	for (int both = 0; both < 2; both++) {
		_cleanup_(interpreter_release) struct interpreter found = { 0 };

		if (both)
			link_python("bin/python");
		assert_int_equal(find(NULL, at("bin"), &found, &err), 0);
		assert_string_equal(found.path, at(both ? "bin/python" : "bin/python3"));
		assert_false(found.named);
	}
}

static void test_a_python_that_does_not_answer_does_not_hide_python3(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	struct error err;

	(void)state;
	write_file("bin/python", 0755,
		"#!/bin/sh\necho 'pyenv: python: command not found' >&2; exit 127\n");
	assert_fails(NULL, at("bin"), -ENOEXEC, "command not found");
	link_python("bin/python3");
	assert_int_equal(find(NULL, at("bin"), &found, &err), 0);
	assert_string_equal(found.path, at("bin/python3"));
}

static void test_nothing_on_path_says_what_was_looked_for(void **state)
{
	(void)state;
	assert_fails(NULL, at("bin"), -ENOENT, "neither python nor python3");
	assert_fails("python9.9", at("bin"), -ENOENT, "no python9.9 on PATH");
	write_file("bin/python", 0644, "");
	assert_fails("python", at("bin"), -EACCES, "no executable python");
}

static void test_what_is_no_interpreter_is_named_with_the_cause(void **state)
{
	(void)state;
	write_file("plain.txt", 0644, "text");
	write_file("text", 0755, "neither ELF nor script");
	write_file("no_program", 0755, "#!/nonexistent/python9\n");
	write_file("loud", 0755, "#!/bin/sh\nprintf 'a\\001\\nb \\377c'; exit 5\n");
	write_file("silent", 0755, "#!/bin/sh\n");
	write_file("killed", 0755, "#!/bin/sh\nkill -ABRT $$\n");
	assert_int_equal(dir_make(at("folder"), 0755), 0);
	assert_int_equal(symlink("/nonexistent/python3.10", at("middle")), 0);
	assert_int_equal(symlink("middle", at("dangling")), 0);
	assert_fails(at("nothing"), SYSTEM_PATH, -ENOENT, at("nothing"));
	assert_fails(at("plain.txt/python"), SYSTEM_PATH, -ENOENT, "plain.txt/python");
	assert_fails(at("plain.txt"), SYSTEM_PATH, -EACCES, "not executable");
	assert_fails(at("dangling"), SYSTEM_PATH, -ENOENT, at("dangling"));
	assert_fails(at("dangling"), SYSTEM_PATH, -ENOENT, "/nonexistent/python3.10");
	assert_fails(at("folder"), SYSTEM_PATH, -ENOENT, "has no bin/python");
	assert_fails(at("text"), SYSTEM_PATH, -ENOEXEC, "no program");
	assert_fails(at("no_program"), SYSTEM_PATH, -ENOENT, "first line");
	assert_fails(at("loud"), SYSTEM_PATH, -ENOEXEC,
		"status 5: a b \xef\xbf\xbd"
		"c;");
	assert_fails(at("silent"), SYSTEM_PATH, -ENOEXEC, "printed nothing");
	assert_fails(at("killed"), SYSTEM_PATH, -ENOEXEC, "signal 6");
	assert_fails("/bin/true", SYSTEM_PATH, -ENOEXEC, "/bin/true is not a Python interpreter");
	assert_fails("/bin/echo", SYSTEM_PATH, -ENOEXEC, "it printed");
	assert_fails("/usr/bin/perl", SYSTEM_PATH, -ENOEXEC, "not a Python");
	assert_fails("/bin/bash", SYSTEM_PATH, -ENOEXEC, "not a Python");
	assert_fails("/dev/null", SYSTEM_PATH, -EACCES, "/dev/null");
}

static void test_what_never_ends_is_bounded(void **state)
{
	static char *const env[] = { SYSTEM_PATH, NULL };
	struct python_answer answer;
	struct error err = ERROR_INIT;
	int64_t start = clock_boot();

	(void)state;
	write_file("hangs", 0755, "#!/bin/sh\nsleep 300\n");
	write_file("yes", 0755, "#!/bin/sh\nyes\n");
	assert_int_equal(python_probe(at("hangs"), "/", env, 200, &answer, &err), -ETIMEDOUT);
	assert_text(err.message, at("hangs"));
	assert_fails(at("yes"), SYSTEM_PATH, -ENOEXEC, "prints without end");
	assert_true(clock_boot() - start < 9 * USEC_PER_SEC);
}

static void test_files_beside_the_script_are_not_imported(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	struct error err;

	(void)state;
	write_file("os.py", 0644, "raise SystemExit('mine')\n");
	link_python("python");
	assert_int_equal(find("./python", "/usr/bin", &found, &err), 0);
}

static void test_a_venv_keeps_its_own_path_and_prefix(void **state)
{
	_cleanup_(freep) char *prefix = mem_strdup(at("venv"));
	const char *const asked[] = { "venv/bin/python", "./venv", "./venv/" };
	struct error err;

	(void)state;
	link_python("venv/bin/python");
	write_file("venv/pyvenv.cfg", 0644, "home = /usr/bin\n");
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		_cleanup_(interpreter_release) struct interpreter found = { 0 };

		assert_int_equal(find(asked[i], "/nonexistent", &found, &err), 0);
		assert_string_equal(found.path, at("venv/bin/python"));
		assert_string_equal(found.prefix, prefix);
	}
}

/* The answer of an ELF file is remembered, that of its venv not beyond the venv. */
static void test_a_venv_made_after_the_first_look_is_seen(void **state)
{
	_cleanup_(interpreter_release) struct interpreter before = { 0 }, after = { 0 };
	struct error err;

	(void)state;
	link_python("late/bin/python");
	assert_int_equal(find("late/bin/python", "/nonexistent", &before, &err), 0);
	assert_string_equal(before.prefix, "/usr");
	write_file("late/pyvenv.cfg", 0644, "home = /usr/bin\n");
	assert_int_equal(find("late/bin/python", "/nonexistent", &after, &err), 0);
	assert_string_equal(after.prefix, at("late"));
}

static void test_a_file_that_was_replaced_is_asked_again(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	struct error err;

	(void)state;
	link_python("swap");
	assert_int_equal(find("./swap", "/nonexistent", &found, &err), 0);
	assert_int_equal(unlink(at("swap")), 0);
	assert_int_equal(symlink("/bin/true", at("swap")), 0);
	assert_fails("./swap", "/nonexistent", -ENOEXEC, "not a Python");
}

static void test_a_shim_found_by_name_gives_way_to_what_it_leads_to(void **state)
{
	const char *const asked[] = { NULL, "python3" };
	struct error err;

	(void)state;
	write_file("python3", 0755, "#!/bin/sh\nexec \"$(cat .python-path)\" \"$@\"\n");
	write_file(".python-path", 0644, PYTHON "\n");
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		_cleanup_(freep) char *path = mem_printf("%s:/bin", dir);
		_cleanup_(interpreter_release) struct interpreter found = { 0 };

		/* Asked in the source directory: the shim reads its file there. */
		assert_int_equal(find(asked[i], path, &found, &err), 0);
		assert_string_equal(found.path, PYTHON);
	}
}

static void test_a_wrapper_named_by_its_path_stays(void **state)
{
	_cleanup_(interpreter_release) struct interpreter found = { 0 };
	struct error err;

	(void)state;
	write_file("wrapper.sh", 0755, "#!/bin/sh\nNICE=1 exec " PYTHON " \"$@\"\n");
	assert_int_equal(find("./wrapper.sh", "/bin", &found, &err), 0);
	assert_string_equal(found.path, at("wrapper.sh"));
	assert_string_equal(found.prefix, "/usr");
}

static void test_pyenvs_pythons_of_all_ages_are_pythons(void **state)
{
	static const char *const versions[] = { "2.7.18", "3.6.15", "3.13.0" };
	struct error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		_cleanup_(freep) char *path =
			mem_printf("/root/.pyenv/versions/%s/bin/python", versions[i]);
		_cleanup_(interpreter_release) struct interpreter found = { 0 };

		if (access(path, X_OK) < 0)
			continue; /* another machine */
		assert_int_equal(find(path, "/nonexistent", &found, &err), 0);
		assert_string_equal(found.version, versions[i]);
	}
}

static void *find_many(void *arg)
{
	for (int i = 0; i < 100; i++) {
		_cleanup_(interpreter_release) struct interpreter found = { 0 };
		_cleanup_(freep) char *name = mem_printf("./python%d", i % 80);
		struct error err;

		if (find(name, "/nonexistent", &found, &err) < 0)
			*(bool *)arg = false;
	}
	return NULL;
}

/* More interpreters than are remembered, from several threads. */
static void test_threads_may_look_at_once(void **state)
{
	pthread_t threads[2];
	bool well[ARRAY_SIZE(threads)];

	(void)state;
	for (int i = 0; i < 80; i++) {
		_cleanup_(freep) char *name = mem_printf("python%d", i);

		link_python(name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		well[i] = true;
		assert_int_equal(pthread_create(&threads[i], NULL, find_many, &well[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], NULL);
		assert_true(well[i]);
	}
}

static struct interpreter interpreter_at(const char *prefix, bool named)
{
	return (struct interpreter){
		.path = mem_printf("%s/bin/python", prefix),
		.version = mem_strdup("3.11.2"),
		.prefix = mem_strdup(prefix),
		.named = named,
	};
}

static void activate(const char *prefix, bool named, char ***env)
{
	_cleanup_(interpreter_release) struct interpreter interpreter =
		interpreter_at(prefix, named);
	struct error err = ERROR_INIT;

	if (interpreter_activate(&interpreter, env, &err) < 0)
		fail_msg("%s", err.message);
}

static void assert_env(char *const *env, const char *name, const char *value)
{
	if (value)
		assert_string_equal(env_get(env, name), value);
	else
		assert_null(env_get(env, name));
}

static void test_a_venv_is_activated_once_and_again(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/usr/bin:/bin");
	_cleanup_(freep) char *path = mem_printf("%s:/usr/bin:/bin", at("venv/bin"));

	(void)state;
	write_file("venv/pyvenv.cfg", 0644, "");
	env_set(&env, "PYTHONHOME", "/opt/python");
	for (int i = 0; i < 2; i++) {
		activate(at("venv"), true, &env);
		assert_env(env, "VIRTUAL_ENV", at("venv"));
		assert_env(env, "PYTHONHOME", NULL);
		assert_env(env, "PATH", path);
	}
}

static void test_another_venv_is_left_first(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/a/bin:/usr/bin:/a/bin");
	_cleanup_(freep) char *path = mem_printf("%s:/usr/bin", at("venv/bin"));

	(void)state;
	write_file("venv/pyvenv.cfg", 0644, "");
	env_set(&env, "VIRTUAL_ENV", "/a");
	env_set(&env, "VIRTUAL_ENV_PROMPT", "(a)");
	activate(at("venv"), true, &env);
	assert_env(env, "VIRTUAL_ENV", at("venv"));
	assert_env(env, "VIRTUAL_ENV_PROMPT", NULL);
	assert_env(env, "PATH", path);
}

static void test_a_plain_interpreter_is_first_on_path_when_it_was_named(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/usr/bin:/opt/p/bin::/bin");
	_cleanup_(strv_freep) char **none = NULL;

	(void)state;
	activate("/opt/p", false, &env);
	assert_env(env, "PATH", "/usr/bin:/opt/p/bin::/bin");
	activate("/opt/p", true, &env);
	assert_env(env, "PATH", "/opt/p/bin:/usr/bin::/bin");
	assert_int_equal(strv_length(env), 2);
	activate("/opt/p", true, &none);
	assert_env(none, "PATH", "/opt/p/bin");
}

static void test_a_conda_environment_is_activated_with_its_scripts(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/usr/bin:/bin");
	_cleanup_(freep) char *path = mem_printf("%s:/usr/bin:/bin", at("conda/envs/t/bin"));

	(void)state;
	dir_make(at("conda/envs/t/conda-meta"), 0755);
	write_file("conda/envs/t/etc/conda/activate.d/20-b.sh", 0644,
		"echo noise; export ORDER=$ORDER-b LINES2='a\nb'; unset GONE; false; exec_me=1\n");
	write_file("conda/envs/t/etc/conda/activate.d/10 a.sh", 0644,
		"export ORDER=a SEEN=$CONDA_PREFIX; shift\n");
	write_file("conda/envs/t/etc/conda/activate.d/30.fish", 0644, "exit 1\n");
	env_set(&env, "GONE", "x");
	env_set(&env, "odd.name", "stays");
	env_set(&env, "BASH_ENV", "/nonexistent");
	activate(at("conda/envs/t"), true, &env);
	assert_env(env, "CONDA_PREFIX", at("conda/envs/t"));
	assert_env(env, "CONDA_DEFAULT_ENV", "t");
	assert_env(env, "CONDA_SHLVL", "1");
	assert_env(env, "CONDA_PROMPT_MODIFIER", NULL);
	assert_env(env, "PATH", path);
	assert_env(env, "ORDER", "a-b");
	assert_env(env, "SEEN", at("conda/envs/t"));
	assert_env(env, "LINES2", "a\nb");
	assert_env(env, "GONE", NULL);
	assert_env(env, "exec_me", NULL);
	assert_env(env, "odd.name", "stays");
	assert_env(env, "BASH_ENV", "/nonexistent");
	assert_env(env, "SHLVL", NULL);
	assert_env(env, "PWD", NULL);
}

static void test_condas_own_variables_are_set_packages_first(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/bin");

	(void)state;
	write_file("c/conda-meta/state", 0644,
		"{\"version\": 1, \"env_vars\": {\"A\": \"user\", \"GONE\": \"***unset***\"}}");
	write_file(
		"c/etc/conda/env_vars.d/p.json", 0644, "{\"A\": \"package\", \"B\": \"package\"}");
	env_set(&env, "GONE", "x");
	activate(at("c"), true, &env);
	assert_env(env, "A", "user");
	assert_env(env, "B", "package");
	assert_env(env, "GONE", NULL);
	assert_env(env, "CONDA_DEFAULT_ENV", at("c"));
}

static void test_the_base_environment_is_called_base(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/bin");

	(void)state;
	dir_make(at("base/conda-meta"), 0755);
	write_file("base/condabin/conda", 0755, "");
	activate(at("base"), false, &env);
	assert_env(env, "CONDA_DEFAULT_ENV", "base");
}

static void test_an_active_conda_environment_stays_as_it_is(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/bin");

	(void)state;
	dir_make(at("c/conda-meta"), 0755);
	write_file("c/etc/conda/activate.d/a.sh", 0644, "export COUNT=${COUNT}x\n");
	for (int i = 0; i < 2; i++) {
		activate(at("c"), true, &env);
		assert_env(env, "COUNT", "x");
		assert_env(env, "CONDA_SHLVL", "1");
	}
}

static void test_another_conda_environment_is_left_first(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/bin");
	_cleanup_(freep) char *path = mem_printf("%s:/bin", at("new/bin"));

	(void)state;
	dir_make(at("new/conda-meta"), 0755);
	dir_make(at("old/conda-meta"), 0755);
	write_file("old/etc/conda/activate.d/a.sh", 0644, "export CC=old\n");
	write_file("old/etc/conda/deactivate.d/a.sh", 0644, "unset CC; export LEFT=$LEFT-a\n");
	write_file("old/etc/conda/deactivate.d/b.sh", 0644, "LEFT=b$CONDA_SHLVL\n");
	activate(at("old"), true, &env);
	assert_env(env, "CC", "old");
	activate(at("new"), true, &env);
	assert_env(env, "CC", NULL);
	assert_env(env, "LEFT", "b1-a");
	assert_env(env, "CONDA_SHLVL", "2");
	assert_env(env, "CONDA_PREFIX_1", at("old"));
	assert_env(env, "PATH", path);
}

/* Remembered while the files and the environment are the same, and no longer. */
static void test_scripts_run_once_while_nothing_changes(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	write_file("d/a.sh", 0644, "echo >>$MARK; export A=1 PID_OF_RUN=$$\n");
	for (int i = 0; i < 4; i++) {
		_cleanup_(strv_freep) char **env = environment("/bin");
		_cleanup_(strbuf_release) struct strbuf runs = STRBUF_INIT;

		env_set(&env, "MARK", at("mark"));
		if (i >= 2)
			env_set(&env, "OTHER", "environment");
		if (i == 3)
			write_file("d/a.sh", 0644, "echo >>$MARK; export A=22\n");
		assert_int_equal(activate_scripts_apply(at("d"), false, &env, &err), 0);
		assert_env(env, "A", i == 3 ? "22" : "1");
		file_read(AT_FDCWD, at("mark"), 100, &runs);
		assert_int_equal(runs.size, i < 2 ? 1 : i);
	}
}

static void test_scripts_that_end_the_shell_are_an_error(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/bin");
	_cleanup_(interpreter_release) struct interpreter conda = { 0 };
	struct error err = ERROR_INIT;

	(void)state;
	dir_make(at("c/conda-meta"), 0755);
	write_file("c/etc/conda/activate.d/a.sh", 0644, "echo no licence >&2; exit 0\n");
	conda = interpreter_at(at("c"), true);
	assert_true(interpreter_activate(&conda, &env, &err) < 0);
	assert_text(err.message, at("c/etc/conda/activate.d"));
	assert_text(err.message, "no licence");
	assert_int_equal(strv_length(env), 2); /* untouched */
}

static void test_malformed_conda_variables_name_the_file(void **state)
{
	_cleanup_(strv_freep) char **env = environment("/bin");
	_cleanup_(interpreter_release) struct interpreter conda = { 0 };
	struct error err = ERROR_INIT;

	(void)state;
	write_file("c/conda-meta/state", 0644, "{");
	conda = interpreter_at(at("c"), true);
	assert_true(interpreter_activate(&conda, &env, &err) < 0);
	assert_text(err.message, at("c/conda-meta/state"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_a_path_is_kept_as_it_was_given),
		TEST(test_a_name_is_looked_up_on_the_submitters_path),
		TEST(test_a_relative_path_is_the_source_directorys),
		TEST(test_by_default_python_then_python3),
		TEST(test_a_python_that_does_not_answer_does_not_hide_python3),
		TEST(test_nothing_on_path_says_what_was_looked_for),
		TEST(test_what_is_no_interpreter_is_named_with_the_cause),
		TEST(test_what_never_ends_is_bounded),
		TEST(test_files_beside_the_script_are_not_imported),
		TEST(test_a_venv_keeps_its_own_path_and_prefix),
		TEST(test_a_venv_made_after_the_first_look_is_seen),
		TEST(test_a_file_that_was_replaced_is_asked_again),
		TEST(test_a_shim_found_by_name_gives_way_to_what_it_leads_to),
		TEST(test_a_wrapper_named_by_its_path_stays),
		TEST(test_pyenvs_pythons_of_all_ages_are_pythons),
		TEST(test_threads_may_look_at_once),
		TEST(test_a_venv_is_activated_once_and_again),
		TEST(test_another_venv_is_left_first),
		TEST(test_a_plain_interpreter_is_first_on_path_when_it_was_named),
		TEST(test_a_conda_environment_is_activated_with_its_scripts),
		TEST(test_condas_own_variables_are_set_packages_first),
		TEST(test_the_base_environment_is_called_base),
		TEST(test_an_active_conda_environment_stays_as_it_is),
		TEST(test_another_conda_environment_is_left_first),
		TEST(test_scripts_run_once_while_nothing_changes),
		TEST(test_scripts_that_end_the_shell_are_an_error),
		TEST(test_malformed_conda_variables_name_the_file),
	};

	alarm(240);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
