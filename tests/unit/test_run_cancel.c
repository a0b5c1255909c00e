/* SPDX-License-Identifier: MIT */
/* test_run_cancel - runs are canceled in every state */
#include "run_fixture.h"

#include "common/run_dir.h"

static void assert_canceled(const char *run_id, const struct answer *answer)
{
	struct run_record record = stored_record_of(&f, run_id);

	assert_int_equal(answer->count, 1);
	assert_true(answer->has_record);
	assert_int_equal(record.state, RUN_CANCELED);
	assert_int_equal(record.cause, RUN_CAUSE_CANCELED_BY_USER);
	assert_non_null(record.error_message);
	run_record_release(&record);
}

static void a_queued_run_is_canceled_at_once(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	struct answer answers[2] = { 0 };

	(void)state;
	until_running(&f, first);
	cancel(&f, second, &answers[0]);
	cancel(&f, second, &answers[1]); /* two at once */
	until(&f, answers[0].count && answers[1].count);
	for (int i = 0; i < 2; i++) {
		assert_canceled(second, &answers[i]);
		assert_int_equal(answers[i].record.state, RUN_CANCELED);
	}
	assert_int_equal(fake_executor_starts(f.fake, second), 0);
	assert_int_equal(counts_of(&f).running, 1);
	assert_int_equal(counts_of(&f).queued, 0);
	end_run(&f, first, 0);
	until_over(&f, first);
	for (int i = 0; i < 2; i++)
		answer_release(&answers[i]);
}

static void a_preparing_run_is_canceled_at_once_and_its_folder_cleaned_up(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second =
		submit(&f, "\"command\": \"true\", \"submit_environment\": {\"SECRET\": \"1\"}");
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, first);
	assert_true(exists_in_state(&f, second, "environment"));
	hold_threads(&f);
	end_run(&f, first, 0);
	assert_state(&f, second, RUN_PREPARING);
	cancel(&f, second, &answer);
	until(&f, answer.count);
	assert_canceled(second, &answer);
	assert_int_equal(counts_of(&f).running, 0);
	let_threads_go(&f);
	until(&f, !exists_in_state(&f, second, "environment"));
	until(&f, !exists_in_state(&f, second, RUN_DIR_LAUNCH));
	until_over(&f, first);
	answer_release(&answer);
}

static void a_started_run_is_asked_to_stop(void **state)
{
	static const bool told_started[] = { false, true };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(told_started); i++) {
		_cleanup_(freep) char *run_id = submit(&f, NULL);
		struct run_exit exit = exit_of(-1);
		struct answer answers[2] = { 0 };
		struct run_record record;

		exit.signal = 15;
		exit.stopped = RUN_STOP_CANCEL;
		until_held(&f, run_id);
		if (told_started[i])
			fake_executor_started(f.fake, run_id, clock_utc());
		cancel(&f, run_id, &answers[0]);
		cancel(&f, run_id, &answers[1]);
		until(&f, answers[0].count && answers[1].count);
		assert_int_equal(answers[1].record.state, RUN_CANCEL_REQUESTED);
		assert_true(fake_executor_stops(f.fake, run_id) >= 1);
		assert_int_equal(counts_of(&f).running, 1);
		if (!told_started[i])
			fake_executor_started(f.fake, run_id, 4711); /* the news was slower */
		assert_state(&f, run_id, RUN_CANCEL_REQUESTED);
		fake_executor_ended(f.fake, run_id, &exit, 0);
		until_over(&f, run_id);
		assert_canceled(run_id, &answers[0]);
		record = stored_record_of(&f, run_id);
		assert_true(record.start_us > 0);
		assert_non_null(strstr(record.error_message, record.submitted_by));
		run_record_release(&record);
		answer_release(&answers[0]);
		answer_release(&answers[1]);
	}
}

