/* SPDX-License-Identifier: MIT */
/* test_runconfig - Azure ML's run configurations: what is taken over, skipped, and refused */
#include "test.h"

#include <fcntl.h>

#include "cli/runconfig.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"

static void parse(const char *text, struct runconfig *ret)
{
	struct error err = ERROR_INIT;
	int r = runconfig_parse(text, strlen(text), "f", ret, &err);

	if (r < 0)
		fail_msg("refused: %s", err.message);
}

static void refuse(const char *text, const char *message)
{
	struct runconfig config = { 0 };
	struct error err = ERROR_INIT;

	assert_true(runconfig_parse(text, strlen(text), "f", &config, &err) < 0);
	if (!strstr(err.message, message))
		fail_msg("\"%s\" is not in \"%s\"", message, err.message);
	assert_null(config.script);
}

/* As the service's template has it (docs/azure-ml.md, section 2). */
static const char template_text[] = "# The script to run.\n"
				    "script: train.py\n"
				    "arguments: []\n"
				    "target: local\n"
				    "framework: Python\n"
				    "communicator: None\n"
				    "autoPrepareEnvironment: true\n"
				    "maxRunDurationSeconds:\n"
				    "nodeCount: 1\n"
				    "environment:\n"
				    "  environmentVariables:\n"
				    "    EXAMPLE_ENV_VAR: EXAMPLE_VALUE\n"
				    "  python:\n"
				    "    userManagedDependencies: true\n"
				    "    interpreterPath: python\n"
				    "    condaDependenciesFile: .azureml/conda_dependencies.yml\n"
				    "    baseCondaEnvironment:\n"
				    "  docker:\n"
				    "    enabled: false\n"
				    "    baseImage: mcr.microsoft.com/azureml/base:0.2.1\n"
				    "    arguments: []\n"
				    "  spark:\n"
				    "    repositories: []\n"
				    "history:\n"
				    "  outputCollection: true\n"
				    "  directoriesToWatch: [logs]\n"
				    "spark:\n"
				    "  configuration:\n"
				    "    spark.app.name: Azure ML Experiment\n"
				    "dataReferences: {}\n"
				    "data: {}\n";

static void the_template_is_understood(void **state)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };

	(void)state;
	parse(template_text, &config);
	assert_string_equal(config.script, "train.py");
	assert_int_equal(strv_length(config.arguments), 0);
	assert_null(config.command);
	assert_null(config.interpreter_path);
	assert_true(config.has_max_run_duration);
	assert_int_equal(config.max_run_duration_seconds, 0);
	assert_string_equal(
		env_get(config.environment_variables, "EXAMPLE_ENV_VAR"), "EXAMPLE_VALUE");
	assert_null(config.warnings);
}

static void keys_are_taken_in_any_case(void **state)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };

	(void)state;
	parse("SCRIPT: a.py\nArguments: [--lr, 0.1, true, '', \"x y\"]\nTarget: Local\n"
	      "maxrundurationseconds: 90\n"
	      "Environment:\n  Name: mine\n"
	      "  ENVIRONMENTVARIABLES: {A: 1, B: old, C: }\n"
	      "  Python: {USERMANAGEDDEPENDENCIES: Yes, interpreterpath: /opt/x/bin/python}\n"
	      "environmentVariables: {B: new}\n",
		&config);
	assert_string_equal(config.script, "a.py");
	assert_int_equal(strv_length(config.arguments), 5);
	assert_string_equal(config.arguments[1], "0.1");
	assert_string_equal(config.arguments[2], "true");
	assert_string_equal(config.arguments[3], "");
	assert_string_equal(config.arguments[4], "x y");
	assert_int_equal(config.max_run_duration_seconds, 90);
	assert_string_equal(config.environment_name, "mine");
	assert_string_equal(config.interpreter_path, "/opt/x/bin/python");
	assert_string_equal(env_get(config.environment_variables, "A"), "1");
	assert_string_equal(env_get(config.environment_variables, "B"), "new");
	assert_string_equal(env_get(config.environment_variables, "C"), "");
}

