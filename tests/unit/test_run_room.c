/* SPDX-License-Identifier: MIT */
/* test_run_room - runs that find no room (disk, descriptors, processes) wait for it and go on */
#include "run_fixture.h"

#include "common/run_dir.h"
#include "common/strv.h"
#include "runs/run_live.h"

/* The manager's own view, where a test would have to wait for minutes. */
static struct run_live *live(const char *run_id)
{
	struct run_live *run = run_live_find(f.manager, run_id);

	assert_non_null(run);
	return run;
}

static void assert_ended(const char *run_id, enum run_cause cause, int starts)
{
	struct run_record record;

	until_over(&f, run_id);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.cause, cause);
	assert_int_equal(record.state, run_cause_state(cause));
	assert_int_equal(fake_executor_starts(f.fake, run_id), starts);
	run_record_release(&record);
}

/* ---- the start ---- */

static void what_finds_no_room_goes_to_the_end_and_the_others_have_their_turn(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	_cleanup_(freep) char *third = submit(&f, NULL);

	(void)state;
	fail_to_start(&f, first, -ENOSPC);
	assert_state(&f, first, RUN_QUEUED);
	assert_counts(&f, 0, 3); /* no slot is held, and for a second none is given */
	turn_for(&f, 50000);
	assert_counts(&f, 0, 3);
	until(&f, stored_state_of(&f, first) == RUN_QUEUED);
	hurry(&f);
	run_to_end(&f, second, 0);
	fail_to_start(&f, third, -ENOSPC);
	hurry(&f);
	fail_to_start(&f, first, -ENOSPC);
	hurry(&f);
	run_to_end(&f, third, 0);
	run_to_end(&f, first, 0);
	assert_int_equal(warnings_with(&f, first, "room"), 1); /* however often */
	assert_int_equal(warnings_with(&f, first, strerror(ENOSPC)), 1);
	assert_int_equal(warnings_with(&f, second, ""), 0);
	assert_ended(first, RUN_CAUSE_NONE, 3);
	assert_ended(second, RUN_CAUSE_NONE, 1);
	assert_ended(third, RUN_CAUSE_NONE, 2);
	assert_counts(&f, 0, 0);
}

static void every_kind_of_shortage_is_waited_out_for_ever(void **state)
{
	static const int kinds[] = { ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EAGAIN, ENOLCK };
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(kinds); i++) {
		fail_to_start(&f, run_id, -kinds[i / 2]);
		assert_state(&f, run_id, RUN_QUEUED);
		assert_int_equal(warnings_with(&f, run_id, strerror(kinds[i / 2])), 1);
		hurry(&f);
	}
	assert_int_equal(warnings_with(&f, run_id, "room"), ARRAY_SIZE(kinds));
	run_to_end(&f, run_id, 0);
	assert_ended(run_id, RUN_CAUSE_NONE, 2 * ARRAY_SIZE(kinds) + 1);
	assert_counts(&f, 0, 0);
}

static void the_warning_is_in_history_too(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct run_record record;

	(void)state;
	fail_to_start(&f, run_id, -ENOSPC);
	until(&f, stored_state_of(&f, run_id) == RUN_QUEUED);
	record = stored_record_of(&f, run_id);
	assert_int_equal(strv_length(record.warnings), 1);
	run_record_release(&record);
}

static void no_room_for_the_call_that_starts_it_is_the_same(void **state)
{
	_cleanup_(freep) char *run_id = NULL;

	(void)state;
	fake_executor_fail(f.fake, -EAGAIN, 0);
	run_id = submit(&f, NULL);
	for (int i = 0; i < 5; i++) {
		until(&f, live(run_id)->record.state == RUN_PREPARING);
		until(&f, state_of(&f, run_id) == RUN_QUEUED);
		assert_counts(&f, 0, 1);
		hurry(&f);
	}
	fake_executor_fail(f.fake, 0, 0);
	run_to_end(&f, run_id, 0);
	assert_int_equal(warnings_with(&f, run_id, "room"), 1);
	assert_ended(run_id, RUN_CAUSE_NONE, 1);
	assert_counts(&f, 0, 0);
}

