/* SPDX-License-Identifier: MIT */
/* test_run_manager - the manager goes while things are under way; and it has very many runs */
#include "run_fixture.h"

/* ---- the manager goes ---- */

/* tear_down() is the test: whatever is under way comes back, nothing is lost or used after. */

static void it_goes_while_submissions_are_under_way(void **state)
{
	struct answer answers[3] = { 0 };
	struct run_record_list live = { 0 };

	(void)state;
	hold_threads(&f);
	for (int i = 0; i < 3; i++)
		submit_begin(&f, NULL, &answers[i]);
	let_threads_go(&f);
	fixture_close(&f);
	fixture_open(&f);
	assert_int_equal(history_list_live(f.history, &live), 0);
	for (int i = 0; i < 3; i++) {
		/* Accepted or refused: told, and true. */
		assert_int_equal(answers[i].count, 1);
		assert_true(answers[i].has_record);
		assert_false(is_over(&f, answers[i].record.run_id));
		answer_release(&answers[i]);
	}
	assert_int_equal(live.count, 3);
	run_record_list_release(&live);
}

static void it_goes_while_a_submission_is_committed(void **state)
{
	struct answer answer = { 0 };

	(void)state;
	disk_is(DISK_SLOW);
	submit_begin(&f, NULL, &answer);
	until(&f, folders(&f) == 1);
	for (int i = 0; i < 3; i++)
		uv_run(&f.loop, UV_RUN_ONCE);
	run_manager_recover(f.manager, NULL); /* nothing: it is in no table yet */
	disk_is(DISK_FINE);
	fixture_close(&f);
	fixture_open(&f);
	assert_int_equal(answer.count, 1);
	assert_true(answer.has_record);
	assert_false(is_over(&f, answer.record.run_id));
	answer_release(&answer);
}

static void it_goes_while_a_run_is_prepared_and_starts_nothing_more(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	bool freed = false, executor = false;

	(void)state;
	until_running(&f, first);
	hold_threads(&f);
	end_run(&f, first, 0);
	assert_state(&f, second, RUN_PREPARING);
	run_manager_free(f.manager, fixture_freed, &freed);
	let_threads_go(&f);
	until(&f, freed);
	assert_int_equal(fake_executor_starts(f.fake, second), 0);
	f.executor->ops->free(f.executor, fixture_freed, &executor);
	until(&f, executor);
	fixture_close_rest(&f);
	fixture_open(&f);
	assert_state(&f, first, RUN_COMPLETED);
	run_to_end(&f, second, 0);
}

static void it_goes_while_the_executor_still_has_news(void **state)
{
	_cleanup_(freep) char *first = NULL;
	_cleanup_(freep) char *second = NULL;
	struct run_exit exit = exit_of(0);
	bool freed = false;

	(void)state;
	restart_with(&f, 2);
	first = submit(&f, NULL);
	second = submit(&f, NULL);
	until_running(&f, first);
	until_held(&f, second);
	run_manager_free(f.manager, fixture_freed, &freed);
	fake_executor_started(f.fake, second, clock_utc());
	fake_executor_ended(f.fake, first, &exit, 0);
	until(&f, freed);
	fake_executor_ended(f.fake, second, NULL, 0);
	f.executor->ops->free(f.executor, fixture_freed, &freed);
	freed = false;
	until(&f, freed);
	fixture_close_rest(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, first, EXECUTOR_ENDED);
	fake_executor_will_find(f.fake, second, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	fake_executor_ended(f.fake, first, &exit, 0);
	until_over(&f, first);
	assert_false(is_over(&f, second));
}

static void it_goes_while_runs_finish(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	until_running(&f, run_id);
	hold_threads(&f);
	end_run(&f, run_id, 4);
	let_threads_go(&f);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, run_id, EXECUTOR_ENDED);
	run_manager_recover(f.manager, NULL);
	until(&f, is_over(&f, run_id) || fake_executor_holds(f.fake, run_id));
	assert_true(is_over(&f, run_id)); /* what had begun came to its end */
}