static void a_cancel_that_came_too_late_changes_nothing(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer during = { 0 }, after = { 0 };

	(void)state;
	until_running(&f, run_id);
	hold_threads(&f);
	end_run(&f, run_id, 0);
	cancel(&f, run_id, &during);
	until(&f, during.count);
	assert_true(during.has_record);
	assert_int_equal(during.record.state, RUN_FINALIZING);
	let_threads_go(&f);
	until_over(&f, run_id);
	assert_state(&f, run_id, RUN_COMPLETED);
	cancel(&f, run_id, &after);
	until(&f, after.count);
	assert_false(after.has_record);
	assert_int_equal(after.err.code, -EALREADY);
	answer_release(&during);
	answer_release(&after);
}

static void a_canceled_run_can_be_canceled_again(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	struct answer answer = { 0 }, again = { 0 }, unknown = { 0 };

	(void)state;
	cancel(&f, second, &answer);
	until(&f, answer.count);
	cancel(&f, second, &again);
	until(&f, again.count);
	assert_canceled(second, &again);
	cancel(&f, "e_1_00000000", &unknown);
	until(&f, unknown.count);
	assert_int_equal(unknown.err.code, -ENOENT);
	run_to_end(&f, first, 0);
	answer_release(&answer);
	answer_release(&again);
	answer_release(&unknown);
}

static void a_cancel_does_not_claim_a_run_that_failed_meanwhile(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		fail_to_start(&f, run_id, -EIO);
		hurry(&f);
	}
	cancel(&f, run_id, &answer); /* its failure is being written */
	assert_int_equal(answer.count, 0);
	until(&f, answer.count);
	assert_state(&f, run_id, RUN_FAILED);
	assert_false(answer.has_record);
	assert_int_equal(answer.err.code, -EALREADY);
	answer_release(&answer);
}

static void a_stop_that_failed_is_tried_again(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, run_id);
	fake_executor_fail(f.fake, 0, -ENOSPC);
	cancel(&f, run_id, &answer);
	until(&f, answer.count);
	assert_state(&f, run_id, RUN_CANCEL_REQUESTED);
	assert_int_equal(fake_executor_stops(f.fake, run_id), 0);
	fake_executor_fail(f.fake, 0, 0);
	until(&f, fake_executor_stops(f.fake, run_id));
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
	answer_release(&answer);
}

/* Neither its supervisor nor history can be told: what is refused leaves no trace. */
static void a_cancel_that_nothing_holds_is_refused_and_changes_nothing(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer refused = { 0 }, accepted = { 0 };
	struct run_record record;

	(void)state;
	until_running(&f, run_id);
	fake_executor_fail(f.fake, 0, -ENOSPC);
	disk_is(DISK_FULL);
	cancel(&f, run_id, &refused);
	assert_state(&f, run_id, RUN_RUNNING); /* nor before it is refused */
	until(&f, refused.count);
	assert_false(refused.has_record);
	assert_int_equal(refused.err.code, -ENOSPC);
	assert_non_null(strstr(refused.err.message, "is not canceled"));
	assert_state(&f, run_id, RUN_RUNNING);
	record = record_of(&f, run_id);
	assert_null(record.canceled_by);
	run_record_release(&record);
	disk_is(DISK_FINE);
	fake_executor_fail(f.fake, 0, 0);
	turn_for(&f, 1200000); /* longer than until a retry */
	assert_int_equal(fake_executor_stops(f.fake, run_id), 0);
	cancel(&f, run_id, &accepted);
	until(&f, accepted.count);
	assert_int_equal(accepted.record.state, RUN_CANCEL_REQUESTED);
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
	answer_release(&refused);
	answer_release(&accepted);
}

/* Its supervisor knows: history learns of it when it has room. */
static void a_cancel_that_history_has_no_room_for_is_written_later(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, run_id);
	disk_is(DISK_FULL);
	cancel(&f, run_id, &answer);
	until(&f, answer.count);
	assert_int_equal(answer.record.state, RUN_CANCEL_REQUESTED);
	turn_for(&f, 100000);
	assert_true(stored_state_of(&f, run_id) != RUN_CANCEL_REQUESTED);
	disk_is(DISK_FINE);
	until(&f, stored_state_of(&f, run_id) == RUN_CANCEL_REQUESTED);
	assert_int_equal(fake_executor_stops(f.fake, run_id), 1);
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
	answer_release(&answer);
}