static void no_room_for_the_working_directory_is_the_same(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, "\"script\": \"train.sh\"");

	(void)state;
	until_running(&f, first);
	descriptors_are(false);
	end_run(&f, first, 0); /* its outputs wait, too */
	for (int i = 0; i < 3; i++) {
		until(&f, warnings_with(&f, second, "room") && state_of(&f, second) == RUN_QUEUED);
		assert_counts(&f, 0, 1);
		hurry(&f);
		until(&f, state_of(&f, second) != RUN_QUEUED);
	}
	descriptors_are(true);
	until(&f, fake_executor_holds(f.fake, second) || (hurry(&f), false));
	run_to_end(&f, second, 0);
	assert_int_equal(warnings_with(&f, second, "room"), 1);
	assert_int_equal(warnings_with(&f, second, strerror(EMFILE)), 1);
	assert_ended(second, RUN_CAUSE_NONE, 1);
	until(&f, is_over(&f, first) || (live(first)->collect_at_us = 0, hurry(&f), false));
	assert_ended(first, RUN_CAUSE_NONE, 1);
	assert_counts(&f, 0, 0);
}

static void what_fails_for_another_reason_is_tried_three_times(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct run_record record;

	(void)state;
	for (int i = 0; i < 3; i++) {
		fail_to_start(&f, run_id, -EIO);
		assert_int_equal(counts_of(&f).running, 0);
		hurry(&f);
	}
	assert_ended(run_id, RUN_CAUSE_SETUP_ERROR, 3);
	assert_int_equal(warnings_with(&f, run_id, "room"), 0); /* it wanted for none */
	assert_int_equal(warnings_with(&f, run_id, strerror(EIO)), 1);
	record = stored_record_of(&f, run_id);
	assert_non_null(strstr(record.error_message, "no room")); /* as the supervisor said */
	assert_int_equal(record.start_us, 0);
	run_record_release(&record);
	assert_counts(&f, 0, 0);
}

static void what_waited_for_room_has_its_three_tries_left(void **state)
{
	static const int errors[] = { EIO, ENOSPC, ENOSPC, EIO, ENOSPC };
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		fail_to_start(&f, run_id, -errors[i]);
		assert_state(&f, run_id, RUN_QUEUED);
		hurry(&f);
	}
	run_to_end(&f, run_id, 7);
	assert_ended(run_id, RUN_CAUSE_USER_ERROR, ARRAY_SIZE(errors) + 1);
}

/* ---- canceled while it waits ---- */

static void what_waits_for_room_can_be_canceled(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	fail_to_start(&f, run_id, -ENOSPC);
	cancel(&f, run_id, &answer);
	until(&f, answer.count);
	assert_true(answer.has_record);
	assert_int_equal(answer.record.state, RUN_CANCELED);
	hurry(&f);
	turn_for(&f, 50000);
	assert_ended(run_id, RUN_CAUSE_CANCELED_BY_USER, 1);
	assert_counts(&f, 0, 0);
	answer_release(&answer);
}

static void a_cancel_while_it_starts_is_its_end_when_it_finds_no_room(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	until_held(&f, run_id);
	cancel(&f, run_id, &answer);
	assert_state(&f, run_id, RUN_CANCEL_REQUESTED);
	fake_executor_not_started(f.fake, run_id, -ENOSPC);
	assert_ended(run_id, RUN_CAUSE_CANCELED_BY_USER, 1);
	assert_counts(&f, 0, 0);
	answer_release(&answer);
}

/* The disk has no room for anything: neither for "Queued again" nor for the end. */
static void an_end_is_not_overwritten_by_what_was_owed_before_it(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	until_held(&f, run_id);
	until(&f, stored_state_of(&f, run_id) == RUN_STARTING);
	disk_is(DISK_FULL);
	fake_executor_not_started(f.fake, run_id, -ENOSPC);
	until(&f, live(run_id)->owed & OWED_QUEUE_COMMIT);
	cancel(&f, run_id, &answer);
	until(&f, live(run_id)->owed & OWED_FINAL_COMMIT);
	disk_is(DISK_FINE);
	hurry(&f);
	until(&f, answer.count);
	assert_true(answer.has_record);
	turn_for(&f, 50000);
	assert_int_equal(stored_state_of(&f, run_id), RUN_CANCELED);
	fixture_close(&f);
	fixture_start(&f);
	assert_int_equal(run_manager_recover(f.manager, NULL), 0);
	answer_release(&answer);
}

