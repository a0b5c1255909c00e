/* SPDX-License-Identifier: MIT */
/* test_run_manager - the life of runs, with the fake executor: queue, cancel, ends, calls, teardown
 */
#include "run_fixture.h"

#include "common/run_dir.h"

static struct fixture f;

static int set_up(void **state)
{
	(void)state;
	fixture_init(&f, 1);
	fixture_open(&f);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	disk_is(DISK_FINE);
	fixture_close(&f);
	fixture_release(&f);
	return 0;
}

/* set_up() with that many slots. */
static void restart_with(int64_t max_running)
{
	fixture_close(&f);
	f.max_running = max_running;
	fixture_open(&f);
}

/* Over without an executor's help: queued or running, then ended by the test. */
static void run_to_end(const char *run_id, int exit_code)
{
	until_running(&f, run_id);
	end_run(&f, run_id, exit_code);
	until_over(&f, run_id);
}

static struct run_record record_of(const char *run_id)
{
	struct run_record record;

	assert_int_equal(run_manager_get(f.manager, run_id, &record), 0);
	return record;
}

static struct run_record stored_record_of(const char *run_id)
{
	struct run_record record;

	assert_int_equal(history_get(f.history, run_id, &record), 0);
	return record;
}

static void cancel(const char *run_id, struct answer *answer)
{
	run_manager_cancel(f.manager, run_id, getuid(), answered, answer);
}

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

/* ---- queue ---- */

static void runs_have_their_turn_in_order_and_no_more_than_there_are_slots(void **state)
{
	char *ids[6];
	struct run_exit exit = exit_of(0);

	(void)state;
	restart_with(2);
	for (int i = 0; i < 6; i++)
		ids[i] = submit(&f, NULL);
	until(&f, fake_executor_nth(f.fake, 1));
	assert_int_equal(counts_of(&f).running, 2);
	assert_int_equal(counts_of(&f).queued, 4);
	fake_executor_go(f.fake, &exit);
	until_over(&f, ids[5]);
	for (int i = 0; i < 6; i++)
		until_over(&f, ids[i]);
	/* Two are prepared at a time: their starts may change places, no further. */
	for (int i = 0; i < 6; i++) {
		const char *nth = fake_executor_nth(f.fake, i);

		assert_true(!strcmp(nth, ids[i]) || (i > 0 && !strcmp(nth, ids[i - 1])) ||
			    (i < 5 && !strcmp(nth, ids[i + 1])));
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
	cancel(first, &answer);
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
	run_to_end(second, 0);
	assert_int_equal(counts_of(&f).running, 0);
	answer_release(&answer);
}

static void a_run_that_cannot_be_started_fails_and_frees_its_slot(void **state)
{
	_cleanup_(freep) char *first = NULL;
	_cleanup_(freep) char *second = NULL;
	struct run_record record;

	(void)state;
	fake_executor_fail(f.fake, -EAGAIN, 0);
	first = submit(&f, NULL);
	until_over(&f, first);
	record = record_of(first);
	assert_int_equal(record.state, RUN_FAILED);
	assert_int_equal(record.cause, RUN_CAUSE_SETUP_ERROR);
	assert_non_null(strstr(record.error_message, strerror(EAGAIN)));
	assert_true(record.end_us > 0 && !record.start_us);
	assert_int_equal(counts_of(&f).running, 0);
	run_record_release(&record);
	fake_executor_fail(f.fake, 0, 0);
	second = submit(&f, NULL);
	run_to_end(second, 0);
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
	record = record_of(run_id);
	assert_int_equal(record.cause, RUN_CAUSE_SETUP_ERROR);
	assert_non_null(strstr(record.error_message, "/none/python"));
	assert_int_equal(fake_executor_starts(f.fake, run_id), 0);
	assert_int_equal(counts_of(&f).running, 0);
	run_record_release(&record);
}

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
		record = stored_record_of(run_id);
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
	until_running(&f, run_id);
	fake_executor_ended(f.fake, run_id, NULL, 1000000);
	until_over(&f, run_id);
	record = stored_record_of(run_id);
	assert_int_equal(record.cause, RUN_CAUSE_LOST);
	assert_int_equal(record.exit_code, -1);
	assert_int_equal(record.end_us, 1000000);
	assert_false(record.used_known);
	assert_non_null(strstr(record.error_message, "1970-01-01T00:00:01"));
	run_record_release(&record);
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
	for (int64_t end = clock_boot() + 300000; clock_boot() < end;)
		uv_run(&f.loop, UV_RUN_ONCE);
	record = record_of(run_id);
	assert_int_equal(record.state, RUN_FINALIZING);
	assert_int_equal(record.exit_code, -1);
	assert_null(record.error_message);
	run_record_release(&record);
	assert_true(run_manager_is_live(f.manager, run_id));
	disk_is(DISK_FINE);
	until_over(&f, run_id);
	record = stored_record_of(run_id);
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
	for (int64_t end = clock_boot() + 300000; clock_boot() < end;)
		uv_run(&f.loop, UV_RUN_ONCE);
	assert_state(&f, second, RUN_PREPARING);
	assert_int_equal(fake_executor_starts(f.fake, second), 0);
	disk_is(DISK_FINE);
	until_held(&f, second);
	until_over(&f, first);
	run_to_end(second, 0);
	assert_int_equal(fake_executor_starts(f.fake, second), 1);
}

