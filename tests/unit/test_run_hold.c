/* SPDX-License-Identifier: MIT */
/* test_run_hold - runs are held and released, the machine is drained and resumed: durably */
#include "run_fixture.h"

#include "runs/run_live.h"

/* ---- hold ---- */

static void hold(const char *run_id, struct answer *answer)
{
	*answer = (struct answer){ 0 };
	run_manager_hold(f.manager, run_id, getuid(), answered, answer);
	until(&f, answer->count);
}

static void release(const char *run_id, struct answer *answer)
{
	*answer = (struct answer){ 0 };
	run_manager_release(f.manager, run_id, getuid(), answered, answer);
	until(&f, answer->count);
}

static void assert_held(const char *run_id, const char *by)
{
	struct run_record now = record_of(&f, run_id), stored = stored_record_of(&f, run_id);

	assert_int_equal(!now.held_by, !by);
	assert_int_equal(!stored.held_by, !by);
	if (by) {
		assert_string_equal(now.held_by, by);
		assert_string_equal(stored.held_by, by);
	}
	run_record_release(&now);
	run_record_release(&stored);
}

static void a_held_run_waits_and_holds_up_nobody_until_it_is_released(void **state)
{
	_cleanup_(freep) char *running = submit(&f, NULL);
	_cleanup_(freep) char *held = submit(&f, NULL);
	_cleanup_(freep) char *next = submit(&f, NULL);
	_cleanup_(freep) char *me = my_name();
	_cleanup_(freep) char *why = mem_printf("held by %s: amlctl release %s", me, held);
	struct queue_info info;
	struct answer answer;

	(void)state;
	hold(held, &answer);
	assert_true(answer.has_record);
	assert_string_equal(answer.record.held_by, me);
	assert_held(held, me);
	answer_release(&answer);
	hold(held, &answer); /* again */
	assert_true(answer.has_record);
	answer_release(&answer);
	assert_waits_for(&f, held, why);
	assert_int_equal(run_manager_queue_info(f.manager, held, &info), 0);
	assert_int_equal(info.position, 0);
	queue_info_release(&info);
	until_running(&f, running);
	end_run(&f, running, 0);
	until_running(&f, next);
	assert_state(&f, held, RUN_QUEUED);
	release(held, &answer);
	assert_true(answer.has_record && !answer.record.held_by);
	assert_held(held, NULL);
	answer_release(&answer);
	release(held, &answer);
	assert_true(answer.has_record);
	answer_release(&answer);
	end_run(&f, next, 0);
	run_to_end(&f, held, 0);
}

static void a_released_run_has_its_old_place(void **state)
{
	_cleanup_(freep) char *running = submit(&f, NULL);
	_cleanup_(freep) char *held = submit(&f, NULL);
	_cleanup_(freep) char *next = submit(&f, NULL);
	struct answer answer;

	(void)state;
	hold(held, &answer);
	answer_release(&answer);
	release(held, &answer);
	answer_release(&answer);
	run_to_end(&f, running, 0);
	until_running(&f, held);
	assert_state(&f, next, RUN_QUEUED);
}

static void what_runs_or_is_over_cannot_be_held(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer;

	(void)state;
	until_running(&f, run_id);
	hold(run_id, &answer);
	assert_int_equal(answer.err.code, -EALREADY);
	assert_non_null(strstr(answer.err.message, "no longer queued: Running"));
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
	hold(run_id, &answer);
	assert_int_equal(answer.err.code, -EALREADY);
	release(run_id, &answer);
	assert_int_equal(answer.err.code, -EALREADY);
	hold("e_1_00000000", &answer);
	assert_int_equal(answer.err.code, -ENOENT);
}

static void one_that_is_submitted_held_never_started(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, "\"command\": \"true\", \"hold\": true");
	_cleanup_(freep) char *me = my_name();
	struct answer answer;

	(void)state;
	turn_for(&f, 50000);
	assert_state(&f, run_id, RUN_QUEUED);
	assert_held(run_id, me);
	restart_with(&f, 1);
	turn_for(&f, 50000);
	assert_state(&f, run_id, RUN_QUEUED);
	assert_held(run_id, me);
	release(run_id, &answer);
	answer_release(&answer);
	run_to_end(&f, run_id, 0);
}

static void a_held_run_can_be_canceled(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, "\"command\": \"true\", \"hold\": true");
	struct answer answer = { 0 };

	(void)state;
	cancel(&f, run_id, &answer);
	until(&f, answer.count);
	assert_state(&f, run_id, RUN_CANCELED);
	assert_counts(&f, 0, 0);
	answer_release(&answer);
}

