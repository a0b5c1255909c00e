/* SPDX-License-Identifier: MIT */
/* test_run_request - the request as understood, and what is refused */
#include "test.h"

#include "common/mem.h"
#include "common/run_request.h"
#include "common/strbuf.h"
#include "runs/prepare.h"

static int parse(const char *text, struct run_request *request, struct error *err)
{
	_cleanup_(json_freep) struct json *body = NULL;
	int r = json_parse(text, strlen(text), &body, err);

	return r < 0 ? r : run_request_parse(body, request, err);
}

static void defaults_are_filled_in(void **state)
{
	_cleanup_(run_request_release) struct run_request request = { 0 };

	(void)state;
	assert_int_equal(parse("{\"source_directory\":\"/a/./my proj/\",\"script\":\"t.py\"}",
				 &request, NULL),
		0);
	assert_string_equal(request.source_directory, "/a/my proj");
	assert_string_equal(request.experiment_name, "my-proj");
	assert_string_equal(request.compute_target, "local");
	assert_int_equal(request.max_run_duration_seconds, RUN_DURATION_DEFAULT);
	assert_int_equal(request.cpus, 1);
	assert_null(request.submit_environment);
	assert_false(request.share || request.hold);
	assert_int_equal(request.after_count, 0);
}

static void the_definition_parses_back_to_itself_without_the_environment(void **state)
{
	static const char text[] =
		"{\"experiment_name\":\"e\",\"display_name\":\"d\",\"source_directory\":\"/s\","
		"\"script\":\"a/t.py\",\"arguments\":[\"--lr\",0.1,7],\"max_run_duration_seconds\":null,"
		"\"environment\":{\"name\":\"n\",\"environment_variables\":{\"A\":\"=b=\"},\"python\":"
		"{\"user_managed_dependencies\":true,\"interpreter_path\":\"/p\"}},"
		"\"resources\":{\"cpus\":2,\"gpus\":1,\"memory_bytes\":1024},\"priority\":-3,"
		"\"share\":true,\"hold\":true,\"after\":[{\"run_id\":\"a_1\",\"condition\":\"afterany\"},"
		"{\"run_id\":\"latest\"}],"
		"\"tags\":{\"t\":\"v\"},\"properties\":{\"p\":\"q\"},"
		"\"submit_environment\":{\"SECRET\":\"xyzzy\"}}";
	_cleanup_(run_request_release) struct run_request first = { 0 }, second = { 0 };
	_cleanup_(json_freep) struct json *one = NULL, *two = NULL;
	_cleanup_(freep) char *before = NULL, *after = NULL;

	(void)state;
	assert_int_equal(parse(text, &first, NULL), 0);
	assert_string_equal(first.submit_environment[0], "SECRET=xyzzy");
	assert_int_equal(first.max_run_duration_seconds, 0);
	assert_true(first.share && first.hold);
	assert_int_equal(first.after_count, 2);
	assert_string_equal(first.after[0].run_id, "a_1");
	assert_true(first.after[0].any);
	assert_string_equal(first.after[1].run_id, "latest");
	assert_false(first.after[1].any);
	one = run_request_definition(&first);
	before = json_print(one);
	assert_null(strstr(before, "xyzzy"));
	assert_int_equal(parse(before, &second, NULL), 0);
	two = run_request_definition(&second);
	after = json_print(two);
	assert_string_equal(before, after);
}

