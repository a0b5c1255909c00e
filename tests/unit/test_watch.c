/* SPDX-License-Identifier: MIT */
/* test_watch - many watchers on one inotify descriptor, which come and go in their own callbacks */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "common/file.h"
#include "common/mem.h"
#include "runs/watch.h"

struct watcher {
	struct watch_item *item;
	struct watcher *victim; /* removed when this one is called */
	const char *again;      /* added again */
	int calls;
	uint32_t mask;
	char name[64];
};

static char top[PATH_MAX], path[PATH_MAX + 8];
static uv_loop_t loop;
static struct watch *watch;

static void on_event(void *data, const struct inotify_event *event)
{
	struct watcher *me = data;

	me->calls++;
	me->mask |= event->mask;
	snprintf(me->name, sizeof(me->name), "%s", event->len ? event->name : "");
	if (me->victim && me->victim->item) {
		watch_remove(watch, me->victim->item);
		me->victim->item = NULL;
	}
	if (me->again)
		assert_int_equal(watch_add(watch, me->again, IN_MODIFY | IN_ONESHOT, on_event, me,
					 &me->item),
			0);
}

static void add(struct watcher *me, const char *where, uint32_t mask)
{
	assert_int_equal(watch_add(watch, where, mask, on_event, me, &me->item), 0);
}

static void append(void)
{
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "x", 1), 1);
}

static void turn(void)
{
	for (int i = 0; i < 3; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
}

static int set_up(void **state)
{
	const char *temp = getenv("TMPDIR");

	(void)state;
	alarm(20);
	snprintf(top, sizeof(top), "%s/amlagent-watch-XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(top));
	snprintf(path, sizeof(path), "%s/file", top);
	append();
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(watch_new(&loop, &watch), 0);
	return 0;
}

static void on_freed(void *data)
{
	*(bool *)data = true;
}

static int tear_down(void **state)
{
	bool freed = false;

	(void)state;
	watch_free(watch, on_freed, &freed);
	assert_false(freed);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(freed);
	assert_int_equal(uv_loop_close(&loop), 0);
	return tree_remove(AT_FDCWD, top);
}

static void one_shot_is_for_one_time(void **state)
{
	struct watcher a = { 0 };

	(void)state;
	add(&a, path, IN_MODIFY | IN_ONESHOT);
	append();
	append();
	turn();
	append();
	turn();
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.mask, IN_MODIFY);
}

static void many_followers_of_one_file_all_hear_of_it(void **state)
{
	struct watcher followers[10] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(followers); i++) {
		followers[i].again = path;
		add(&followers[i], path, IN_MODIFY | IN_ONESHOT);
	}
	for (int round = 1; round <= 5; round++) {
		append();
		turn();
		for (size_t i = 0; i < ARRAY_SIZE(followers); i++)
			assert_int_equal(followers[i].calls, round);
	}
}

static void one_that_leaves_does_not_take_the_others_along(void **state)
{
	struct watcher a = { 0 }, b = { 0 };

	(void)state;
	add(&a, path, IN_MODIFY | IN_ONESHOT);
	add(&b, path, IN_MODIFY | IN_ONESHOT);
	watch_remove(watch, a.item);
	append();
	turn();
	assert_int_equal(a.calls, 0);
	assert_int_equal(b.calls, 1);
}

static void removed_after_the_event_came_it_is_not_called(void **state)
{
	struct watcher a = { 0 };

	(void)state;
	add(&a, path, IN_MODIFY | IN_ONESHOT);
	append();
	watch_remove(watch, a.item);
	turn();
	assert_int_equal(a.calls, 0);
}

static void a_callback_may_remove_another(void **state)
{
	struct watcher a = { 0 }, b = { 0 };

	(void)state;
	a.victim = &b;
	b.victim = &a;
	add(&a, top, IN_MOVED_TO);
	add(&b, top, IN_MOVED_TO);
	assert_int_equal(file_replace(AT_FDCWD, path, "y", 1, 0600, FILE_NO_SYNC), 0);
	turn();
	assert_int_equal(a.calls + b.calls, 1);
	assert_string_equal(a.calls ? a.name : b.name, "file");
}

static void a_lasting_one_lasts_until_its_file_is_gone(void **state)
{
	struct watcher a = { 0 };

	(void)state;
	add(&a, path, IN_MODIFY);
	for (int i = 1; i <= 3; i++) {
		append();
		turn();
		assert_int_equal(a.calls, i);
	}
	assert_int_equal(unlink(path), 0);
	turn();
	assert_true(a.mask & IN_IGNORED);
	watch_remove(watch, a.item);
}

static void what_is_left_goes_with_the_watch(void **state)
{
	struct watcher a = { 0 };

	(void)state;
	add(&a, top, IN_MOVED_TO);
	append();
}

static void what_is_not_there_cannot_be_watched(void **state)
{
	struct watch_item *item;

	(void)state;
	assert_int_equal(watch_add(watch, "/no/such", IN_MODIFY, on_event, NULL, &item), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_shot_is_for_one_time),
		TEST(many_followers_of_one_file_all_hear_of_it),
		TEST(one_that_leaves_does_not_take_the_others_along),
		TEST(removed_after_the_event_came_it_is_not_called),
		TEST(a_callback_may_remove_another),
		TEST(a_lasting_one_lasts_until_its_file_is_gone),
		TEST(what_is_left_goes_with_the_watch),
		TEST(what_is_not_there_cannot_be_watched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
