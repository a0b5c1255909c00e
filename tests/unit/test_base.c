/* SPDX-License-Identifier: MIT */
/* test_base - the small parts of floor 0: lists, buffers, files, digests, times, configuration */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "common/artifact.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/digest.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/strv.h"
#include "common/utf8.h"

static void lists_grow_and_give_back(void **state)
{
	_cleanup_(strv_freep) char **list = NULL;
	_cleanup_(strv_freep) char **copy = NULL;

	(void)state;
	for (int i = 0; i < 100; i++)
		strv_addf(&list, "%d", i);
	assert_int_equal(strv_length(list), 100);
	copy = strv_copy(list);
	assert_string_equal(copy[99], "99");
	assert_true(strv_contains(copy, "42"));
	assert_false(strv_contains(NULL, "42"));
}

static void environments_are_set_and_unset(void **state)
{
	_cleanup_(strv_freep) char **env = NULL;

	(void)state;
	env_set(&env, "A", "1");
	env_set(&env, "AB", "2");
	env_set(&env, "A", "3");
	assert_string_equal(env_get(env, "A"), "3");
	env_set(&env, "A", NULL);
	env_set(&env, "NONE", NULL);
	assert_null(env_get(env, "A"));
	assert_string_equal(env_get(env, "AB"), "2");
	assert_int_equal(strv_length(env), 1);
}

static void pairs_keep_order_and_unique_keys(void **state)
{
	_cleanup_(pairs_release) struct pairs pairs = { 0 };
	_cleanup_(pairs_release) struct pairs copy = { 0 };

	(void)state;
	pairs_set(&pairs, "b", "1");
	pairs_set(&pairs, "a", "2");
	pairs_set(&pairs, "b", "3");
	pairs_copy(&pairs, &copy);
	pairs_remove(&pairs, "b");
	assert_int_equal(pairs.count, 1);
	assert_int_equal(copy.count, 2);
	assert_string_equal(copy.items[0].value, "3");
}

static void a_file_is_replaced_whole_and_trees_go(void **state)
{
	char dir[] = "/tmp/amlagent-test-XXXXXX";
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(closep) int fd = -EBADF;
	_cleanup_(freep) char *deep = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(file_replace(fd, "f", "one", 3, 0600, FILE_SYNC), 0);
	assert_int_equal(file_replace(fd, "f", "three", 5, 0600, FILE_NO_SYNC), 0);
	assert_int_equal(file_read(fd, "f", 100, &text), 0);
	assert_string_equal(text.data, "three");
	strbuf_clear(&text);
	assert_int_equal(file_read(fd, "f", 4, &text), -EFBIG);
	assert_int_equal(file_read(fd, "absent", 4, &text), -ENOENT);
	deep = mem_printf("%s/a/b/c", dir);
	assert_int_equal(dir_make(deep, 0700), 0);
	assert_int_equal(dir_make(deep, 0700), 0);
	assert_int_equal(symlinkat("/etc", fd, "a/b/link"), 0);
	assert_int_equal(fchmodat(fd, "a/b", 0500, 0), 0);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void a_tree_deeper_than_the_descriptors_goes(void **state)
{
	char dir[] = "/tmp/amlagent-test-XXXXXX";
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 5000; i++) {
		int below;

		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		below = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(fd);
		fd = below;
	}
	close(fd);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
	assert_int_equal(access(dir, F_OK), -1);
}

struct other {
	const char *path;
	atomic_bool done;
	atomic_uint rounds;
};

static void *make_and_remove(void *data)
{
	struct other *other = data;

	while (!other->done) {
		mkdir(other->path, 0700);
		rmdir(other->path);
		other->rounds++;
	}
	return NULL;
}

/* As the clean-up after a run and a delete may do. */
static void a_tree_that_another_removes_too_goes(void **state)
{
	char dir[] = "/tmp/amlagent-test-XXXXXX";
	_cleanup_(freep) char *tree = NULL;
	struct other other = { 0 };
	pthread_t thread;
	int r = 0;

	(void)state;
	assert_non_null(mkdtemp(dir));
	other.path = tree = mem_printf("%s/tree", dir);
	assert_int_equal(pthread_create(&thread, NULL, make_and_remove, &other), 0);
	while (r == 0 && other.rounds < 2000)
		r = tree_remove(AT_FDCWD, tree);
	other.done = true;
	pthread_join(thread, NULL);
	assert_int_equal(r, 0);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
}

