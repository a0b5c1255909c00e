/* SPDX-License-Identifier: MIT */
/* test_run_end - how runs end, and who is told when */
#include "run_fixture.h"

#include "common/run_dir.h"

/* ---- ends ---- */

static void the_end_is_what_the_exit_record_says(void **state)
{
	static const struct {
		struct run_exit exit;
		enum run_cause cause;
		int exit_code, signal;
	} ends[] = {
		{ { .exit_code = 0 }, RUN_CAUSE_NONE, 0, 0 },
		{ { .exit_code = 3 }, RUN_CAUSE_USER_ERROR, 3, 0 },
		{ { .exit_code = -1, .signal = 11 }, RUN_CAUSE_KILLED, -1, 11 },
		{ { .exit_code = -1, .signal = 9, .oom = true }, RUN_CAUSE_OUT_OF_MEMORY, -1, 9 },
		{ { .exit_code = -1, .signal = 15, .stopped = RUN_STOP_LIMIT },
			RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED, -1, 15 },
		{ { .exit_code = -1, .exec_errno = ENOENT }, RUN_CAUSE_SETUP_ERROR, -1, 0 },
		{ { .exit_code = -1, .signal = 15, .stopped = RUN_STOP_SHUTDOWN }, RUN_CAUSE_KILLED,
			-1, 15 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		_cleanup_(freep) char *run_id = submit(&f, NULL);
		struct run_exit exit = ends[i].exit;
		struct run_record record;

		exit.start_us = exit.exec_errno ? 0 : 5000;
		exit.end_us = 9000;
		exit.wall_us = 4000;
		exit.peak_bytes = 77;
		until_held(&f, run_id);
		fake_executor_ended(f.fake, run_id, &exit, 0);
		until_over(&f, run_id);
		record = stored_record_of(&f, run_id);
		assert_int_equal(record.cause, ends[i].cause);
		assert_int_equal(record.state, run_cause_state(ends[i].cause));
		assert_int_equal(record.exit_code, ends[i].exit_code);
		assert_int_equal(record.signal, ends[i].signal);
		assert_int_equal(record.start_us, exit.start_us);
		assert_int_equal(record.end_us, 9000);
		assert_true(record.used_known && record.wall_us == 4000 && record.peak_bytes == 77);
		assert_true(!record.error_message == !ends[i].cause);
		run_record_release(&record);
	}
}

static void a_lost_run_says_when_it_was_last_seen(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct run_record record;

	(void)state;
	until_held(&f, run_id);
	fake_executor_started(f.fake, run_id, 500000);
	fake_executor_ended(f.fake, run_id, NULL, 1000000);
	until_over(&f, run_id);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.cause, RUN_CAUSE_LOST);
	assert_int_equal(record.exit_code, -1);
	assert_int_equal(record.start_us, 500000);
	assert_int_equal(record.end_us, 1000000);
	assert_false(record.used_known);
	assert_non_null(strstr(record.error_message, "1970-01-01T00:00:01"));
	run_record_release(&record);
}

/* The wall clock was set back while it ran: no end is before its start. */
static void a_run_takes_no_negative_time(void **state)
{
	(void)state;
	for (int lost = 0; lost < 2; lost++) {
		_cleanup_(freep) char *run_id = submit(&f, NULL);
		struct run_exit exit = exit_of(0);
		struct run_record record;

		exit.start_us = 5000000;
		exit.end_us = 1000000;
		until_held(&f, run_id);
		fake_executor_started(f.fake, run_id, exit.start_us);
		fake_executor_ended(f.fake, run_id, lost ? NULL : &exit, 1000000);
		until_over(&f, run_id);
		record = stored_record_of(&f, run_id);
		assert_int_equal(record.start_us, 5000000);
		assert_int_equal(record.end_us, 5000000);
		run_record_release(&record);
	}
}

static void an_end_is_shown_when_it_is_durable_and_the_disk_is_tried_again(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct run_record record;

	(void)state;
	until_running(&f, run_id);
	until(&f, stored_state_of(&f, run_id) == RUN_RUNNING);
	disk_is(DISK_FULL);
	end_run(&f, run_id, 3);
	turn_for(&f, 300000);
	record = record_of(&f, run_id);
	assert_int_equal(record.state, RUN_FINALIZING);
	assert_int_equal(record.exit_code, -1);
	assert_null(record.error_message);
	run_record_release(&record);
	assert_true(run_manager_is_live(f.manager, run_id));
	disk_is(DISK_FINE);
	until_over(&f, run_id);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.exit_code, 3);
	assert_int_equal(record.cause, RUN_CAUSE_USER_ERROR);
	run_record_release(&record);
}

static void nothing_is_started_before_it_is_durable_that_it_may_run(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);

	(void)state;
	until_running(&f, first);
	until(&f, stored_state_of(&f, first) == RUN_RUNNING);
	disk_is(DISK_FULL);
	end_run(&f, first, 0);
	turn_for(&f, 300000);
	assert_state(&f, second, RUN_PREPARING);
	assert_int_equal(fake_executor_starts(f.fake, second), 0);
	disk_is(DISK_FINE);
	until_held(&f, second);
	until_over(&f, first);
	run_to_end(&f, second, 0);
	assert_int_equal(fake_executor_starts(f.fake, second), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_end_is_what_the_exit_record_says),
		TEST(a_lost_run_says_when_it_was_last_seen),
		TEST(a_run_takes_no_negative_time),
		TEST(an_end_is_shown_when_it_is_durable_and_the_disk_is_tried_again),
		TEST(nothing_is_started_before_it_is_durable_that_it_may_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