/* ---- cancel ---- */

static void assert_canceled(const char *run_id, const struct answer *answer)
{
	struct run_record record = stored_record_of(run_id);

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
	cancel(second, &answers[0]);
	cancel(second, &answers[1]); /* two at once */
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
	cancel(second, &answer);
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
		cancel(run_id, &answers[0]);
		cancel(run_id, &answers[1]);
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
		record = stored_record_of(run_id);
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
	cancel(run_id, &during);
	until(&f, during.count);
	assert_true(during.has_record);
	assert_int_equal(during.record.state, RUN_FINALIZING);
	let_threads_go(&f);
	until_over(&f, run_id);
	assert_state(&f, run_id, RUN_COMPLETED);
	cancel(run_id, &after);
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
	cancel(second, &answer);
	until(&f, answer.count);
	cancel(second, &again);
	until(&f, again.count);
	assert_canceled(second, &again);
	cancel("e_1_00000000", &unknown);
	until(&f, unknown.count);
	assert_int_equal(unknown.err.code, -ENOENT);
	run_to_end(first, 0);
	answer_release(&answer);
	answer_release(&again);
	answer_release(&unknown);
}

static void a_cancel_does_not_claim_a_run_that_failed_meanwhile(void **state)
{
	_cleanup_(freep) char *run_id = NULL;
	struct answer answer = { 0 };

	(void)state;
	fake_executor_fail(f.fake, -EAGAIN, 0);
	run_id = submit(&f, NULL);
	until(&f, state_of(&f, run_id) == RUN_STARTING || is_over(&f, run_id));
	cancel(run_id, &answer); /* its failure is being written */
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
	cancel(run_id, &answer);
	until(&f, answer.count);
	assert_state(&f, run_id, RUN_CANCEL_REQUESTED);
	assert_int_equal(fake_executor_stops(f.fake, run_id), 0);
	fake_executor_fail(f.fake, 0, 0);
	until(&f, fake_executor_stops(f.fake, run_id));
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
	answer_release(&answer);
}

/* ---- waiters ---- */

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

/* ---- patch, put, delete ---- */

static void patch(const char *run_id, const char *key, const char *value, const char *display_name,
	struct answer *answer)
{
	struct pairs tags = { 0 };

	if (key)
		pairs_set(&tags, key, value);
	run_manager_patch(f.manager, run_id, &tags, display_name, answered, answer);
	pairs_release(&tags);
	until(&f, answer->count);
}