static void paths_are_judged_lexically(void **state)
{
	static const char *const inside[] = {
		"a",
		"a/b",
		"a/./b",
		"..a",
		"a/...",
	};
	static const char *const outside[] = {
		"",
		"/a",
		"..",
		"a/..",
		"../a",
		"a//b",
		"a/",
	};
	static const char *const absolute[][2] = { { "/a/../b/./c//", "/b/c" }, { "/", "/" },
		{ "/../..", "/" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inside); i++)
		assert_true(path_is_inside(inside[i]));
	for (size_t i = 0; i < ARRAY_SIZE(outside); i++)
		assert_false(path_is_inside(outside[i]));
	for (size_t i = 0; i < ARRAY_SIZE(absolute); i++) {
		_cleanup_(freep) char *path = path_absolute(absolute[i][0]);

		assert_string_equal(path, absolute[i][1]);
	}
}

static void digests_are_sha256(void **state)
{
	static const char abc[] =
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	struct digest whole, pieces, parsed;
	struct digest_sum *sum = digest_sum_new();
	char hex[DIGEST_HEX_SIZE + 1];

	(void)state;
	digest_of("abc", 3, &whole);
	digest_format(&whole, hex);
	assert_string_equal(hex, abc);
	digest_sum_update(sum, "a", 1);
	digest_sum_update(sum, "bc", 2);
	digest_sum_final(sum, &pieces);
	assert_true(digest_equal(&whole, &pieces));
	assert_int_equal(digest_parse(abc, &parsed), 0);
	assert_true(digest_equal(&whole, &parsed));
	assert_int_equal(digest_parse("sha256:ba78", &parsed), -EINVAL);
	assert_int_equal(
		digest_parse("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
			&parsed),
		-EINVAL);
}

static void times_format_and_parse_back(void **state)
{
	char text[CLOCK_TEXT_SIZE];
	int64_t now = clock_utc();
	int64_t back;

	(void)state;
	clock_format(now, text);
	assert_int_equal(clock_parse(text, &back), 0);
	assert_int_equal(now, back);
	assert_int_equal(clock_parse("2026-01-01", &back), -EINVAL);
	assert_int_equal(clock_parse("2026-01-01T00:00:00.12Z", &back), -EINVAL);
}

static void utf8_is_judged_as_unicode_has_it(void **state)
{
	static const char *const bad[] = { "\x80", "\xc0\xaf", "\xc3", "\xe0\x80\xaf",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80" };
	_cleanup_(freep) char *clean = utf8_sanitize("a\xc3z\xe2\x82\xac", 6);

	(void)state;
	assert_true(utf8_valid("\xe2\x82\xac\xf0\x9f\x98\x80", 7));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(utf8_valid(bad[i], strlen(bad[i])));
	assert_string_equal(clean, "a\xef\xbf\xbdz\xe2\x82\xac");
}

static int parse_config(const char *text, struct config *config, struct error *err)
{
	return config_parse(text, strlen(text), "f", config, NULL, err);
}

static void a_configuration_is_read_by_table(void **state)
{
	struct config config;
	struct error err = ERROR_INIT;

	(void)state;
	assert_int_equal(parse_config("# c\n\n max_running_runs = 3 \nstop_grace_seconds=2m\n"
				      "snapshot_max_bytes = 1G",
				 &config, &err),
		0);
	assert_int_equal(config.max_running_runs, 3);
	assert_int_equal(config.stop_grace_seconds, 120);
	assert_int_equal(config.snapshot_max_bytes, INT64_C(1) << 30);
	assert_int_equal(config.keep_work_days, 7);
	assert_string_equal(config.cgroup_parent, "auto");
	assert_int_equal(parse_config("cgroup_parent = /sys/fs/cgroup/a b/c\n", &config, &err), 0);
	assert_string_equal(config.cgroup_parent, "/sys/fs/cgroup/a b/c");
	assert_int_equal(parse_config("cgroup_parent = none", &config, &err), 0);
	assert_string_equal(config.cgroup_parent, "none");
	assert_int_equal(parse_config("stop_grace_seconds = 0", &config, &err), 0);
	assert_int_equal(config.stop_grace_seconds, 0);
}

static void a_bad_configuration_names_the_line_and_changes_nothing(void **state)
{
	static const char *const bad[] = { "\nmax_runs = 3", "\nmax_running_runs = 0",
		"\nmax_running_runs = x", "\njust words", "\nlog_level = loud",
		"\ncgroup_parent =", "\ncgroup_parent = some", "\ncgroup_parent = /",
		"\ncgroup_parent = /a/../b" };
	struct config config;

	(void)state;
	config_default(&config);
	config.keep_work_days = 99;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error err = ERROR_INIT;

		assert_int_equal(parse_config(bad[i], &config, &err), -EINVAL);
		assert_string_equal(err.target, "f:2");
		assert_int_equal(config.keep_work_days, 99);
	}
}