static void json_is_understood(void **state)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };

	(void)state;
	parse(" {\n\t\"script\": \"a\\/b.py\", \"arguments\": [\"\\ud83d\\ude00\", \"\\\\ud83d\", 7, \"\\u00e9\"],"
	      "\n\t\"target\": null,\n\t\"unknown\": {\"x\": [1]}\n}\n",
		&config);
	assert_string_equal(config.script, "a/b.py");
	assert_string_equal(config.arguments[0], "\xf0\x9f\x98\x80");
	assert_string_equal(config.arguments[1], "\\ud83d");
	assert_string_equal(config.arguments[2], "7");
	assert_string_equal(config.arguments[3], "\xc3\xa9");
	assert_int_equal(strv_length(config.warnings), 1);
	assert_non_null(strstr(config.warnings[0], "f:4:"));
	assert_non_null(strstr(config.warnings[0], "\"unknown\""));
}

static void a_command_stands_for_a_script(void **state)
{
	_cleanup_(runconfig_release) struct runconfig one = { 0 };
	_cleanup_(runconfig_release) struct runconfig many = { 0 };

	(void)state;
	parse("command: python a.py && true\nscript: ''\n", &one);
	assert_string_equal(one.command, "python a.py && true");
	assert_null(one.script);
	parse("command: [python, a.py, '&&', 'true']\n", &many);
	assert_string_equal(many.command, "python a.py && true");
	refuse("command: a\nscript: b\n", "cannot be combined");
}

static void targets_that_mean_this_machine_are_taken(void **state)
{
	static const char *const texts[] = { "target: local\nscript: a\n",
		"target: None\nscript: a\n", "target: ''\nscript: a\n", "target:\nscript: a\n",
		"target: ~\nscript: a\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(runconfig_release) struct runconfig config = { 0 };

		parse(texts[i], &config);
	}
	refuse("script: a\ntarget: gpu-cluster\n",
		"f:2:9: target: \"gpu-cluster\" is not known here");
}

static void what_this_version_cannot_do_is_refused(void **state)
{
	(void)state;
	refuse("environment:\n  docker:\n    enabled: true\n",
		"f:3:14: environment.docker.enabled: ");
	refuse("docker: {useDocker: true}\n", "f:1:21: docker.useDocker: runs in Docker");
	refuse("communicator: OpenMpi\n", "distributed runs are not in this version");
	refuse("arguments: ['DatasetConsumptionConfig:x']\n", "datasets are not in this version");
	refuse("environment: {python: {userManagedDependencies: false, condaDependencies: {dependencies: "
	       "[numpy]}}}\n",
		"builds no environments");
	refuse("environment: {python: {condaDependenciesFile: conda.yml}}\n", "interpreterPath");
}

static void conda_without_dependencies_is_no_wish(void **state)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };

	(void)state;
	parse("script: a\nenvironment: {python: {userManagedDependencies: false, condaDependencies: {}}}\n",
		&config);
	assert_null(config.warnings);
}

static void unknown_keys_are_warnings_with_their_line(void **state)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };

	(void)state;
	parse("script: a\nscipt: b\nenvironment:\n  python:\n    interpreter: x\n", &config);
	assert_int_equal(strv_length(config.warnings), 2);
	assert_string_equal(config.warnings[0], "f:2: the key \"scipt\" is not known, skipped");
	assert_string_equal(config.warnings[1],
		"f:5: the key \"environment.python.interpreter\" is not known, skipped");
}

static void wrong_types_are_errors_with_their_place(void **state)
{
	(void)state;
	refuse("script: [a]\n", "f:1:9: script: must be a text");
	refuse("arguments: a b\n", "f:1:12: arguments: must be a list");
	refuse("arguments:\n- {a: b}\n", "f:2:3: arguments: must be a list of texts");
	refuse("maxRunDurationSeconds: 1h\n",
		"f:1:24: maxRunDurationSeconds: must be a whole number");
	refuse("maxRunDurationSeconds: 0\n", "at least 1");
	refuse("environment: x\n", "f:1:14: environment: must be a mapping");
	refuse("environmentVariables: [A]\n", "must be a mapping");
	refuse("environmentVariables: {A: [1]}\n", "environmentVariables.A: must be a text");
	refuse("environmentVariables: {'A=B': 1}\n", "no name of a variable");
	refuse("environment: {python: {userManagedDependencies: perhaps}}\n",
		"must be true or false");
	refuse("[1, 2]\n", "f:1:1: a run configuration: must be a mapping");
}