static void it_goes_while_cancels_wait_for_their_commit(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, first);
	disk_is(DISK_SLOW);
	cancel(&f, second, &answer);
	uv_run(&f.loop, UV_RUN_NOWAIT);
	assert_int_equal(answer.count, 0);
	disk_is(DISK_FINE);
	fixture_close(&f);
	fixture_start(&f);
	assert_int_equal(answer.count, 1);
	assert_true(answer.has_record);
	answer_release(&answer);
	run_manager_recover(f.manager, NULL);
}

static void it_goes_while_cancels_wait_for_room_on_the_disk(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, first);
	until(&f, stored_state_of(&f, first) == RUN_RUNNING);
	disk_is(DISK_FULL);
	cancel(&f, second, &answer);
	turn_for(&f, 200000);
	assert_int_equal(answer.count, 0);
	fixture_close(&f);
	assert_int_equal(answer.count, 1); /* and it does not claim what is not so */
	assert_false(answer.has_record);
	assert_true(answer.err.code < 0);
	disk_is(DISK_FINE);
	fixture_start(&f);
	fake_executor_will_find(f.fake, first, EXECUTOR_LIVES);
	run_manager_recover(f.manager, NULL);
	assert_state(&f, second, RUN_QUEUED);
	answer_release(&answer);
}

/* ---- many ---- */

static int64_t thread_us(void)
{
	return clock_now(CLOCK_THREAD_CPUTIME_ID);
}

/* The loop's own time from recovery to the end of all. */
static int64_t time_of_many(int count)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	struct run_record record = record_of(&f, first);
	_cleanup_(freep) char *last = mem_printf("many%d_%d_%08x", count, count - 1, count - 1);
	struct run_exit exit = exit_of(0);
	int64_t begin;

	run_to_end(&f, first, 0);
	record.state = RUN_QUEUED;
	for (int i = 0; i < count; i++) {
		_cleanup_(freep) char *id = mem_printf("many%d_%d_%08x", count, i, i);
		_cleanup_(freep) char *dir = mem_printf("%s/runs/%s", f.state, id);

		mem_replace(&record.run_id, id);
		history_insert(f.history, &record, HISTORY_SOON, NULL, NULL);
		assert_int_equal(mkdir(dir, 0700), 0);
	}
	run_record_release(&record);
	fixture_close(&f);
	fixture_start(&f);
	begin = thread_us();
	assert_int_equal(run_manager_recover(f.manager, NULL), count);
	fake_executor_go(f.fake, &exit);
	while (!is_over(&f, last)) /* alarm() is its limit */
		uv_run(&f.loop, UV_RUN_ONCE);
	until(&f, counts_of(&f).running == 0 && counts_of(&f).finalizing == 0);
	return thread_us() - begin;
}

static void two_thousand_queued_runs_cost_four_times_five_hundred(void **state)
{
	int64_t few, many;

	(void)state;
	alarm(0);
	alarm(170);
	restart_with(&f, 50);
	few = time_of_many(500);
	restart_with(&f, 50);
	many = time_of_many(2000);
	print_message("loop's time: 500 runs %lld ms, 2000 runs %lld ms\n", (long long)few / 1000,
		(long long)many / 1000);
	assert_true(many < 10 * few); /* quadratic would be 16 */
	assert_true(fake_executor_most(f.fake) <= 50);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(it_goes_while_submissions_are_under_way),
		TEST(it_goes_while_a_submission_is_committed),
		TEST(it_goes_while_a_run_is_prepared_and_starts_nothing_more),
		TEST(it_goes_while_the_executor_still_has_news),
		TEST(it_goes_while_runs_finish),
		TEST(it_goes_while_cancels_wait_for_their_commit),
		TEST(it_goes_while_cancels_wait_for_room_on_the_disk),
		TEST(two_thousand_queued_runs_cost_four_times_five_hundred),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
