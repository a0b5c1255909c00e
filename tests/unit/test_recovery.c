/* SPDX-License-Identifier: MIT */
/* test_recovery - what a new daemon makes of the runs and folders that it finds */
#include "recovery_fixture.h"

#include "common/run_dir.h"
#include "common/unowed.h"

/* ---- every state, whatever is found of it, in this boot and in the next ---- */

struct left {
	enum run_state state;
	int64_t start_us;
};

static const struct left lefts[] = {
	{ RUN_QUEUED, 0 },
	{ RUN_PREPARING, 0 },
	{ RUN_STARTING, 0 },
	{ RUN_RUNNING, 1000 },
	{ RUN_CANCEL_REQUESTED, 0 },
	{ RUN_CANCEL_REQUESTED, 1000 },
	{ RUN_FINALIZING, 1000 },
};

/* The state that a run that had been started is in after recovery. */
static enum run_state state_of_started(enum run_state state)
{
	return state == RUN_QUEUED || state == RUN_PREPARING ? RUN_STARTING : state;
}

static enum run_cause end_found(const char *run_id, enum executor_found found, bool stopped)
{
	struct run_exit exit = exit_of(stopped ? -1 : 5);

	exit.stopped = stopped ? RUN_STOP_CANCEL : RUN_STOP_NONE;
	fake_executor_ended(f.fake, run_id, found == EXECUTOR_LOST ? NULL : &exit, 2000);
	if (found == EXECUTOR_LOST)
		return RUN_CAUSE_LOST;
	return stopped ? RUN_CAUSE_CANCELED_BY_USER : RUN_CAUSE_USER_ERROR;
}

static void assert_ends(const char *run_id, enum run_cause cause, bool restarted, int starts)
{
	struct run_record record;

	until_over(&f, run_id);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.cause, cause);
	assert_int_equal(record.state, run_cause_state(cause));
	assert_int_equal(fake_executor_starts(f.fake, run_id), starts);
	assert_int_equal(counts_of(&f).running, 0);
	assert_int_equal(counts_of(&f).queued, 0);
	if (cause == RUN_CAUSE_LOST) {
		assert_int_equal(record.exit_code, -1);
		assert_true(!strstr(record.error_message, "restarted") == !restarted);
	}
	run_record_release(&record);
}

static void recover_one(const struct left *left, enum executor_found found, bool same_boot)
{
	_cleanup_(freep) char *run_id =
		mem_printf("left_%d_%d_%d_%d", left->state, (int)left->start_us, found, same_boot);
	bool canceled = left->state == RUN_CANCEL_REQUESTED;
	bool again = left->state == RUN_QUEUED ||
		     (same_boot && (left->state == RUN_PREPARING || left->state == RUN_STARTING));
	bool unstarted = canceled && !left->start_us;
	/* The folder tells nothing: whatever goes on of it is ended first. */
	bool lost = found == EXECUTOR_NEVER_STARTED && same_boot && !again && !unstarted;
	enum run_cause cause;

	leave(run_id, left->state, same_boot, left->start_us);
	restart();
	fake_executor_will_find(f.fake, run_id, found);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	assert_int_equal(counts_of(&f).running, found != EXECUTOR_NEVER_STARTED || again || lost);
	if (found != EXECUTOR_NEVER_STARTED) {
		assert_state(&f, run_id, state_of_started(left->state));
		/* One that lives is asked again; the others may be. */
		assert_true(found != EXECUTOR_LIVES ||
			    !canceled == !fake_executor_stops(f.fake, run_id));
		cause = end_found(run_id, found, canceled);
		/* Of one that was Queued the boot is not known, and none is claimed. */
		assert_ends(run_id, cause, !same_boot && left->state != RUN_QUEUED, 0);
	} else if (again) {
		until_running(&f, run_id);
		end_run(&f, run_id, 0);
		assert_ends(run_id, RUN_CAUSE_NONE, false, 1);
	} else if (same_boot && unstarted) {
		assert_ends(run_id, RUN_CAUSE_CANCELED_BY_USER, false, 0);
	} else {
		if (lost)
			fake_executor_ended(f.fake, run_id, NULL, 0);
		assert_ends(run_id, RUN_CAUSE_LOST, !same_boot, 0);
	}
}

static void every_run_comes_to_its_place(void **state)
{
	static const enum executor_found founds[] = { EXECUTOR_LIVES, EXECUTOR_ENDED, EXECUTOR_LOST,
		EXECUTOR_NEVER_STARTED };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lefts); i++)
		for (size_t j = 0; j < ARRAY_SIZE(founds); j++)
			for (int same_boot = 0; same_boot < 2; same_boot++)
				if (same_boot || founds[j] != EXECUTOR_LIVES)
					recover_one(&lefts[i], founds[j], same_boot);
}

/* ---- the queue ---- */