static void bad_requests_name_the_field(void **state)
{
	static const struct {
		const char *rest, *target;
	} faults[] = {
		{ "", "script" },
		{ ",\"script\":\"a\",\"command\":\"b\"", "command" },
		{ ",\"command\":\"\"", "command" },
		{ ",\"command\":\"a\",\"arguments\":[\"b\"]", "arguments" },
		{ ",\"script\":\"../a\"", "script" },
		{ ",\"script\":\"/etc/passwd\"", "script" },
		{ ",\"script\":\"a/../../b\"", "script" },
		{ ",\"script\":\"a\",\"experiment_name\":\"-x\"", "experiment_name" },
		{ ",\"script\":\"a\",\"experiment_name\":\"a b\"", "experiment_name" },
		{ ",\"script\":\"a\",\"max_run_duration_seconds\":0", "max_run_duration_seconds" },
		{ ",\"script\":\"a\",\"max_run_duration_seconds\":\"1h\"",
			"max_run_duration_seconds" },
		{ ",\"script\":\"a\",\"compute_target\":\"cluster\"", "compute_target" },
		{ ",\"script\":\"a\",\"resources\":{\"cpus\":0}", "resources.cpus" },
		{ ",\"script\":\"a\",\"environment\":{\"python\":{\"user_managed_dependencies\":false}}",
			"environment.python.user_managed_dependencies" },
		{ ",\"script\":\"a\",\"source_dir\":\"x\"", "source_dir" },
		{ ",\"script\":\"a\",\"share\":1", "share" },
		{ ",\"script\":\"a\",\"hold\":\"yes\"", "hold" },
		{ ",\"script\":\"a\",\"after\":\"x\"", "after" },
		{ ",\"script\":\"a\",\"after\":{\"run_id\":\"x\"}", "after" },
		{ ",\"script\":\"a\",\"after\":[\"x\"]", "after[0]" },
		{ ",\"script\":\"a\",\"after\":[{}]", "after[0].run_id" },
		{ ",\"script\":\"a\",\"after\":[{\"run_id\":\"\"}]", "after[0].run_id" },
		{ ",\"script\":\"a\",\"after\":[{\"run_id\":\"x\"},{\"run_id\":7}]",
			"after[1].run_id" },
		{ ",\"script\":\"a\",\"after\":[{\"run_id\":\"x\",\"condition\":\"ok\"}]",
			"after[0].condition" },
		{ ",\"script\":\"a\",\"after\":[{\"run_id\":\"x\",\"condition\":false}]",
			"after[0].condition" },
		{ ",\"script\":\"a\",\"after\":[{\"run_id\":\"x\",\"when\":\"now\"}]",
			"after[0].when" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		_cleanup_(freep) char *text =
			mem_printf("{\"source_directory\":\"/s\"%s}", faults[i].rest);
		struct run_request request = { 0 };
		struct error err = ERROR_INIT;

		assert_int_equal(parse(text, &request, &err), -EINVAL);
		assert_string_equal(err.target, faults[i].target);
	}
}

/* One key of this size in an object, or one string. */
static char *large(const char *before, size_t bytes, const char *after)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	strbuf_adds(&text, "{\"source_directory\":\"/s\",");
	strbuf_adds(&text, before);
	for (size_t i = 0; i < bytes; i++)
		strbuf_addc(&text, 'x');
	strbuf_adds(&text, after);
	return strbuf_steal(&text);
}

static void what_a_run_carries_has_bounds(void **state)
{
	static const struct {
		const char *before, *after, *target;
		size_t most; /* the key of an object has four bytes */
	} cases[] = {
		{ "\"script\":\"a\",\"tags\":{\"long\":\"", "\"}}", "tags",
			RUN_TAGS_BYTES_MAX - 4 },
		{ "\"script\":\"a\",\"tags\":{\"", "\":\"long\"}}", "tags",
			RUN_TAGS_BYTES_MAX - 4 },
		{ "\"script\":\"a\",\"properties\":{\"long\":\"", "\"}}", "properties",
			RUN_TAGS_BYTES_MAX - 4 },
		{ "\"script\":\"a\",\"environment\":{\"environment_variables\":{\"LONG\":\"",
			"\"}}}", "environment.environment_variables", RUN_VARIABLES_BYTES_MAX - 4 },
		{ "\"script\":\"a\",\"environment\":{\"name\":\"", "\"}}", "environment.name",
			RUN_TEXT_MAX },
		{ "\"script\":\"a\",\"environment\":{\"python\":{\"interpreter_path\":\"/", "\"}}}",
			"environment.python.interpreter_path", RUN_TEXT_MAX - 1 },
		{ "\"script\":\"", "\"}", "script", RUN_TEXT_MAX },
		{ "\"script\":\"a\",\"after\":[{\"run_id\":\"", "\"}]}", "after[0].run_id",
			RUN_TEXT_MAX },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		_cleanup_(run_request_release) struct run_request request = { 0 };
		size_t k = i / 2, bytes = cases[k].most + i % 2;
		_cleanup_(freep) char *text = large(cases[k].before, bytes, cases[k].after);
		struct error err = ERROR_INIT;

		assert_int_equal(parse(text, &request, &err), i % 2 ? -EINVAL : 0);
		assert_string_equal(err.target, i % 2 ? cases[k].target : "");
	}
}