static void a_hold_that_cannot_be_written_is_taken_back(void **state)
{
	_cleanup_(freep) char *running = submit(&f, NULL);
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answer;

	(void)state;
	until_running(&f, running);
	until(&f, stored_state_of(&f, running) == RUN_RUNNING);
	disk_is(DISK_FULL);
	hold(run_id, &answer);
	assert_int_equal(answer.err.code, -ENOSPC);
	disk_is(DISK_FINE);
	assert_held(run_id, NULL);
	end_run(&f, running, 0);
	until_running(&f, run_id);
}

/* What the second one would be taken back to was never true. */
static void two_changes_that_cannot_be_written_leave_it_as_it_was(void **state)
{
	_cleanup_(freep) char *running = submit(&f, NULL);
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	_cleanup_(freep) char *me = my_name();
	struct answer held = { 0 }, released = { 0 }, answer;

	(void)state;
	until_running(&f, running);
	until(&f, stored_state_of(&f, running) == RUN_RUNNING);
	for (int i = 0; i < 2; i++) {
		disk_is(DISK_FULL);
		for (int k = 0; k < 2; k++) /* hold and release, or the other way round */
			if (k == i)
				run_manager_hold(f.manager, run_id, getuid(), answered, &held);
			else
				run_manager_release(
					f.manager, run_id, getuid(), answered, &released);
		until(&f, held.count == i + 1 && released.count == i + 1);
		assert_int_equal(held.err.code, -ENOSPC);
		assert_int_equal(released.err.code, -ENOSPC);
		disk_is(DISK_FINE);
		assert_held(run_id, i ? me : NULL);
		if (!i) {
			hold(run_id, &answer);
			answer_release(&answer);
		}
	}
	release(run_id, &answer);
	answer_release(&answer);
	end_run(&f, running, 0);
	until_running(&f, run_id);
}

/* It is not held as long as history does not say so. */
static void a_second_hold_is_told_when_it_is_durable_too(void **state)
{
	_cleanup_(freep) char *running = submit(&f, NULL);
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct answer answers[2] = { 0 };

	(void)state;
	until_running(&f, running);
	until(&f, stored_state_of(&f, running) == RUN_RUNNING);
	disk_is(DISK_FULL);
	for (int i = 0; i < 2; i++)
		run_manager_hold(f.manager, run_id, getuid(), answered, &answers[i]);
	until(&f, answers[0].count && answers[1].count);
	for (int i = 0; i < 2; i++)
		assert_int_equal(answers[i].err.code, -ENOSPC);
	disk_is(DISK_FINE);
	assert_held(run_id, NULL);
}

/* ---- drain ---- */

static void drain(const char *reason, struct answer *answer)
{
	_cleanup_(freep) char *me = my_name();

	run_manager_know_user(f.manager, getuid(), me);
	*answer = (struct answer){ 0 };
	run_manager_drain(f.manager, getuid(), reason, answered, answer);
	until(&f, answer->count);
}

static void resume(struct answer *answer)
{
	*answer = (struct answer){ 0 };
	run_manager_resume(f.manager, getuid(), answered, answer);
	until(&f, answer->count);
}

static bool drain_file_is_there(void)
{
	_cleanup_(freep) char *path = path_join(f.state, "drain");

	return access(path, F_OK) == 0;
}

static void assert_drained(const char *by, const char *reason)
{
	struct run_holdings holdings;

	run_manager_holdings(f.manager, &holdings);
	assert_int_equal(!holdings.draining_since_us, !by);
	if (by) {
		assert_true(holdings.draining_since_us <= clock_utc());
		assert_true(holdings.draining_since_us > clock_utc() - 60 * USEC_PER_SEC);
		assert_string_equal(holdings.draining_by, by);
		assert_string_equal(holdings.draining_reason, reason);
	}
	assert_int_equal(drain_file_is_there(), by != NULL);
	run_holdings_release(&holdings);
}

static void a_drained_machine_finishes_what_runs_and_starts_nothing(void **state)
{
	_cleanup_(freep) char *running = submit(&f, NULL);
	_cleanup_(freep) char *before = submit(&f, NULL);
	_cleanup_(freep) char *after = NULL;
	_cleanup_(freep) char *me = my_name();
	_cleanup_(freep) char *tail = mem_printf(" UTC by %s: new cards", me);
	_cleanup_(freep) char *why = NULL;
	struct answer answer;

	(void)state;
	until_running(&f, running);
	drain("new\ncards", &answer);
	assert_int_equal(answer.err.code, 0);
	assert_drained(me, "new cards");
	after = submit(&f, NULL);
	end_run(&f, running, 0);
	until_over(&f, running);
	turn_for(&f, 50000);
	assert_counts(&f, 0, 2);
	why = why_waits(&f, before);
	assert_non_null(strstr(why, "the machine is drained since "));
	assert_non_null(strstr(why, tail));
	resume(&answer);
	assert_int_equal(answer.err.code, 0);
	assert_drained(NULL, NULL);
	run_to_end(&f, before, 0);
	run_to_end(&f, after, 0);
}

