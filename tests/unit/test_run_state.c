/* SPDX-License-Identifier: MIT */
/* test_run_state - the table of states is whole, and events move through it */
#include "test.h"

#include "common/run_state.h"
#include "runs/run.h"

static void every_state_has_a_name_and_parses_back(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RUN_STATE_COUNT; i++) {
		enum run_state back;

		assert_non_null(run_state_name((enum run_state)i));
		assert_int_equal(run_state_parse(run_state_name((enum run_state)i), &back), 0);
		assert_int_equal(back, i);
	}
}

static void terminal_states_have_no_way_out_and_others_reach_an_end(void **state)
{
	(void)state;
	for (unsigned from = 0; from < RUN_STATE_COUNT; from++) {
		unsigned reached = 1u << from;

		for (int round = 0; round < RUN_STATE_COUNT; round++)
			for (unsigned a = 0; a < RUN_STATE_COUNT; a++)
				for (unsigned b = 0; b < RUN_STATE_COUNT; b++)
					if (reached & 1u << a && run_state_may_follow(a, b))
						reached |= 1u << b;
		if (run_state_is_terminal(from))
			assert_int_equal(reached, 1u << from);
		else
			assert_true(reached & (1u << RUN_FAILED));
	}
}

static void every_cause_ends_in_a_terminal_state(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RUN_CAUSE_COUNT; i++) {
		enum run_cause back;

		assert_true(run_state_is_terminal(run_cause_state((enum run_cause)i)));
		if (i == RUN_CAUSE_NONE)
			continue;
		assert_int_equal(run_cause_parse(run_cause_name((enum run_cause)i), &back), 0);
		assert_int_equal(back, i);
	}
	assert_null(run_cause_name(RUN_CAUSE_NONE));
	assert_int_equal(run_cause_state(RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED), RUN_CANCELED);
	assert_int_equal(run_cause_state(RUN_CAUSE_LOST), RUN_FAILED);
}

static int apply(struct run_record *record, enum run_event_type type, enum run_cause cause)
{
	struct run_event event = { .type = type,
		.at_us = 7,
		.boot_id = "boot",
		.cause = cause,
		.message = cause ? "why" : NULL };

	return run_apply(record, &event);
}

static void a_run_goes_from_queued_to_completed(void **state)
{
	struct run_record record = { 0 };

	(void)state;
	assert_int_equal(apply(&record, RUN_EVENT_QUEUE, 0), 0);
	assert_int_equal(record.queued_us, 7);
	assert_int_equal(apply(&record, RUN_EVENT_PREPARE, 0), 0);
	assert_string_equal(record.boot_id, "boot");
	assert_int_equal(apply(&record, RUN_EVENT_START, 0), 0);
	assert_int_equal(apply(&record, RUN_EVENT_RUNNING, 0), 0);
	assert_int_equal(record.start_us, 7);
	assert_int_equal(apply(&record, RUN_EVENT_EXITED, 0), 0);
	assert_int_equal(record.state, RUN_FINALIZING);
	assert_int_equal(apply(&record, RUN_EVENT_END, 0), 0);
	assert_int_equal(record.state, RUN_COMPLETED);
	assert_null(record.error_message);
	run_record_release(&record);
}

static void an_event_that_does_not_fit_changes_nothing(void **state)
{
	struct run_record record = { .state = RUN_COMPLETED, .queued_us = 3 };

	(void)state;
	for (unsigned i = 0; i < RUN_EVENT_COUNT; i++)
		assert_int_equal(apply(&record, (enum run_event_type)i, RUN_CAUSE_LOST), -EINVAL);
	assert_int_equal(record.state, RUN_COMPLETED);
	assert_int_equal(record.queued_us, 3);
	assert_null(record.boot_id);
}

static void a_cancel_may_come_too_late(void **state)
{
	struct run_record record = { .state = RUN_CANCEL_REQUESTED };

	(void)state;
	assert_int_equal(apply(&record, RUN_EVENT_EXITED, 0), 0);
	assert_int_equal(apply(&record, RUN_EVENT_END, RUN_CAUSE_USER_ERROR), 0);
	assert_int_equal(record.state, RUN_FAILED);
	assert_string_equal(record.error_message, "why");
	run_record_release(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_has_a_name_and_parses_back),
		cmocka_unit_test(terminal_states_have_no_way_out_and_others_reach_an_end),
		cmocka_unit_test(every_cause_ends_in_a_terminal_state),
		cmocka_unit_test(a_run_goes_from_queued_to_completed),
		cmocka_unit_test(an_event_that_does_not_fit_changes_nothing),
		cmocka_unit_test(a_cancel_may_come_too_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
