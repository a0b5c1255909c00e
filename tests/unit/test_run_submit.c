/* SPDX-License-Identifier: MIT */
/* test_run_submit - a run is accepted, waits for its turn and gets a slot */
#include "run_fixture.h"

#include <poll.h>

/* ---- submit ---- */

static void an_accepted_run_is_durable_and_complete(void **state)
{
	struct answer answer = { .f = &f };
	const struct run_record *record = &answer.record;

	(void)state;
	submit_begin(&f,
		"\"script\": \"train.sh\", \"display_name\": \"first\", "
		"\"tags\": {\"a\": \"b\"}, \"properties\": {\"p\": \"q\"}",
		&answer);
	until(&f, answer.count);
	assert_true(answer.has_record);
	assert_int_equal(answer.in_history, 0);
	assert_int_equal(record->state, RUN_QUEUED);
	assert_string_equal(record->experiment_name, "e");
	assert_string_equal(record->display_name, "first");
	assert_string_equal(record->target, "local");
	assert_non_null(record->submitted_by);
	assert_int_equal(record->owner, getuid());
	assert_true(record->created_us > 0 && record->queued_us >= record->created_us);
	assert_true(!record->start_us && !record->end_us);
	assert_int_equal(record->exit_code, -1);
	assert_int_equal(strncmp(record->snapshot_id, "sha256:", 7), 0);
	assert_string_equal(pairs_get(&record->tags, "a"), "b");
	assert_string_equal(pairs_get(&record->properties, "p"), "q");
	assert_null(strstr(record->definition, "submit_environment"));
	assert_int_equal(answer.count, 1);
	answer_release(&answer);
}

static void a_submit_that_history_does_not_take_leaves_nothing(void **state)
{
	struct answer answer = { 0 };

	(void)state;
	disk_is(DISK_FULL);
	submit_begin(&f, NULL, &answer);
	until(&f, answer.count);
	assert_false(answer.has_record);
	assert_int_equal(answer.err.code, -ENOSPC);
	assert_int_equal(folders(&f), 0);
	disk_is(DISK_FINE);
	free(submit(&f, NULL)); /* it goes on by itself */
	answer_release(&answer);
}

static void a_bad_submit_leaves_nothing(void **state)
{
	struct answer answer = { 0 };

	(void)state;
	submit_begin(&f, "\"script\": \"none.py\"", &answer);
	until(&f, answer.count);
	assert_false(answer.has_record);
	assert_string_equal(answer.err.target, "script");
	assert_int_equal(folders(&f), 0);
	assert_int_equal(counts_of(&f).queued, 0);
	answer_release(&answer);
}

/* ---- named before its submit is told ---- */

