/* SPDX-License-Identifier: MIT */
/* test_recovery_doubt - what cannot be told at a restart, or not by this version; who canceled it */
#include "recovery_fixture.h"

#include <ftw.h>

#include "common/strbuf.h"

/* ---- what cannot be told just now ---- */

static const char *const doubtful[] = { "a_queued", "b_running", "c_canceled", "d_preparing" };

static void leave_doubtful(void)
{
	leave("a_queued", RUN_QUEUED, true, 0);
	leave("b_running", RUN_RUNNING, true, 1000);
	leave("c_canceled", RUN_CANCEL_REQUESTED, true, 0);
	leave("d_preparing", RUN_PREPARING, true, 0);
	restart();
}

/* What was in doubt is known now. */
static void assert_all_come_to_their_end(void)
{
	fake_executor_will_find(f.fake, "b_running", EXECUTOR_LIVES);
	fake_executor_fail_look(f.fake, 0, 0);
	hurry(&f);
	until_held(&f, "b_running");
	run_to_end(&f, "a_queued", 0);
	run_to_end(&f, "d_preparing", 0);
	end_run(&f, "b_running", 0);
	until_over(&f, "b_running");
	until_over(&f, "c_canceled");
	assert_int_equal(stored_state_of(&f, "c_canceled"), RUN_CANCELED);
	for (size_t i = 0; i < ARRAY_SIZE(doubtful); i++)
		assert_int_equal(fake_executor_starts(f.fake, doubtful[i]), i == 0 || i == 3);
	assert_counts(&f, 0, 0);
}

static void a_folder_that_cannot_be_looked_at_is_asked_again(void **state)
{
	static const enum run_state states[] = { RUN_QUEUED, RUN_RUNNING, RUN_CANCEL_REQUESTED,
		RUN_PREPARING };

	(void)state;
	leave_doubtful();
	fake_executor_fail_look(f.fake, -EMFILE, 0);
	assert_int_equal(run_manager_recover(f.manager, NULL), 4);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(doubtful); i++) {
			assert_state(&f, doubtful[i], states[i]);
			assert_int_equal(stored_state_of(&f, doubtful[i]), states[i]);
			assert_false(fake_executor_holds(f.fake, doubtful[i]));
		}
		assert_counts(&f, 4, 0); /* they may live: their slots are nobody else's */
		hurry(&f);
		turn_for(&f, 20000);
	}
	assert_all_come_to_their_end();
}

static void a_run_that_cannot_be_taken_over_is_asked_about_again(void **state)
{
	(void)state;
	leave("running", RUN_RUNNING, true, 1000);
	leave("queued", RUN_QUEUED, true, 0);
	f.max_running = 1;
	restart();
	fake_executor_will_find(f.fake, "running", EXECUTOR_LIVES);
	fake_executor_fail_look(f.fake, 0, -EMFILE);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	for (int round = 0; round < 3; round++) {
		assert_state(&f, "running", RUN_RUNNING);
		assert_state(&f, "queued", RUN_QUEUED);
		assert_counts(&f, 1, 1);
		hurry(&f);
		turn_for(&f, 20000);
	}
	fake_executor_fail_look(f.fake, 0, 0);
	hurry(&f);
	until_held(&f, "running");
	assert_counts(&f, 1, 1);
	end_run(&f, "running", 0);
	run_to_end(&f, "queued", 0);
	until_over(&f, "running");
	assert_int_equal(fake_executor_starts(f.fake, "running"), 0);
	assert_counts(&f, 0, 0);
}

static void a_run_in_doubt_is_not_called_canceled(void **state)
{
	struct answer doubt = { 0 }, known = { 0 };

	(void)state;
	leave("running", RUN_RUNNING, true, 1000);
	restart();
	fake_executor_fail_look(f.fake, -EMFILE, 0);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	cancel(&f, "running", &doubt);
	until(&f, doubt.count);
	assert_false(doubt.has_record);
	assert_int_equal(doubt.err.code, -EAGAIN);
	assert_state(&f, "running", RUN_RUNNING);
	fake_executor_will_find(f.fake, "running", EXECUTOR_LIVES);
	fake_executor_fail_look(f.fake, 0, 0);
	cancel(&f, "running", &known);
	until(&f, known.count);
	assert_int_equal(known.record.state, RUN_CANCEL_REQUESTED);
	assert_true(fake_executor_stops(f.fake, "running") >= 1);
	end_run(&f, "running", 0);
	until_over(&f, "running");
	assert_counts(&f, 0, 0);
	answer_release(&doubt);
	answer_release(&known);
}

