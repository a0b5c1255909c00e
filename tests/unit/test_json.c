/* SPDX-License-Identifier: MIT */
/* test_json - what is taken, what is refused, and that errors name the key */
#include "test.h"

#include "common/json.h"
#include "common/mem.h"

struct inner {
	bool flag;
};

struct sample {
	char *name;
	int64_t number;
	char **list;
	char **env;
	struct pairs tags;
	struct inner inner;
};

static const struct json_field inner_fields[] = {
	{ "flag", json_read_bool, offsetof(struct inner, flag), 0 },
};

static int read_inner(const struct json *value, const char *path, void *to, struct error *err)
{
	return json_read(value, inner_fields, ARRAY_SIZE(inner_fields), to, path, err);
}

static const struct json_field fields[] = {
	{ "name", json_read_string, offsetof(struct sample, name), JSON_REQUIRED },
	{ "number", json_read_int, offsetof(struct sample, number), 0 },
	{ "list", json_read_strv, offsetof(struct sample, list), 0 },
	{ "env", json_read_env, offsetof(struct sample, env), 0 },
	{ "tags", json_read_pairs, offsetof(struct sample, tags), 0 },
	{ "inner", read_inner, offsetof(struct sample, inner), 0 },
};

static int read_sample(const char *text, struct sample *sample, struct error *err)
{
	_cleanup_(json_freep) struct json *value = NULL;
	int r = json_parse(text, strlen(text), &value, err);

	return r < 0 ? r : json_read(value, fields, ARRAY_SIZE(fields), sample, NULL, err);
}

static void sample_release(struct sample *sample)
{
	free(sample->name);
	strv_free(sample->list);
	strv_free(sample->env);
	pairs_release(&sample->tags);
}

static void a_struct_is_read_by_table(void **state)
{
	struct sample sample = { 0 };
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(read_sample("{\"name\":\"a\\u00e9\",\"number\":9007199254740992,"
				     "\"list\":[\"x\",7,0.1],\"env\":{\"A\":\"1\"},"
				     "\"tags\":{\"k\":\"\"},\"inner\":{\"flag\":true}}",
				 &sample, &err),
		0);
	assert_string_equal(sample.name, "a\xc3\xa9");
	assert_int_equal(sample.number, INT64_C(9007199254740992));
	assert_int_equal(strv_length(sample.list), 3);
	assert_string_equal(sample.list[1], "7");
	assert_string_equal(sample.list[2], "0.1");
	assert_string_equal(sample.env[0], "A=1");
	assert_string_equal(pairs_get(&sample.tags, "k"), "");
	assert_true(sample.inner.flag);
	sample_release(&sample);
}

static void an_error_names_the_key(void **state)
{
	static const struct {
		const char *text, *target, *part;
	} faults[] = {
		{ "{}", "name", "is required" },
		{ "{\"name\":null}", "name", "is required" },
		{ "{\"name\":1}", "name", "must be a string, not number" },
		{ "{\"name\":\"a\",\"nmae\":1}", "nmae", "unknown key" },
		{ "{\"name\":\"a\",\"name\":\"b\"}", "name", "given twice" },
		{ "{\"name\":\"a\",\"number\":1.5}", "number", "whole number" },
		{ "{\"name\":\"a\",\"number\":1e300}", "number", "whole number" },
		{ "{\"name\":\"a\",\"list\":{}}", "list", "must be a list" },
		{ "{\"name\":\"a\",\"list\":[true]}", "list[0]", "not boolean" },
		{ "{\"name\":\"a\",\"env\":{\"A=B\":\"\"}}", "env", "no name" },
		{ "{\"name\":\"a\",\"tags\":{\"k\":null}}", "tags.k", "must be a string" },
		{ "{\"name\":\"a\",\"tags\":{\"\":\"v\"}}", "tags", "key is empty" },
		{ "{\"name\":\"a\",\"\":1}", "\"\"", "unknown key" },
		{ "{\"name\":\"a\",\"inner\":{\"falg\":true}}", "inner.falg", "unknown key" },
		{ "{\"name\":\"a\",\"inner\":{\"flag\":0}}", "inner.flag", "true or false" },
		{ "[]", "request", "must be an object" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		struct sample sample = { 0 };
		struct error err = ERROR_INIT;

		assert_int_equal(read_sample(faults[i].text, &sample, &err), -EINVAL);
		assert_string_equal(err.target, faults[i].target);
		assert_non_null(strstr(err.message, faults[i].part));
		sample_release(&sample);
	}
}

static void refuse(const char *text, size_t size)
{
	struct json *value = NULL;
	struct error err = ERROR_INIT;

	assert_int_equal(json_parse(text, size, &value, &err), -EINVAL);
	assert_true(err.message[0]);
}

static void what_is_no_usable_json_is_refused(void **state)
{
	_cleanup_(freep) char *deep = mem_alloc(200001);

	(void)state;
	memset(deep, '[', 100000);
	memset(deep + 100000, ']', 100000);
	refuse(deep, 200000);
	refuse("", 0);
	refuse("{", 1);
	refuse("{} x", 4);
	refuse("\"a\\u0000b\"", 10);
	refuse("\"\xff\"", 3);
	refuse("{}\0{}", 5);
	refuse("{'a':1}", 7);
}

static void brackets_in_strings_are_no_depth(void **state)
{
	_cleanup_(json_freep) struct json *value = NULL;
	static const char text[] =
		"[\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]";

	(void)state;
	assert_int_equal(json_parse(text, strlen(text), &value, NULL), 0);
}

static void bytes_that_are_not_utf8_are_shown_replaced(void **state)
{
	_cleanup_(json_freep) struct json *object = json_new_object();
	_cleanup_(freep) char *text = NULL;

	(void)state;
	json_set_string(object, "k", "a\xff");
	json_set_real(object, "r", 1.0 / 0.0);
	json_set_time(object, "t", INT64_C(1700000000123456));
	text = json_print(object);
	assert_string_equal(
		text, "{\"k\":\"a\xef\xbf\xbd\",\"r\":null,\"t\":\"2023-11-14T22:13:20.123456Z\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_struct_is_read_by_table),
		cmocka_unit_test(an_error_names_the_key),
		cmocka_unit_test(what_is_no_usable_json_is_refused),
		cmocka_unit_test(brackets_in_strings_are_no_depth),
		cmocka_unit_test(bytes_that_are_not_utf8_are_shown_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