/* ---- the daemon ends meanwhile ---- */

static void what_waits_for_room_is_the_next_daemons(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	fail_to_start(&f, run_id, -ENOSPC);
	fixture_close(&f);
	fixture_start(&f);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	run_to_end(&f, run_id, 0);
	assert_int_equal(warnings_with(&f, run_id, "room"), 1);
	assert_ended(run_id, RUN_CAUSE_NONE, 1);
	assert_counts(&f, 0, 0);
}

static void what_could_not_even_be_queued_again_is_the_next_daemons_too(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	until_held(&f, run_id);
	until(&f, stored_state_of(&f, run_id) == RUN_STARTING);
	disk_is(DISK_FULL);
	fake_executor_not_started(f.fake, run_id, -ENOSPC);
	until(&f, live(run_id)->owed & OWED_QUEUE_COMMIT);
	fixture_close(&f);
	disk_is(DISK_FINE);
	fixture_start(&f);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	run_to_end(&f, run_id, 0);
	assert_ended(run_id, RUN_CAUSE_NONE, 1);
}

/* ---- outputs ---- */

/* Ended, with descriptors gone: its outputs wait. */
static char *end_without_room(int exit_code)
{
	char *run_id = submit(&f, NULL);
	_cleanup_(freep) char *folder = mem_printf("%s/runs/%s/work/outputs", f.state, run_id);
	_cleanup_(freep) char *model = path_join(folder, "model");

	until_running(&f, run_id);
	assert_int_equal(dir_make(folder, 0700), 0);
	assert_int_equal(file_replace(AT_FDCWD, model, "bytes", 5, 0600, FILE_NO_SYNC), 0);
	until(&f, stored_state_of(&f, run_id) == RUN_RUNNING);
	descriptors_are(false);
	end_run(&f, run_id, exit_code);
	until(&f, live(run_id)->owed & OWED_OUTPUTS);
	return run_id;
}

static void try_outputs_now(const char *run_id)
{
	live(run_id)->collect_at_us = 0;
	hurry(&f);
}

static void assert_outputs(const char *run_id, size_t count)
{
	struct artifacts list = { 0 };

	assert_int_equal(history_artifacts_list(f.history, run_id, "outputs/", NULL, &list), 0);
	assert_int_equal(list.count, count);
	artifacts_release(&list);
}

static void outputs_wait_for_room_without_a_slot(void **state)
{
	_cleanup_(freep) char *run_id = end_without_room(0);

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_state(&f, run_id, RUN_FINALIZING);
		assert_counts(&f, 0, 0);
		assert_int_equal(counts_of(&f).finalizing, 1);
		assert_int_equal(warnings_with(&f, run_id, "outputs"), 1);
		try_outputs_now(run_id);
		until(&f, !(live(run_id)->owed & OWED_OUTPUTS));
		until(&f, live(run_id)->owed & OWED_OUTPUTS);
	}
	assert_int_equal(stored_state_of(&f, run_id), RUN_FINALIZING);
	descriptors_are(true);
	try_outputs_now(run_id);
	assert_ended(run_id, RUN_CAUSE_NONE, 1);
	assert_outputs(run_id, 1);
	assert_int_equal(warnings_with(&f, run_id, strerror(EMFILE)), 1);
	assert_int_equal(counts_of(&f).finalizing, 0);
}

static void another_run_has_the_slot_while_outputs_wait(void **state)
{
	_cleanup_(freep) char *first = end_without_room(0);
	_cleanup_(freep) char *second = NULL;

	(void)state;
	descriptors_are(true);
	live(first)->collect_at_us = INT64_MAX;
	second = submit(&f, NULL);
	run_to_end(&f, second, 0);
	assert_state(&f, first, RUN_FINALIZING);
	assert_ended(second, RUN_CAUSE_NONE, 1);
	try_outputs_now(first);
	assert_ended(first, RUN_CAUSE_NONE, 1);
	assert_counts(&f, 0, 0);
}