static void a_second_cancel_cannot_be_refused(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answers[2] = { 0 };

	(void)state;
	until_running(&f, run_id);
	cancel(&f, run_id, &answers[0]);
	until(&f, answers[0].count);
	fake_executor_fail(f.fake, 0, -ENOSPC);
	disk_is(DISK_FULL);
	cancel(&f, run_id, &answers[1]);
	until(&f, answers[1].count);
	assert_int_equal(answers[1].record.state, RUN_CANCEL_REQUESTED);
	disk_is(DISK_FINE);
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
	for (int i = 0; i < 2; i++)
		answer_release(&answers[i]);
}

/* While history is told, its command starts, or it ends, or its supervisor cannot begin. */
static void a_run_that_goes_on_while_its_cancel_is_written(void **state)
{
	enum { STARTS, ENDS, DOES_NOT_BEGIN, WAYS };

	(void)state;
	for (int way = 0; way < WAYS; way++) {
		_cleanup_(freep) char *run_id = submit(&f, NULL);
		struct answer answer = { 0 };

		until_held(&f, run_id);
		fake_executor_fail(f.fake, 0, -EMFILE);
		cancel(&f, run_id, &answer);
		assert_state(&f, run_id, RUN_STARTING);
		if (way == STARTS)
			fake_executor_started(f.fake, run_id, clock_utc());
		else if (way == ENDS)
			end_run(&f, run_id, 0);
		else
			fake_executor_not_started(f.fake, run_id, -EMFILE);
		until(&f, answer.count);
		if (way == STARTS)
			assert_int_equal(answer.record.state, RUN_CANCEL_REQUESTED);
		fake_executor_fail(f.fake, 0, 0);
		if (way == STARTS) {
			until(&f, fake_executor_stops(f.fake, run_id));
			end_run(&f, run_id, 0);
		}
		until_over(&f, run_id);
		assert_int_equal(stored_state_of(&f, run_id),
			way == DOES_NOT_BEGIN ? RUN_CANCELED : RUN_COMPLETED);
		answer_release(&answer);
	}
}

/* The daemon that accepted it died before history had room: the run's folder tells. */
static void a_cancel_in_the_folder_holds_for_the_next_daemon(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	_cleanup_(freep) char *stop = NULL;

	(void)state;
	until_running(&f, run_id);
	stop = mem_printf("%s/runs/%s/" RUN_DIR_STOP, f.state, run_id);
	assert_int_equal(file_replace(AT_FDCWD, stop, "", 0, 0600, FILE_NO_SYNC), 0);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, run_id, EXECUTOR_LIVES);
	assert_true(run_manager_recover(f.manager, NULL) >= 0);
	fake_executor_started(f.fake, run_id, clock_utc());
	assert_state(&f, run_id, RUN_CANCEL_REQUESTED);
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_queued_run_is_canceled_at_once),
		TEST(a_preparing_run_is_canceled_at_once_and_its_folder_cleaned_up),
		TEST(a_started_run_is_asked_to_stop),
		TEST(a_cancel_that_came_too_late_changes_nothing),
		TEST(a_canceled_run_can_be_canceled_again),
		TEST(a_cancel_does_not_claim_a_run_that_failed_meanwhile),
		TEST(a_stop_that_failed_is_tried_again),
		TEST(a_cancel_that_nothing_holds_is_refused_and_changes_nothing),
		TEST(a_cancel_that_history_has_no_room_for_is_written_later),
		TEST(a_second_cancel_cannot_be_refused),
		TEST(a_run_that_goes_on_while_its_cancel_is_written),
		TEST(a_cancel_in_the_folder_holds_for_the_next_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