static void it_stays_drained_over_a_restart(void **state)
{
	_cleanup_(freep) char *me = my_name();
	_cleanup_(freep) char *run_id = NULL;
	struct answer answer;

	(void)state;
	drain("maintenance = true", &answer);
	run_id = submit(&f, NULL);
	restart_with(&f, 1);
	turn_for(&f, 50000);
	assert_state(&f, run_id, RUN_QUEUED);
	assert_drained(me, "maintenance = true");
	resume(&answer);
	resume(&answer); /* again */
	assert_int_equal(answer.err.code, 0);
	restart_with(&f, 1);
	assert_drained(NULL, NULL);
	run_to_end(&f, run_id, 0);
}

static void draining_again_changes_the_reason(void **state)
{
	_cleanup_(freep) char *me = my_name();
	struct answer answer;

	(void)state;
	drain(NULL, &answer);
	assert_drained(me, "");
	drain("second", &answer);
	assert_drained(me, "second");
}

static void changes_are_written_in_the_order_in_which_they_came(void **state)
{
	struct answer answers[5] = { 0 };
	_cleanup_(freep) char *me = my_name();

	(void)state;
	run_manager_know_user(f.manager, getuid(), me);
	hold_threads(&f);
	for (int i = 0; i < 5; i++) {
		_cleanup_(freep) char *reason = mem_printf("%d", i);

		if (i % 2)
			run_manager_resume(f.manager, getuid(), answered, &answers[i]);
		else
			run_manager_drain(f.manager, getuid(), reason, answered, &answers[i]);
	}
	let_threads_go(&f);
	until(&f, answers[4].count);
	for (int i = 0; i < 5; i++)
		assert_int_equal(answers[i].err.code, 0);
	assert_drained(me, "4");
	restart_with(&f, 1);
	assert_drained(me, "4");
}

static void a_drain_that_cannot_be_written_is_taken_back(void **state)
{
	_cleanup_(freep) char *run_id = NULL;
	struct answer answer;

	(void)state;
	descriptors_are(false);
	drain("full", &answer);
	descriptors_are(true);
	assert_int_equal(answer.err.code, -EMFILE);
	assert_drained(NULL, NULL);
	run_id = submit(&f, NULL);
	until_running(&f, run_id);
}

static void two_drains_that_cannot_be_written_leave_it_as_it_was(void **state)
{
	_cleanup_(freep) char *me = my_name();
	struct answer answers[2] = { 0 }, answer;

	(void)state;
	for (int i = 0; i < 2; i++) {
		descriptors_are(false);
		run_manager_drain(f.manager, getuid(), "one", answered, &answers[0]);
		run_manager_drain(f.manager, getuid(), "two", answered, &answers[1]);
		until(&f, answers[0].count == i + 1 && answers[1].count == i + 1);
		descriptors_are(true);
		assert_int_equal(answers[0].err.code, -EMFILE);
		assert_int_equal(answers[1].err.code, -EMFILE);
		assert_drained(i ? me : NULL, "before");
		if (!i)
			drain("before", &answer);
	}
}

/* Better nothing is started than too much. */
static void a_file_that_says_nothing_drains(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, "\"command\": \"true\", \"hold\": true");

	(void)state;
	fixture_close(&f);
	fixture_write(&f, "state/drain", "what is this\n\n=\n");
	fixture_open(&f);
	assert_drained("somebody", "");
	assert_state(&f, run_id, RUN_QUEUED);
}

static void it_goes_while_a_drain_is_written(void **state)
{
	struct answer answers[2] = { 0 };

	(void)state;
	hold_threads(&f);
	run_manager_drain(f.manager, getuid(), "x", answered, &answers[0]);
	run_manager_resume(f.manager, getuid(), answered, &answers[1]);
	let_threads_go(&f);
	fixture_close(&f);
	assert_int_equal(answers[0].count, 1);
	assert_int_equal(answers[1].count, 1);
	assert_false(drain_file_is_there());
	fixture_open(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_held_run_waits_and_holds_up_nobody_until_it_is_released),
		TEST(a_released_run_has_its_old_place),
		TEST(what_runs_or_is_over_cannot_be_held),
		TEST(one_that_is_submitted_held_never_started),
		TEST(a_held_run_can_be_canceled),
		TEST(a_hold_that_cannot_be_written_is_taken_back),
		TEST(two_changes_that_cannot_be_written_leave_it_as_it_was),
		TEST(a_second_hold_is_told_when_it_is_durable_too),
		TEST(a_drained_machine_finishes_what_runs_and_starts_nothing),
		TEST(it_stays_drained_over_a_restart),
		TEST(draining_again_changes_the_reason),
		TEST(changes_are_written_in_the_order_in_which_they_came),
		TEST(a_drain_that_cannot_be_written_is_taken_back),
		TEST(two_drains_that_cannot_be_written_leave_it_as_it_was),
		TEST(a_file_that_says_nothing_drains),
		TEST(it_goes_while_a_drain_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