static void a_bad_configuration_says_what_would_be_right(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "max_running_runs = -1",
			"f:1: max_running_runs: must be a number from 1 to 100000, not \"-1\"" },
		{ "keep_work_days = x",
			"f:1: keep_work_days: must be a number of days from 0 to 36500, not "
			"\"x\"" },
		{ "fair_share_seconds = 1s",
			"f:1: fair_share_seconds: must be a duration from 1m to 365d, not \"1s\"" },
		{ "stop_grace_seconds = 2d",
			"f:1: stop_grace_seconds: must be a duration from 0 to 1d, not \"2d\"" },
		{ "max_request_bytes = 1",
			"f:1: max_request_bytes: must be a size from 64K to 1G, not \"1\"" },
		{ "snapshot_max_bytes = 0",
			"f:1: snapshot_max_bytes: must be a size from 1 to 4096T, not \"0\"" },
		{ "log_level = loud",
			"f:1: log_level: must be error, warning, info or debug, not \"loud\"" },
		{ "gpus = some",
			"f:1: gpus: must be auto, none or device files separated by commas, not "
			"\"some\"" },
		{ "cpus = 2\n\ncpus = 3\n", "f:3: cpus is already set in line 1" },
		{ "gpus = none\ngpus = none\n", "f:2: gpus is already set in line 1" },
		{ "cpus = 2 # of four",
			"f:1: cpus: no comment may follow a value: comments stand on lines of "
			"their own" },
		{ "users_group = #lab",
			"f:1: users_group: no comment may follow a value: comments stand on lines "
			"of their own" },
		{ "gpus = /dev/a#1,/dev/b\t# two",
			"f:1: gpus: no comment may follow a value: comments stand on lines of "
			"their own" },
	};
	struct config config;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;

		assert_int_equal(parse_config(cases[i].text, &config, &err), -EINVAL);
		assert_string_equal(err.message, cases[i].message);
	}
	assert_int_equal(parse_config("cgroup_parent = /a#1/b", &config, NULL), 0);
}

static void where_a_key_is_set_is_known(void **state)
{
	static const char text[] = "# a\ngpus = none\n\ncpus = 2\n";
	struct config_lines lines;
	struct config config;
	_cleanup_(freep) char *cpus = NULL, *gpus = NULL, *none = NULL;

	(void)state;
	assert_int_equal(config_parse(text, strlen(text), "f", &config, &lines, NULL), 0);
	cpus = config_where("f", &lines, "cpus");
	gpus = config_where("f", &lines, "gpus");
	none = config_where("f", &lines, "admin_group");
	assert_string_equal(cpus, "f:4");
	assert_string_equal(gpus, "f:2");
	assert_string_equal(none, "f");
}