static void what_was_not_started_takes_its_old_place_and_that_is_durable(void **state)
{
	(void)state;
	leave("a_running", RUN_RUNNING, true, 1000);
	leave("b_preparing", RUN_PREPARING, true, 0);
	leave("c_queued", RUN_QUEUED, true, 0);
	f.max_running = 1;
	restart();
	fake_executor_will_find(f.fake, "a_running", EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 3);
	assert_state(&f, "b_preparing", RUN_QUEUED);
	/* Else a reboot would make it a run that may have run. */
	until(&f, stored_state_of(&f, "b_preparing") == RUN_QUEUED);
	end_run(&f, "a_running", 0);
	until_running(&f, "b_preparing");
	assert_state(&f, "c_queued", RUN_QUEUED);
	end_run(&f, "b_preparing", 0);
	until_running(&f, "c_queued");
	end_run(&f, "c_queued", 0);
	until_over(&f, "a_running");
	until_over(&f, "b_preparing");
	until_over(&f, "c_queued");
}

static void nothing_is_started_before_all_slots_that_are_held_are_known(void **state)
{
	(void)state;
	leave("a_queued", RUN_QUEUED, true, 0);
	leave("b_canceled", RUN_CANCEL_REQUESTED, true, 0);
	leave("c_lost", RUN_RUNNING, false, 1000);
	leave("d_running", RUN_RUNNING, true, 1000);
	f.max_running = 1;
	restart();
	fake_executor_will_find(f.fake, "d_running", EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 4);
	assert_int_equal(counts_of(&f).running, 1);
	assert_state(&f, "a_queued", RUN_QUEUED);
	until_over(&f, "b_canceled");
	until_over(&f, "c_lost");
	end_run(&f, "d_running", 0);
	until_running(&f, "a_queued");
	end_run(&f, "a_queued", 0);
	until_over(&f, "a_queued");
	until_over(&f, "d_running");
}

static void more_runs_than_slots_go_on_and_the_queue_waits(void **state)
{
	(void)state;
	leave("a", RUN_RUNNING, true, 1000);
	leave("b", RUN_RUNNING, true, 1000);
	leave("c", RUN_QUEUED, true, 0);
	f.max_running = 1;
	restart();
	fake_executor_will_find(f.fake, "a", EXECUTOR_LIVES);
	fake_executor_will_find(f.fake, "b", EXECUTOR_LIVES);
	run_manager_recover(f.manager, NULL);
	assert_int_equal(counts_of(&f).running, 2);
	end_run(&f, "a", 0);
	assert_state(&f, "c", RUN_QUEUED);
	end_run(&f, "b", 0);
	assert_state(&f, "c", RUN_PREPARING);
	until_running(&f, "c");
	end_run(&f, "c", 0);
	until_over(&f, "a");
	until_over(&f, "b");
	until_over(&f, "c");
}

/* ---- folders ---- */

static void make(const char *run_id)
{
	_cleanup_(freep) char *dir = mem_printf("%s/runs/%s", f.state, run_id);

	assert_int_equal(dir_make(dir, 0700), 0);
}

static void put(const char *run_id, const char *name)
{
	_cleanup_(freep) char *dir = mem_printf("%s/runs/%s", f.state, run_id);
	_cleanup_(freep) char *path = path_join(dir, name);

	assert_int_equal(dir_make(dir, 0700), 0);
	assert_int_equal(file_replace(AT_FDCWD, path, "x", 1, 0600, FILE_NO_SYNC), 0);
}