static void malformed_texts_are_errors_with_their_place(void **state)
{
	(void)state;
	refuse("", "f:1:1: there is nothing in it");
	refuse("# only a comment\n", "there is nothing in it");
	refuse("script: a\n\targuments: []\n", "f:2:1: ");
	refuse("{\n\"script\": \"a\",\n\"arguments\": [1, 2\n}\n", "f:4:1: ");
	refuse("{\"script\": \"a\"", "did not find expected");
	refuse("script: \"\\0\"\n", "f:1:9: a NUL character");
	refuse("script: \xff\n", "f:1:");
	refuse("script: a\nscript: b\n",
		"f:2:1: the key \"script\" is there twice (first in line 1)");
	refuse("script: a\nSCRIPT: b\n",
		"f:2:1: the key \"SCRIPT\" is there twice, in another case");
	refuse("script: a\n---\nscript: b\n", "a second document");
	refuse("? [a]\n: b\n", "a key must be a text");
	refuse("script: *nobody\n", "f:1:9: an alias");
}

static void anchors_are_followed_and_cannot_explode(void **state)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };
	_cleanup_(strbuf_release) struct strbuf bomb = STRBUF_INIT;

	(void)state;
	parse("script: &s a.py\narguments: [*s, *s]\n", &config);
	assert_string_equal(config.arguments[1], "a.py");
	refuse("data: &a [*a]\n", "an alias of an anchor that is not there (yet)");
	strbuf_adds(&bomb, "script: a\ndata:\n  a0: &a0 [x, x]\n");
	for (int i = 1; i < 60; i++)
		strbuf_addf(&bomb, "  a%d: &a%d [*a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1);
	runconfig_release(&config);
	parse(bomb.data, &config);
}

static void depth_size_and_number_are_bounded(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_adds(&text, "data: ");
	for (int i = 0; i < 100000; i++)
		strbuf_addc(&text, '[');
	refuse(text.data, "f:1:70: nested too deep");
	strbuf_clear(&text);
	strbuf_adds(&text, "data: [");
	while (text.size < 300000)
		strbuf_adds(&text, "1,");
	refuse(text.data, "too many values");
	while (text.size <= RUNCONFIG_SIZE_MAX)
		strbuf_adds(&text, "1,");
	refuse(text.data, "larger than");
}

static void files_are_found_by_name_or_path(void **state)
{
	static const struct {
		const char *path;
		const char *name;
	} cases[] = {
		{ ".azureml/one.runconfig", "one" },
		{ ".azureml/one.runconfig", "one.runconfig" },
		{ "aml_config/old.runconfig", "old" },
		{ "sub/direct.yml", "sub/direct.yml" },
	};
	char dir[] = "/tmp/test_runconfig.XXXXXX";
	struct runconfig config = { 0 };
	struct error err = ERROR_INIT;

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *path = mem_printf("%s/%s", dir, cases[i].path);
		_cleanup_(freep) char *text = mem_printf("script: s%zu.py\n", i);
		_cleanup_(freep) char *script = mem_printf("s%zu.py", i);
		_cleanup_(freep) char *parent =
			mem_strndup(path, (size_t)(strrchr(path, '/') - path));

		assert_int_equal(dir_make(parent, 0755), 0);
		assert_int_equal(
			file_replace(AT_FDCWD, path, text, strlen(text), 0644, FILE_NO_SYNC), 0);
		assert_int_equal(runconfig_load(dir, cases[i].name, &config, &err), 0);
		assert_string_equal(config.script, script);
		runconfig_release(&config);
		assert_int_equal(runconfig_load("/nonexistent", path, &config, &err), 0);
		assert_string_equal(config.script, script);
		runconfig_release(&config);
	}
	assert_int_equal(runconfig_load(dir, "none", &config, &err), -ENOENT);
	assert_non_null(strstr(err.message, ".azureml/none.runconfig"));
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_template_is_understood),
		cmocka_unit_test(keys_are_taken_in_any_case),
		cmocka_unit_test(json_is_understood),
		cmocka_unit_test(a_command_stands_for_a_script),
		cmocka_unit_test(targets_that_mean_this_machine_are_taken),
		cmocka_unit_test(what_this_version_cannot_do_is_refused),
		cmocka_unit_test(conda_without_dependencies_is_no_wish),
		cmocka_unit_test(unknown_keys_are_warnings_with_their_line),
		cmocka_unit_test(wrong_types_are_errors_with_their_place),
		cmocka_unit_test(malformed_texts_are_errors_with_their_place),
		cmocka_unit_test(anchors_are_followed_and_cannot_explode),
		cmocka_unit_test(depth_size_and_number_are_bounded),
		cmocka_unit_test(files_are_found_by_name_or_path),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
