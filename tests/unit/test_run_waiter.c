/* SPDX-License-Identifier: MIT */
/* test_run_waiter - who is told of what happens to a run */
#include "run_fixture.h"

struct listener {
	struct run_waiter waiter;
	int changes, ends;
	struct listener *remove; /* stop that one when told */
	bool stopped;            /* nothing is told any more */
	const char *run_id;
	enum run_state seen; /* at the end */
};

static void listen_changed(struct run_waiter *waiter, bool over)
{
	struct listener *listener = container_of(waiter, struct listener, waiter);

	assert_false(listener->stopped);
	listener->changes += !over;
	listener->ends += over;
	if (listener->run_id)
		listener->seen = state_of(&f, listener->run_id);
	if (!listener->remove)
		return;
	run_waiter_stop(&listener->remove->waiter);
	listener->remove->stopped = true;
}

static void waiters_are_told_of_changes_and_once_of_the_end(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct listener listener = { .run_id = run_id };

	(void)state;
	until_held(&f, run_id);
	assert_int_equal(run_waiter_start(f.manager, run_id, &listener.waiter, listen_changed), 0);
	fake_executor_started(f.fake, run_id, clock_utc());
	assert_int_equal(listener.changes, 1);
	end_run(&f, run_id, 0);
	assert_int_equal(listener.changes, 2);
	until(&f, listener.ends);
	assert_int_equal(listener.seen, RUN_COMPLETED); /* durable when told */
	for (int i = 0; i < 20; i++)
		uv_run(&f.loop, UV_RUN_NOWAIT);
	assert_int_equal(listener.ends, 1);
	run_waiter_stop(&listener.waiter);
	assert_int_equal(
		run_waiter_start(f.manager, run_id, &listener.waiter, listen_changed), -ENOENT);
}

static void waiters_may_go_while_others_are_told(void **state)
{
	(void)state;
	/* Each in turn removes each, itself too. */
	for (int who = 0; who < 3; who++)
		for (int whom = 0; whom < 3; whom++) {
			_cleanup_(freep) char *run_id = submit(&f, NULL);
			struct listener *listeners[3];

			until_held(&f, run_id);
			for (int i = 0; i < 3; i++) {
				listeners[i] = NEW(struct listener);
				run_waiter_start(
					f.manager, run_id, &listeners[i]->waiter, listen_changed);
			}
			listeners[who]->remove = listeners[whom];
			fake_executor_started(f.fake, run_id, clock_utc());
			for (int i = 0; i < 3; i++)
				assert_true(listeners[i]->changes == 1 || i == whom);
			free(listeners[whom]);
			listeners[who == whom ? who : whom] = NULL;
			if (who != whom)
				listeners[who]->remove = NULL;
			end_run(&f, run_id, 0);
			until_over(&f, run_id);
			for (int i = 0; i < 3; i++) {
				assert_true(!listeners[i] || listeners[i]->ends == 1);
				free(listeners[i]);
			}
		}
}

static void waiters_that_are_left_may_stop_after_it_is_gone(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct listener listeners[2] = { 0 };

	(void)state;
	until_running(&f, run_id);
	for (int i = 0; i < 2; i++)
		run_waiter_start(f.manager, run_id, &listeners[i].waiter, listen_changed);
	fixture_close(&f);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(listeners[i].ends, 0); /* it goes on */
		run_waiter_stop(&listeners[i].waiter);
	}
	fixture_start(&f);
	run_manager_recover(f.manager, NULL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(waiters_are_told_of_changes_and_once_of_the_end),
		TEST(waiters_may_go_while_others_are_told),
		TEST(waiters_that_are_left_may_stop_after_it_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