static bool history_has_news(void)
{
	struct pollfd poll_fd = { .fd = history_fd(f.history), .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

/* Its row is committed, and nobody has been told. */
static char *submit_unheard(const char *more, struct answer *answer)
{
	char *run_id = NULL;

	hear_history(&f, false);
	submit_begin(&f, more, answer);
	until(&f, history_has_news());
	assert_int_equal(history_resolve(f.history, NULL, "latest", &run_id), 0);
	assert_int_equal(answer->count, 0);
	return run_id;
}

static void a_run_can_be_canceled_as_soon_as_history_shows_it(void **state)
{
	struct answer submitted = { 0 }, canceled = { 0 };
	_cleanup_(freep) char *run_id = submit_unheard(NULL, &submitted);

	(void)state;
	cancel(&f, run_id, &canceled);
	hear_history(&f, true);
	until(&f, canceled.count && submitted.count);
	assert_true(submitted.has_record && canceled.has_record);
	assert_int_equal(canceled.record.state, RUN_CANCELED);
	assert_int_equal(stored_state_of(&f, run_id), RUN_CANCELED);
	assert_counts(&f, 0, 0);
	answer_release(&submitted);
	answer_release(&canceled);
}

static void a_run_can_be_released_as_soon_as_history_shows_it(void **state)
{
	struct answer submitted = { 0 }, released = { 0 };
	_cleanup_(freep) char *run_id =
		submit_unheard("\"command\": \"true\", \"hold\": true", &submitted);

	(void)state;
	run_manager_release(f.manager, run_id, getuid(), answered, &released);
	hear_history(&f, true);
	until(&f, released.count);
	assert_true(released.has_record);
	assert_null(released.record.held_by);
	run_to_end(&f, run_id, 0);
	answer_release(&submitted);
	answer_release(&released);
}

static void a_run_is_not_deleted_before_its_submit_is_told(void **state)
{
	struct answer submitted = { 0 }, deleted = { 0 };
	_cleanup_(freep) char *run_id = submit_unheard(NULL, &submitted);

	(void)state;
	run_manager_delete(f.manager, run_id, answered, &deleted);
	hear_history(&f, true);
	until(&f, deleted.count);
	assert_int_equal(deleted.err.code, -EBUSY);
	run_to_end(&f, run_id, 0);
	assert_int_equal(stored_state_of(&f, run_id), RUN_COMPLETED);
	assert_int_equal(submitted.count, 1);
	answer_release(&submitted);
	answer_release(&deleted);
}

static void a_run_that_was_named_is_live(void **state)
{
	struct answer submitted = { 0 };
	_cleanup_(freep) char *run_id = submit_unheard(NULL, &submitted);
	_cleanup_(freep) char *found = NULL;

	(void)state;
	assert_false(run_manager_is_live(f.manager, run_id));
	assert_int_equal(run_manager_resolve(f.manager, NULL, "latest", &found), 0);
	assert_string_equal(found, run_id);
	assert_true(run_manager_is_live(f.manager, run_id));
	hear_history(&f, true);
	run_to_end(&f, run_id, 0);
	assert_false(run_manager_is_accepting(f.manager, run_id));
	answer_release(&submitted);
}

/* Nobody has told the manager of it, nor does anything wait to be told. */
static void what_is_not_live_yet_has_not_ended(void **state)
{
	_cleanup_(freep) char *other = submit(&f, NULL);
	_cleanup_(freep) char *run_id = mem_printf("%sa", other);
	struct run_record record = record_of(&f, other);
	struct answer answers[3] = { 0 };

	(void)state;
	mem_replace(&record.run_id, run_id);
	record.state = RUN_QUEUED;
	history_insert(f.history, &record, HISTORY_DURABLE, NULL, NULL);
	run_record_release(&record);
	until(&f, history_get(f.history, run_id, &record) >= 0);
	run_record_release(&record);
	cancel(&f, run_id, &answers[0]);
	run_manager_hold(f.manager, run_id, getuid(), answered, &answers[1]);
	run_manager_delete(f.manager, run_id, answered, &answers[2]);
	until(&f, answers[0].count && answers[1].count && answers[2].count);
	assert_int_equal(answers[0].err.code, -EAGAIN);
	assert_int_equal(answers[1].err.code, -EAGAIN);
	assert_int_equal(answers[2].err.code, -EBUSY);
	run_to_end(&f, other, 0);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
		answer_release(&answers[i]);
}

/* ---- queue ---- */

static void runs_have_their_turn_in_order_and_no_more_than_there_are_slots(void **state)
{
	char *ids[6];
	struct run_exit exit = exit_of(0);

	(void)state;
	restart_with(&f, 2);
	for (int i = 0; i < 6; i++)
		ids[i] = submit(&f, NULL);
	until(&f, fake_executor_nth(f.fake, 1));
	assert_int_equal(counts_of(&f).running, 2);
	assert_int_equal(counts_of(&f).queued, 4);
	fake_executor_go(f.fake, &exit);
	until_over(&f, ids[5]);
	for (int i = 0; i < 6; i++)
		until_over(&f, ids[i]);
	/* Two are prepared at a time, and one of them may take long: all others are in order behind it. */
	for (int i = 0; i < 6; i++) {
		const char *nth = fake_executor_nth(f.fake, i);
		int turn = 0;

		while (turn < 6 && strcmp(nth, ids[turn]) != 0)
			turn++;
		assert_in_range(turn, 0, i + 1 < 6 ? i + 1 : 5);
		assert_int_equal(fake_executor_starts(f.fake, ids[i]), 1);
	}
	assert_int_equal(fake_executor_most(f.fake), 2);
	assert_int_equal(counts_of(&f).running, 0);
	for (int i = 0; i < 6; i++)
		free(ids[i]);
}

static void a_slot_is_free_when_nothing_is_left_and_not_before(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, first);
	cancel(&f, first, &answer);
	assert_state(&f, first, RUN_CANCEL_REQUESTED);
	for (int i = 0; i < 20; i++)
		uv_run(&f.loop, UV_RUN_NOWAIT);
	assert_state(&f, second, RUN_QUEUED);
	/* Its outputs are still to be stored: the slot is another's all the same. */
	hold_threads(&f);
	end_run(&f, first, 0);
	assert_state(&f, first, RUN_FINALIZING);
	assert_state(&f, second, RUN_PREPARING);
	assert_int_equal(counts_of(&f).running, 1);
	assert_int_equal(counts_of(&f).finalizing, 1);
	let_threads_go(&f);
	until_over(&f, first);
	run_to_end(&f, second, 0);
	assert_int_equal(counts_of(&f).running, 0);
	answer_release(&answer);
}

/* What wants for nothing and fails is tried three times; test_run_room.c has what wants for room. */
static void a_run_that_cannot_be_started_fails_and_frees_its_slot(void **state)
{
	_cleanup_(freep) char *first = NULL;
	_cleanup_(freep) char *second = NULL;
	struct run_record record;

	(void)state;
	fake_executor_fail(f.fake, -ENOEXEC, 0);
	first = submit(&f, NULL);
	for (int i = 0; i < 2; i++) {
		until(&f, state_of(&f, first) != RUN_QUEUED);
		until(&f, state_of(&f, first) == RUN_QUEUED);
		hurry(&f);
	}
	until_over(&f, first);
	record = record_of(&f, first);
	assert_int_equal(record.state, RUN_FAILED);
	assert_int_equal(record.cause, RUN_CAUSE_SETUP_ERROR);
	assert_non_null(strstr(record.error_message, strerror(ENOEXEC)));
	assert_true(record.end_us > 0 && !record.start_us);
	assert_int_equal(counts_of(&f).running, 0);
	run_record_release(&record);
	fake_executor_fail(f.fake, 0, 0);
	second = submit(&f, NULL);
	run_to_end(&f, second, 0);
	assert_state(&f, second, RUN_COMPLETED);
}

static void a_run_that_cannot_be_prepared_fails_with_the_reason(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f,
		"\"script\": \"train.sh\", \"environment\": {\"python\": {\"interpreter_path\": "
		"\"/none/python\"}}");
	struct run_record record;

	(void)state;
	until_over(&f, run_id);
	record = record_of(&f, run_id);
	assert_int_equal(record.cause, RUN_CAUSE_SETUP_ERROR);
	assert_non_null(strstr(record.error_message, "/none/python"));
	assert_int_equal(fake_executor_starts(f.fake, run_id), 0);
	assert_int_equal(counts_of(&f).running, 0);
	run_record_release(&record);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_accepted_run_is_durable_and_complete),
		TEST(a_submit_that_history_does_not_take_leaves_nothing),
		TEST(a_bad_submit_leaves_nothing),
		TEST(a_run_can_be_canceled_as_soon_as_history_shows_it),
		TEST(a_run_can_be_released_as_soon_as_history_shows_it),
		TEST(a_run_is_not_deleted_before_its_submit_is_told),
		TEST(a_run_that_was_named_is_live),
		TEST(what_is_not_live_yet_has_not_ended),
		TEST(runs_have_their_turn_in_order_and_no_more_than_there_are_slots),
		TEST(a_slot_is_free_when_nothing_is_left_and_not_before),
		TEST(a_run_that_cannot_be_started_fails_and_frees_its_slot),
		TEST(a_run_that_cannot_be_prepared_fails_with_the_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