static void a_long_source_directory_is_refused(void **state)
{
	_cleanup_(run_request_release) struct run_request request = { 0 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	strbuf_adds(&text, "{\"script\":\"a\",\"source_directory\":\"");
	for (int i = 0; i <= RUN_TEXT_MAX; i++)
		strbuf_addc(&text, '/');
	strbuf_adds(&text, "\"}");
	assert_int_equal(parse(text.data, &request, &err), -EINVAL);
	assert_string_equal(err.message, "source_directory: longer than 4096 bytes");
}

static void tags_are_counted_with_their_bytes(void **state)
{
	(void)state;
	assert_true(run_tags_fit(0, 0));
	assert_true(run_tags_fit(RUN_TAGS_MAX, RUN_TAGS_BYTES_MAX));
	assert_false(run_tags_fit(RUN_TAGS_MAX + 1, 1));
	assert_false(run_tags_fit(1, RUN_TAGS_BYTES_MAX + 1));
}

static void a_run_follows_so_many_others_and_no_more(void **state)
{
	(void)state;
	for (size_t count = RUN_AFTER_MAX; count <= RUN_AFTER_MAX + 1; count++) {
		_cleanup_(run_request_release) struct run_request request = { 0 };
		_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
		struct error err = ERROR_INIT;
		bool fits = count == RUN_AFTER_MAX;

		strbuf_adds(&text, "{\"source_directory\":\"/s\",\"script\":\"a\",\"after\":[");
		for (size_t i = 0; i < count; i++)
			strbuf_addf(&text, "%s{\"run_id\":\"r%zu\"}", i ? "," : "", i);
		strbuf_adds(&text, "]}");
		assert_int_equal(parse(text.data, &request, &err), fits ? 0 : -EINVAL);
		assert_string_equal(err.target, fits ? "" : "after");
		assert_int_equal(request.after_count, fits ? RUN_AFTER_MAX : 0);
	}
}

static void arguments_that_linux_would_not_take_are_refused(void **state)
{
	_cleanup_(freep) char *big = mem_alloc(1 << 20);
	_cleanup_(freep) char *text = NULL;
	struct run_request request = { 0 };
	struct error err = ERROR_INIT;

	(void)state;
	memset(big, 'x', (1 << 20) - 1);
	text = mem_printf(
		"{\"source_directory\":\"/s\",\"script\":\"a\",\"arguments\":[\"%s\"]}", big);
	assert_int_equal(parse(text, &request, &err), -E2BIG);
	assert_string_equal(err.target, "arguments");
}

static void names_are_made_valid(void **state)
{
	static const char *const names[][2] = { { "/home/ana/mnist", "mnist" },
		{ "/x/.hidden", "hidden" }, { "/x/my project (2)", "my-project--2-" },
		{ "/", "experiment" }, { "/x/---", "experiment" },
		{ "/x/\xc3\xa9t\xc3\xa9", "t--" } };
	_cleanup_(freep) char *id = run_id_make("exp");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *name = experiment_name_from(names[i][0]);

		assert_string_equal(name, names[i][1]);
		assert_true(experiment_name_valid(name));
	}
	assert_true(run_id_valid(id));
	assert_false(run_id_valid("../etc"));
	assert_false(run_id_valid(""));
}

static void expand(const char *text, const char *expected)
{
	char *env[] = { "A=1", "LONG_name2=two", NULL };
	_cleanup_(freep) char *out = prepare_expand(text, env);

	assert_string_equal(out, expected);
}

static void variables_in_arguments_are_expanded(void **state)
{
	(void)state;
	expand("", "");
	expand("plain", "plain");
	expand("$A", "1");
	expand("x${A}y$LONG_name2/z", "x1ytwo/z");
	expand("$NOT_SET ${NOT_SET} $ ${A $", "$NOT_SET ${NOT_SET} $ ${A $");
	expand("$$A", "$1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_filled_in),
		cmocka_unit_test(the_definition_parses_back_to_itself_without_the_environment),
		cmocka_unit_test(bad_requests_name_the_field),
		cmocka_unit_test(what_a_run_carries_has_bounds),
		cmocka_unit_test(a_long_source_directory_is_refused),
		cmocka_unit_test(tags_are_counted_with_their_bytes),
		cmocka_unit_test(a_run_follows_so_many_others_and_no_more),
		cmocka_unit_test(arguments_that_linux_would_not_take_are_refused),
		cmocka_unit_test(names_are_made_valid),
		cmocka_unit_test(variables_in_arguments_are_expanded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
