/* SPDX-License-Identifier: MIT */
/* test_recovery_plan - the whole table: every state, whatever is found, in this boot and the next */
#include "test.h"

#include "common/mem.h"
#include "runs/recovery_plan.h"

/* What is owed to a run that was never started, as its directory says. */
static const struct {
	enum recovery_plan same_boot, restarted;
} unstarted[RUN_STATE_COUNT] = {
	[RUN_NOT_STARTED] = { RECOVERY_LOSE, RECOVERY_LOSE },
	[RUN_QUEUED] = { RECOVERY_QUEUE, RECOVERY_QUEUE },
	[RUN_PREPARING] = { RECOVERY_QUEUE_AGAIN, RECOVERY_LOSE },
	[RUN_STARTING] = { RECOVERY_QUEUE_AGAIN, RECOVERY_LOSE },
	[RUN_RUNNING] = { RECOVERY_LOSE, RECOVERY_LOSE },
	[RUN_FINALIZING] = { RECOVERY_LOSE, RECOVERY_LOSE },
	[RUN_CANCEL_REQUESTED] = { RECOVERY_CANCEL, RECOVERY_LOSE },
	[RUN_COMPLETED] = { RECOVERY_LOSE, RECOVERY_LOSE },
	[RUN_FAILED] = { RECOVERY_LOSE, RECOVERY_LOSE },
	[RUN_CANCELED] = { RECOVERY_LOSE, RECOVERY_LOSE },
};

static enum recovery_plan plan_of(
	enum run_state state, enum executor_found found, bool same_boot, int64_t start_us)
{
	const struct run_record record = { .state = state, .start_us = start_us };

	return recovery_plan(&record, found, same_boot);
}

static void what_was_started_is_watched_whatever_history_says(void **state)
{
	(void)state;
	for (int s = 0; s < RUN_STATE_COUNT; s++)
		for (int found = 0; found < EXECUTOR_FOUND_COUNT; found++)
			for (int i = 0; i < 4; i++)
				if (found != EXECUTOR_NEVER_STARTED)
					assert_int_equal(plan_of((enum run_state)s,
								 (enum executor_found)found, i & 1,
								 i & 2 ? 1000 : 0),
						RECOVERY_REATTACH);
}

static void what_was_never_started_is_as_history_left_it(void **state)
{
	(void)state;
	for (int s = 0; s < RUN_STATE_COUNT; s++) {
		enum run_state of = (enum run_state)s;

		assert_int_equal(
			plan_of(of, EXECUTOR_NEVER_STARTED, true, 0), unstarted[s].same_boot);
		assert_int_equal(
			plan_of(of, EXECUTOR_NEVER_STARTED, false, 0), unstarted[s].restarted);
	}
}

/* Once its command has run it is never started a second time, and never merely canceled. */
static void what_has_run_and_left_nothing_is_lost(void **state)
{
	(void)state;
	for (int s = 0; s < RUN_STATE_COUNT; s++)
		for (int same_boot = 0; same_boot < 2; same_boot++)
			assert_int_equal(
				plan_of((enum run_state)s, EXECUTOR_NEVER_STARTED, same_boot, 1000),
				RECOVERY_LOSE);
}

/* The table above is not the code's: what it says is said by these, too. */
static void only_what_cannot_have_run_is_queued_again(void **state)
{
	(void)state;
	for (int s = 0; s < RUN_STATE_COUNT; s++)
		for (int same_boot = 0; same_boot < 2; same_boot++) {
			enum recovery_plan plan =
				plan_of((enum run_state)s, EXECUTOR_NEVER_STARTED, same_boot, 0);
			bool queues = plan == RECOVERY_QUEUE || plan == RECOVERY_QUEUE_AGAIN;

			assert_true(!queues || same_boot || s == RUN_QUEUED);
			assert_true(!queues ||
				    run_state_may_follow((enum run_state)s, RUN_QUEUED) ||
				    s == RUN_QUEUED);
			assert_true(plan != RECOVERY_CANCEL || s == RUN_CANCEL_REQUESTED);
		}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_started_is_watched_whatever_history_says),
		cmocka_unit_test(what_was_never_started_is_as_history_left_it),
		cmocka_unit_test(what_has_run_and_left_nothing_is_lost),
		cmocka_unit_test(only_what_cannot_have_run_is_queued_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