static void folders_that_nothing_is_owed_for_go(void **state)
{
	static const char *const spent[] = { "environment", RUN_DIR_LAUNCH, RUN_DIR_EXIT,
		RUN_DIR_STATUS, RUN_DIR_LOCK, RUN_DIR_STOP };

	(void)state;
	put("never_accepted", "environment");
	put("never_accepted", UNOWED_MARK);
	put("deleted", RUN_DIR_LAUNCH);
	put("deleted/work", "outputs");
	put("deleted", UNOWED_MARK);
	leave("failed", RUN_FAILED, true, 1000);
	put("failed", UNOWED_MARK); /* a delete that was not committed */
	make("just_begun");
	put("perhaps_accepted", "environment");
	put("of_another_history", "environment");
	put("of_another_history", RUN_DIR_LAUNCH);
	put("not a run", "keep");
	leave("completed", RUN_COMPLETED, true, 1000);
	leave("queued", RUN_QUEUED, true, 0);
	for (size_t i = 0; i < ARRAY_SIZE(spent); i++) {
		put("completed", spent[i]);
		put("failed", spent[i]);
	}
	put("failed", "work");
	put("failed", RUN_DIR_LOG);
	put("queued", "environment");
	put("queued", UNOWED_MARK); /* the crash came after the commit */
	f.max_running = 1;
	leave("running", RUN_RUNNING, true, 1000);
	put("running", RUN_DIR_LAUNCH);
	restart();
	fake_executor_will_find(f.fake, "running", EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	until(&f, !exists_in_state(&f, "failed", RUN_DIR_EXIT)); /* the last thing done */
	assert_false(exists_in_state(&f, "never_accepted", ""));
	assert_false(exists_in_state(&f, "just_begun", ""));
	assert_false(exists_in_state(&f, "deleted", ""));
	assert_false(exists_in_state(&f, "completed", ""));
	assert_true(exists_in_state(&f, "perhaps_accepted", "environment"));
	assert_false(exists_in_state(&f, "failed", UNOWED_MARK));
	assert_false(exists_in_state(&f, "queued", UNOWED_MARK));
	assert_true(exists_in_state(&f, "of_another_history", RUN_DIR_LAUNCH));
	assert_true(exists_in_state(&f, "not a run", "keep"));
	for (size_t i = 0; i < ARRAY_SIZE(spent); i++)
		assert_false(exists_in_state(&f, "failed", spent[i]));
	assert_true(exists_in_state(&f, "failed", "work"));
	assert_true(exists_in_state(&f, "failed", RUN_DIR_LOG));
	assert_true(exists_in_state(&f, "queued", "environment"));
	assert_true(exists_in_state(&f, "running", RUN_DIR_LAUNCH));
}

static void a_history_that_is_new_removes_nothing(void **state)
{
	_cleanup_(freep) char *database = path_join(f.state, "history.db");

	(void)state;
	put("never_accepted", UNOWED_MARK);
	put("failed", "work");
	make("just_begun");
	fixture_close(&f);
	assert_int_equal(unlink(database), 0);
	fixture_open(&f);
	turn_for(&f, 20000);
	assert_true(exists_in_state(&f, "never_accepted", UNOWED_MARK));
	assert_true(exists_in_state(&f, "failed", "work"));
	assert_true(exists_in_state(&f, "just_begun", ""));
}

static void a_damaged_record_stops_nobody_else_and_costs_no_outputs(void **state)
{
	struct artifacts list = { 0 };

	(void)state;
	mem_replace(&base.definition, "{}");
	for (int i = 0; i < 100; i++) {
		_cleanup_(freep) char *run_id = mem_printf("damaged_%d", i);

		leave(run_id, RUN_QUEUED, true, 0);
	}
	leave("running", RUN_RUNNING, true, 1000);
	put("running/work/outputs", "model");
	restart();
	fake_executor_will_find(f.fake, "running", EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 101);
	until_over(&f, "damaged_99");
	assert_int_equal(stored_state_of(&f, "damaged_0"), RUN_FAILED);
	assert_int_equal(counts_of(&f).running, 1);
	end_run(&f, "running", 0);
	until_over(&f, "running");
	assert_int_equal(stored_state_of(&f, "running"), RUN_COMPLETED);
	assert_int_equal(history_artifacts_list(f.history, "running", "outputs/", NULL, &list), 0);
	assert_int_equal(list.count, 1);
	artifacts_release(&list);
}

static void it_may_go_again_at_once(void **state)
{
	(void)state;
	leave("a", RUN_RUNNING, true, 1000);
	leave("b", RUN_PREPARING, true, 0);
	leave("c", RUN_CANCEL_REQUESTED, true, 0);
	leave("d", RUN_FINALIZING, false, 1000);
	for (int i = 0; i < 3; i++) {
		restart();
		fake_executor_will_find(f.fake, "a", EXECUTOR_LIVES);
		assert_true(run_manager_recover(f.manager, NULL) >= 2);
	}
	restart();
	fake_executor_will_find(f.fake, "a", EXECUTOR_LIVES);
	run_manager_recover(f.manager, NULL);
	until_over(&f, "c");
	until_over(&f, "d");
	until_running(&f, "b");
	end_run(&f, "b", 0);
	end_run(&f, "a", 0);
	until_over(&f, "b");
	until_over(&f, "a");
}

static void ten_thousand_ended_and_two_hundred_live_ones_are_sorted_out_soon(void **state)
{
	int64_t begin;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		struct run_record record = base;
		_cleanup_(freep) char *run_id = mem_printf("old_%d", i);

		record.run_id = run_id;
		record.state = RUN_COMPLETED;
		history_insert(f.history, &record, HISTORY_SOON, NULL, NULL);
	}
	for (int i = 0; i < 200; i++) {
		_cleanup_(freep) char *run_id = mem_printf("live_%d", i);

		leave(run_id, RUN_RUNNING, true, 1000);
	}
	restart();
	for (int i = 0; i < 200; i++) {
		_cleanup_(freep) char *run_id = mem_printf("live_%d", i);

		fake_executor_will_find(f.fake, run_id, EXECUTOR_LIVES);
	}
	begin = clock_boot();
	assert_int_equal(run_manager_recover(f.manager, NULL), 200);
	print_message("recovery: %lld ms\n", (long long)(clock_boot() - begin) / 1000);
	assert_int_equal(counts_of(&f).running, 200);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(every_run_comes_to_its_place),
		TEST(what_was_not_started_takes_its_old_place_and_that_is_durable),
		TEST(nothing_is_started_before_all_slots_that_are_held_are_known),
		TEST(more_runs_than_slots_go_on_and_the_queue_waits),
		TEST(folders_that_nothing_is_owed_for_go),
		TEST(a_history_that_is_new_removes_nothing),
		TEST(a_damaged_record_stops_nobody_else_and_costs_no_outputs),
		TEST(it_may_go_again_at_once),
		TEST(ten_thousand_ended_and_two_hundred_live_ones_are_sorted_out_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
