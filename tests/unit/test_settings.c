/* SPDX-License-Identifier: MIT */
/*
 * test_settings - the groups that a configuration names, what is shown of it, what a reload changes
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "settings.h"

static char path[] = "/tmp/settings-XXXXXX";

static void write_config(const char *text)
{
	assert_int_equal(file_replace(AT_FDCWD, path, text, strlen(text), 0600, FILE_NO_SYNC), 0);
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	close(fd);
	return fd < 0 ? -1 : 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static void a_file_that_was_not_named_may_be_absent(void **state)
{
	struct error err = ERROR_INIT;
	struct settings settings = { 0 };

	(void)state;
	assert_int_equal(settings_load("/nonexistent/x.conf", true, &settings, &err), -ENOENT);
	assert_int_equal(settings.config.max_running_runs, 0);
	assert_int_equal(settings_load("/nonexistent/x.conf", false, &settings, &err), 0);
	assert_true(settings.config.max_running_runs > 0);
	assert_int_equal(settings.admin_gid, SETTINGS_NO_GROUP);
	assert_int_equal(settings.users_gid, SETTINGS_NO_GROUP);
	assert_int_equal(settings.share_with_gid, SETTINGS_NO_GROUP);
}

static void groups_become_numbers(void **state)
{
	struct group *tty = getgrnam("tty");
	struct settings settings;

	(void)state;
	assert_non_null(tty);
	write_config("admin_group = root\nusers_group = tty\nshare_with_group =\n");
	assert_int_equal(settings_load(path, true, &settings, NULL), 0);
	assert_int_equal(settings.admin_gid, 0);
	assert_int_equal(settings.users_gid, getgrnam("tty")->gr_gid);
	assert_int_equal(settings.share_with_gid, SETTINGS_NO_GROUP);
}

static void a_group_that_is_not_there_is_an_error(void **state)
{
	static const char *const keys[] = { "admin_group", "users_group", "share_with_group" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct settings settings = { .users_gid = 77 };
		struct error err = ERROR_INIT;
		_cleanup_(freep) char *text =
			mem_printf("# it is\n\n%s = no-such-group-1\n", keys[i]);
		_cleanup_(freep) char *message = mem_printf(
			"%s:3: %s: there is no group \"no-such-group-1\" on this machine: make "
			"it (groupadd), or correct the name",
			path, keys[i]);

		write_config(text);
		assert_int_equal(settings_load(path, true, &settings, &err), -ENOENT);
		assert_string_equal(err.message, message);
		assert_int_equal(settings.users_gid, 77);
	}
}

static void a_gpu_that_is_not_there_is_an_error(void **state)
{
	static const struct {
		const char *value, *message;
	} cases[] = {
		{ "/nope", "gpus: cannot use /nope: No such file or directory" },
		{ "/dev/null,/tmp", "gpus: /tmp is no device file" },
		{ "/dev/null=A,/dev/zero=A", "gpus: /dev/null and /dev/zero have one id: A" },
	};
	struct settings settings = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		_cleanup_(freep) char *text = mem_printf("cpus = 1\ngpus = %s\n", cases[i].value);
		_cleanup_(freep) char *message = mem_printf("%s:2: %s", path, cases[i].message);

		write_config(text);
		assert_true(settings_load(path, true, &settings, &err) < 0);
		assert_string_equal(err.message, message);
	}
	write_config("gpus = /dev/null,/dev/zero=1\n");
	assert_int_equal(settings_load(path, true, &settings, NULL), 0);
}

static void what_is_shown_can_be_read_again(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT, again = STRBUF_INIT;
	static const char given[] = "log_level = debug\nsnapshot_max_bytes = 3G\ngpus = /dev/null\n"
				    "admin_group = root\nmax_user_priority = -5\n";
	struct settings first, second;

	(void)state;
	write_config(given);
	assert_int_equal(settings_load(path, true, &first, NULL), 0);
	settings_format(&first.config, &text);
	assert_non_null(strstr(text.data, "\nlog_level = debug\n"));
	assert_non_null(strstr(text.data, "\nsnapshot_max_bytes = 3221225472\n"));
	assert_non_null(strstr(text.data, "\nusers_group =\n"));
	write_config(text.data);
	assert_int_equal(settings_load(path, true, &second, NULL), 0);
	settings_format(&second.config, &again);
	assert_string_equal(text.data, again.data);
}

static void as_json_numbers_are_numbers(void **state)
{
	_cleanup_(json_freep) struct json *json = NULL;
	struct config config;

	(void)state;
	config_default(&config);
	json = settings_to_json(&config);
	assert_true(json_is_number(json_get(json, "max_running_runs")));
	assert_string_equal(json_string(json_get(json, "log_level")), "info");
	assert_string_equal(json_string(json_get(json, "admin_group")), "");
	assert_string_equal(json_string(json_get(json, "cgroup_parent")), "auto");
}

static void changes_are_told_by_when_they_take_effect(void **state)
{
	_cleanup_(strbuf_release) struct strbuf now = STRBUF_INIT, restart = STRBUF_INIT;
	struct config was, is;

	(void)state;
	config_default(&was);
	is = was;
	settings_compare(&was, &is, &now, &restart);
	assert_int_equal(now.size + restart.size, 0);
	is.max_running_runs++;
	is.log_level++;
	is.keep_work_days++;
	strcpy(is.admin_group, "root");
	strcpy(is.gpus, "none");
	strcpy(is.cgroup_parent, "none");
	settings_compare(&was, &is, &now, &restart);
	assert_string_equal(now.data, "max_running_runs, log_level, admin_group");
	assert_string_equal(restart.data, "keep_work_days, gpus, cgroup_parent");
	settings_keep(&was, &is);
	assert_string_equal(is.gpus, was.gpus);
	assert_int_equal(is.keep_work_days, was.keep_work_days);
	assert_string_equal(is.cgroup_parent, was.cgroup_parent);
	assert_string_equal(is.admin_group, "root");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_was_not_named_may_be_absent),
		cmocka_unit_test(groups_become_numbers),
		cmocka_unit_test(a_group_that_is_not_there_is_an_error),
		cmocka_unit_test(a_gpu_that_is_not_there_is_an_error),
		cmocka_unit_test(what_is_shown_can_be_read_again),
		cmocka_unit_test(as_json_numbers_are_numbers),
		cmocka_unit_test(changes_are_told_by_when_they_take_effect),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