static void tags_and_names_change_while_it_runs_and_afterwards(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	until_running(&f, run_id);
	for (int i = 0; i < 2; i++) {
		struct answer set = { 0 }, removed = { 0 };

		patch(run_id, "k", "v", "name", &set);
		assert_true(set.has_record);
		assert_string_equal(pairs_get(&set.record.tags, "k"), "v");
		assert_string_equal(set.record.display_name, "name");
		if (i == 0) {
			end_run(&f, run_id, 0);
			until_over(&f, run_id);
		}
		answer_release(&set);
		patch(run_id, NULL, NULL, NULL, &set);
		assert_string_equal(pairs_get(&set.record.tags, "k"), "v");
		assert_string_equal(set.record.display_name, "name");
		patch(run_id, "k", NULL, "", &removed);
		assert_null(pairs_get(&removed.record.tags, "k"));
		assert_null(removed.record.display_name);
		answer_release(&set);
		answer_release(&removed);
	}
}

static void an_artifact_can_be_put_while_it_runs_and_afterwards(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	static const char *const paths[] = { "outputs/live", "outputs/late" };
	struct artifacts list = { 0 };

	(void)state;
	until_running(&f, run_id);
	for (int i = 0; i < 2; i++) {
		struct artifacts one = { 0 };
		struct digest digest = { { (unsigned char)i } };
		struct answer answer = { 0 }, unknown = { 0 };

		artifacts_add(&one, paths[i], 5, &digest, 1);
		run_manager_put_artifacts(f.manager, run_id, &one, answered, &answer);
		run_manager_put_artifacts(f.manager, "e_1_00000000", &one, answered, &unknown);
		until(&f, answer.count && unknown.count);
		assert_true(answer.has_record);
		assert_int_equal(unknown.err.code, -ENOENT);
		artifacts_release(&one);
		answer_release(&answer);
		answer_release(&unknown);
		if (i == 0) {
			end_run(&f, run_id, 0);
			until_over(&f, run_id);
		}
	}
	assert_int_equal(history_artifacts_list(f.history, run_id, "outputs/", &list), 0);
	assert_int_equal(list.count, 2);
	artifacts_release(&list);
}

static void a_live_run_is_not_deleted_an_ended_one_with_its_folder(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer live = { 0 }, ended = { 0 }, again = { 0 };
	struct run_record record;

	(void)state;
	until_running(&f, run_id);
	run_manager_delete(f.manager, run_id, answered, &live);
	until(&f, live.count);
	assert_int_equal(live.err.code, -EBUSY);
	end_run(&f, run_id, 1);
	until_over(&f, run_id);
	assert_true(exists_in_state(&f, run_id, "work"));
	run_manager_delete(f.manager, run_id, answered, &ended);
	run_manager_delete(f.manager, run_id, answered, &again);
	until(&f, ended.count && again.count);
	assert_int_equal(ended.err.code, 0);
	assert_int_equal(again.err.code, -ENOENT);
	assert_int_equal(folders(&f), 0);
	assert_int_equal(run_manager_get(f.manager, run_id, &record), -ENOENT);
	answer_release(&live);
	answer_release(&ended);
	answer_release(&again);
}

/* Ids are compared whole: one that another begins with is another run. */
static void a_run_whose_id_begins_anothers_is_itself(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *longer = mem_printf("%sa", first);
	_cleanup_(freep) char *found = NULL;
	struct run_record record = record_of(first);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, first);
	mem_replace(&record.run_id, longer);
	record.state = RUN_QUEUED;
	history_insert(f.history, &record, HISTORY_DURABLE, NULL, NULL);
	run_record_release(&record);
	patch(first, "mine", "1", NULL, &answer);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, first, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	assert_int_equal(run_manager_resolve(f.manager, first, &found), 0);
	assert_string_equal(found, first);
	assert_state(&f, longer, RUN_QUEUED);
	answer_release(&answer);
	cancel(longer, &answer);
	until(&f, answer.count);
	assert_state(&f, longer, RUN_CANCELED);
	assert_true(fake_executor_holds(f.fake, first));
	assert_int_equal(fake_executor_stops(f.fake, first), 0);
	end_run(&f, first, 0);
	until_over(&f, first);
	answer_release(&answer);
}

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
	/* The next one on the same history. */
	history_close(f.history);
	store_close(f.store);
	uv_close((uv_handle_t *)&f.poll, NULL);
	uv_close((uv_handle_t *)&f.tick, NULL);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	uv_loop_close(&f.loop);
	fixture_open(&f);
	assert_state(&f, first, RUN_COMPLETED);
	run_to_end(second, 0);
}