static void outputs_that_found_no_room_in_time_are_an_error_and_stay(void **state)
{
	_cleanup_(freep) char *run_id = end_without_room(0);
	struct run_record record;

	(void)state;
	live(run_id)->room_until_us = 1;
	try_outputs_now(run_id);
	assert_ended(run_id, RUN_CAUSE_OUTPUT_ERROR, 1);
	descriptors_are(true);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.exit_code, 0);
	assert_non_null(strstr(record.error_message, strerror(EMFILE)));
	run_record_release(&record);
	assert_true(exists_in_state(&f, run_id, "work/outputs/model"));
	assert_counts(&f, 0, 0);
}

/* What it ended with is told; that its outputs are not stored is a warning. */
static void a_failed_run_keeps_its_verdict(void **state)
{
	_cleanup_(freep) char *run_id = end_without_room(3);
	struct run_record record;

	(void)state;
	live(run_id)->room_until_us = 1;
	try_outputs_now(run_id);
	assert_ended(run_id, RUN_CAUSE_USER_ERROR, 1);
	descriptors_are(true);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.exit_code, 3);
	assert_true(strv_length(record.warnings) >= 2);
	run_record_release(&record);
	assert_true(exists_in_state(&f, run_id, "work/outputs/model"));
}

static void outputs_that_wait_are_the_next_daemons(void **state)
{
	_cleanup_(freep) char *run_id = end_without_room(0);

	(void)state;
	fixture_close(&f);
	descriptors_are(true);
	fixture_start(&f);
	fake_executor_will_find(f.fake, run_id, EXECUTOR_ENDED);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	end_run(&f, run_id, 0);
	assert_ended(run_id, RUN_CAUSE_NONE, 0);
	assert_outputs(run_id, 1);
	assert_counts(&f, 0, 0);
}

/* The daemon has no second left to wait: the next one has. */
static void outputs_that_find_no_room_while_the_daemon_ends_are_the_next_ones(void **state)
{
	_cleanup_(freep) char *run_id = end_without_room(0);
	bool freed = false, executor = false;

	(void)state;
	descriptors_are(true);
	hold_threads(&f);
	descriptors_are(false);
	try_outputs_now(run_id);
	until(&f, !(live(run_id)->owed & OWED_OUTPUTS));
	run_manager_free(f.manager, fixture_freed, &freed);
	let_threads_go(&f);
	until(&f, freed);
	f.executor->ops->free(f.executor, fixture_freed, &executor);
	until(&f, executor);
	fixture_close_rest(&f);
	descriptors_are(true);
	fixture_start(&f);
	fake_executor_will_find(f.fake, run_id, EXECUTOR_ENDED);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	end_run(&f, run_id, 0);
	assert_ended(run_id, RUN_CAUSE_NONE, 0);
	assert_outputs(run_id, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_finds_no_room_goes_to_the_end_and_the_others_have_their_turn),
		TEST(every_kind_of_shortage_is_waited_out_for_ever),
		TEST(the_warning_is_in_history_too),
		TEST(no_room_for_the_call_that_starts_it_is_the_same),
		TEST(no_room_for_the_working_directory_is_the_same),
		TEST(what_fails_for_another_reason_is_tried_three_times),
		TEST(what_waited_for_room_has_its_three_tries_left),
		TEST(what_waits_for_room_can_be_canceled),
		TEST(a_cancel_while_it_starts_is_its_end_when_it_finds_no_room),
		TEST(an_end_is_not_overwritten_by_what_was_owed_before_it),
		TEST(what_waits_for_room_is_the_next_daemons),
		TEST(what_could_not_even_be_queued_again_is_the_next_daemons_too),
		TEST(outputs_wait_for_room_without_a_slot),
		TEST(another_run_has_the_slot_while_outputs_wait),
		TEST(outputs_that_found_no_room_in_time_are_an_error_and_stay),
		TEST(a_failed_run_keeps_its_verdict),
		TEST(outputs_that_wait_are_the_next_daemons),
		TEST(outputs_that_find_no_room_while_the_daemon_ends_are_the_next_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