/* ---- what a newer version wrote ---- */

static struct strbuf seen;

static int see(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)at;
	strbuf_addf(&seen, "%s %d %o %lld\n", path, type, st->st_mode, (long long)st->st_size);
	if (type == FTW_F)
		assert_int_equal(file_read(AT_FDCWD, path, 1 << 24, &seen), 0);
	return 0;
}

/* All names, modes and bytes below the state folder. */
static struct strbuf whole_state(void)
{
	struct strbuf all;

	seen = (struct strbuf)STRBUF_INIT;
	assert_int_equal(nftw(f.state, see, 8, FTW_PHYS), 0);
	all = seen;
	seen = (struct strbuf)STRBUF_INIT;
	return all;
}

static void a_newer_version_s_runs_are_refused_and_left_as_they_are(void **state)
{
	_cleanup_(strbuf_release) struct strbuf before = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf after = STRBUF_INIT;
	struct error err = ERROR_INIT;

	(void)state;
	leave_doubtful();
	fixture_close(&f);
	before = whole_state();
	fixture_start(&f);
	fake_executor_fail_look(f.fake, -EPROTONOSUPPORT, 0);
	assert_int_equal(run_manager_recover(f.manager, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.message, "newer version"));
	assert_non_null(strstr(err.message, f.state));
	hurry(&f);
	turn_for(&f, 20000);
	assert_null(fake_executor_nth(f.fake, 0));
	fixture_close(&f);
	after = whole_state();
	assert_int_equal(before.size, after.size);
	assert_memory_equal(before.data, after.data, before.size);
	fixture_start(&f);
	fake_executor_will_find(f.fake, "b_running", EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 4);
	assert_all_come_to_their_end();
}

/* ---- who canceled it ---- */

static void who_canceled_it_outlives_the_daemon(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);
	struct run_exit exit = exit_of(-1);
	struct answer first = { 0 }, second = { 0 };
	struct run_record record;

	(void)state;
	until_running(&f, run_id);
	run_manager_cancel(f.manager, run_id, 54321, answered, &first);
	until(&f, first.count);
	until(&f, stored_state_of(&f, run_id) == RUN_CANCEL_REQUESTED);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, run_id, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	run_manager_cancel(f.manager, run_id, 65432, answered, &second); /* the first counts */
	until(&f, second.count);
	exit.signal = 15;
	exit.stopped = RUN_STOP_CANCEL;
	fake_executor_ended(f.fake, run_id, &exit, 0);
	until_over(&f, run_id);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.cause, RUN_CAUSE_CANCELED_BY_USER);
	assert_string_equal(record.canceled_by, "54321");
	assert_non_null(strstr(record.error_message, "54321"));
	assert_null(strstr(record.error_message, "65432"));
	run_record_release(&record);
	answer_release(&first);
	answer_release(&second);
}

static void who_canceled_one_that_was_never_started_is_told_too(void **state)
{
	struct run_record record;

	(void)state;
	mem_replace(&base.canceled_by, "ana");
	leave("canceled", RUN_CANCEL_REQUESTED, true, 0);
	restart();
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	until_over(&f, "canceled");
	record = stored_record_of(&f, "canceled");
	assert_non_null(strstr(record.error_message, "by ana before it was started"));
	run_record_release(&record);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_folder_that_cannot_be_looked_at_is_asked_again),
		TEST(a_run_that_cannot_be_taken_over_is_asked_about_again),
		TEST(a_run_in_doubt_is_not_called_canceled),
		TEST(a_newer_version_s_runs_are_refused_and_left_as_they_are),
		TEST(who_canceled_it_outlives_the_daemon),
		TEST(who_canceled_one_that_was_never_started_is_told_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