static void it_goes_while_the_executor_still_has_news(void **state)
{
	_cleanup_(freep) char *first = NULL;
	_cleanup_(freep) char *second = NULL;
	struct run_exit exit = exit_of(0);
	bool freed = false;

	(void)state;
	restart_with(2);
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
	history_close(f.history);
	store_close(f.store);
	uv_close((uv_handle_t *)&f.poll, NULL);
	uv_close((uv_handle_t *)&f.tick, NULL);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	uv_loop_close(&f.loop);
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
	cancel(second, &answer);
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
	cancel(second, &answer);
	for (int64_t end = clock_boot() + 200000; clock_boot() < end;)
		uv_run(&f.loop, UV_RUN_ONCE);
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

/* ---- many ---- */

static int64_t thread_us(void)
{
	return clock_now(CLOCK_THREAD_CPUTIME_ID);
}

/* The loop's own time from recovery to the end of all. */
static int64_t time_of_many(int count)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	struct run_record record = record_of(first);
	_cleanup_(freep) char *last = mem_printf("many%d_%d_%08x", count, count - 1, count - 1);
	struct run_exit exit = exit_of(0);
	int64_t begin;

	run_to_end(first, 0);
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
	restart_with(50);
	few = time_of_many(500);
	restart_with(50);
	many = time_of_many(2000);
	print_message("loop's time: 500 runs %lld ms, 2000 runs %lld ms\n", (long long)few / 1000,
		(long long)many / 1000);
	assert_true(many < 10 * few); /* quadratic would be 16 */
	assert_true(fake_executor_most(f.fake) <= 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(an_accepted_run_is_durable_and_complete),
		TEST(a_submit_that_history_does_not_take_leaves_nothing),
		TEST(a_bad_submit_leaves_nothing),
		TEST(runs_have_their_turn_in_order_and_no_more_than_there_are_slots),
		TEST(a_slot_is_free_when_nothing_is_left_and_not_before),
		TEST(a_run_that_cannot_be_started_fails_and_frees_its_slot),
		TEST(a_run_that_cannot_be_prepared_fails_with_the_reason),
		TEST(the_end_is_what_the_exit_record_says),
		TEST(a_lost_run_says_when_it_was_last_seen),
		TEST(an_end_is_shown_when_it_is_durable_and_the_disk_is_tried_again),
		TEST(nothing_is_started_before_it_is_durable_that_it_may_run),
		TEST(a_queued_run_is_canceled_at_once),
		TEST(a_preparing_run_is_canceled_at_once_and_its_folder_cleaned_up),
		TEST(a_started_run_is_asked_to_stop),
		TEST(a_cancel_that_came_too_late_changes_nothing),
		TEST(a_canceled_run_can_be_canceled_again),
		TEST(a_cancel_does_not_claim_a_run_that_failed_meanwhile),
		TEST(a_stop_that_failed_is_tried_again),
		TEST(waiters_are_told_of_changes_and_once_of_the_end),
		TEST(waiters_may_go_while_others_are_told),
		TEST(tags_and_names_change_while_it_runs_and_afterwards),
		TEST(an_artifact_can_be_put_while_it_runs_and_afterwards),
		TEST(a_live_run_is_not_deleted_an_ended_one_with_its_folder),
		TEST(a_run_whose_id_begins_anothers_is_itself),
		TEST(it_goes_while_submissions_are_under_way),
		TEST(it_goes_while_a_submission_is_committed),
		TEST(it_goes_while_a_run_is_prepared_and_starts_nothing_more),
		TEST(it_goes_while_the_executor_still_has_news),
		TEST(it_goes_while_runs_finish),
		TEST(it_goes_while_cancels_wait_for_their_commit),
		TEST(it_goes_while_cancels_wait_for_room_on_the_disk),
		TEST(waiters_that_are_left_may_stop_after_it_is_gone),
		TEST(two_thousand_queued_runs_cost_four_times_five_hundred),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