static void a_configuration_is_a_regular_file_or_none(void **state)
{
	char dir[] = "/tmp/amlagent-test-XXXXXX";
	_cleanup_(freep) char *pipe = NULL, *file = NULL, *link = NULL;
	const char *bad[3];
	struct config config;

	(void)state;
	assert_non_null(mkdtemp(dir));
	bad[0] = pipe = path_join(dir, "pipe");
	bad[1] = dir;
	bad[2] = "/dev/zero";
	file = path_join(dir, "file");
	link = path_join(dir, "link");
	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(file_replace(AT_FDCWD, file, "cpus = 3\n", 9, 0600, FILE_NO_SYNC), 0);
	assert_int_equal(symlink("file", link), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error err = ERROR_INIT;

		assert_int_equal(config_load(bad[i], &config, NULL, &err), -EINVAL);
		assert_non_null(strstr(err.message, bad[i]));
		assert_non_null(strstr(err.message, "no regular file"));
	}
	assert_int_equal(config_load(link, &config, NULL, NULL), 0);
	assert_int_equal(config.cpus, 3);
	assert_int_equal(config_load("/dev/null", &config, NULL, NULL), 0);
	assert_int_equal(config.cpus, 0);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
}

static void a_socket_may_have_a_long_path(void **state)
{
	char dir[] = "/tmp/amlagent-test-XXXXXX";
	_cleanup_(freep) char *long_dir = NULL;
	_cleanup_(freep) char *path = NULL;
	_cleanup_(closep) int server = -EBADF;
	_cleanup_(closep) int client = -EBADF;
	struct error err = ERROR_INIT;

	(void)state;
	assert_non_null(mkdtemp(dir));
	long_dir = mem_printf("%s/%0120d", dir, 1);
	path = path_join(long_dir, "s");
	assert_int_equal(paths_prepare_socket_dir(path, &err), 0);
	assert_int_equal(unix_socket_connect(path), -ENOENT);
	server = unix_socket_listen(path, 0600);
	assert_true(server >= 0);
	assert_int_equal(unix_socket_listen(path, 0600), -EADDRINUSE);
	client = unix_socket_connect(path);
	assert_true(client >= 0);
	closep(&server);
	server = unix_socket_listen(path, 0600); /* nobody listens any more: taken over */
	assert_true(server >= 0);
	assert_int_equal(chmod(long_dir, 0777), 0);
	assert_int_equal(paths_prepare_socket_dir(path, &err), -EPERM);
	assert_int_equal(tree_remove(AT_FDCWD, dir), 0);
}

static void artifacts_are_found_and_sorted(void **state)
{
	struct artifacts list = { 0 };

	(void)state;
	artifacts_add(&list, "b", 2, NULL, 0);
	artifacts_add(&list, "a", 1, NULL, 0);
	artifacts_sort(&list);
	assert_string_equal(list.items[0].path, "a");
	assert_int_equal(artifacts_find(&list, "b")->size, 2);
	assert_null(artifacts_find(&list, "c"));
	artifacts_release(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_grow_and_give_back),
		cmocka_unit_test(environments_are_set_and_unset),
		cmocka_unit_test(pairs_keep_order_and_unique_keys),
		cmocka_unit_test(a_file_is_replaced_whole_and_trees_go),
		cmocka_unit_test(a_tree_deeper_than_the_descriptors_goes),
		cmocka_unit_test(a_tree_that_another_removes_too_goes),
		cmocka_unit_test(paths_are_judged_lexically),
		cmocka_unit_test(digests_are_sha256),
		cmocka_unit_test(times_format_and_parse_back),
		cmocka_unit_test(utf8_is_judged_as_unicode_has_it),
		cmocka_unit_test(a_configuration_is_read_by_table),
		cmocka_unit_test(a_bad_configuration_names_the_line_and_changes_nothing),
		cmocka_unit_test(a_bad_configuration_says_what_would_be_right),
		cmocka_unit_test(where_a_key_is_set_is_known),
		cmocka_unit_test(a_configuration_is_a_regular_file_or_none),
		cmocka_unit_test(a_socket_may_have_a_long_path),
		cmocka_unit_test(artifacts_are_found_and_sorted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
