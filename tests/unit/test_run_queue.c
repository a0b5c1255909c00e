/* SPDX-License-Identifier: MIT */
/* test_run_queue - the queue of a manager: order, limits, what is refused, who follows whom, reload */
#include "run_fixture.h"

#include "common/strv.h"
#include "runs/run_live.h"

/* Without names on this machine: the numbers stand for them. */
#define ANA 60001
#define BOB 60002

static int set_up_users(void **state)
{
	(void)state;
	fixture_init(&f, 2);
	f.queue = (struct queue_options){
		.cpus = 4, .memory_bytes = INT64_C(8) << 30, .max_user_priority = 1000
	};
	fixture_open(&f);
	return 0;
}

#define USERS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_users, tear_down)

static void reload(struct queue_options options)
{
	f.queue = options;
	f.max_running = options.max_running;
	run_manager_set_options(f.manager, &options);
}

static void assert_refused(
	uid_t uid, const char *more, int code, const char *target, const char *words)
{
	struct answer answer = { 0 };

	submit_begin_as(&f, uid, more, &answer);
	until(&f, answer.count);
	assert_int_equal(answer.err.code, code);
	assert_string_equal(answer.err.target, target);
	if (!strstr(answer.err.message, words))
		fail_msg("%s", answer.err.message);
	assert_int_equal(folders(&f), 0);
	answer_release(&answer);
}

#define COMMAND "\"command\": \"true\", "

/* ---- refused at once ---- */

static void what_the_machine_does_not_have_is_refused_with_what_it_has(void **state)
{
	(void)state;
	assert_refused(ANA, COMMAND "\"resources\": {\"cpus\": 5}", -EINVAL, "resources.cpus",
		"5 were asked for and this machine gives out 4");
	assert_refused(ANA, COMMAND "\"resources\": {\"gpus\": 1}", -EINVAL, "resources.gpus",
		"1 was asked for and this machine gives out none");
	assert_refused(ANA, COMMAND "\"resources\": {\"memory_bytes\": 8589934593}", -EINVAL,
		"resources.memory_bytes", "gives out 8.0 GiB");
	reload((struct queue_options){ .max_running = 2, .cpus = 4, .max_cpus_per_user = 2 });
	assert_refused(ANA, COMMAND "\"resources\": {\"cpus\": 3}", -EINVAL, "resources.cpus",
		"one user may hold 2 (max_cpus_per_user)");
}

static void a_priority_above_the_users_is_refused_but_to_admins(void **state)
{
	const struct submitter admin = { .uid = ANA, .admin = true };
	struct run_request request = { 0 };
	struct answer answer = { 0 };

	(void)state;
	reload((struct queue_options){ .max_running = 2, .cpus = 4, .max_user_priority = 5 });
	assert_refused(ANA, COMMAND "\"priority\": 6", -EPERM, "priority", "6 is above 5");
	free(submit_as(&f, ANA, COMMAND "\"priority\": 5"));
	request.experiment_name = mem_strdup("e");
	request.source_directory = mem_strdup(f.source);
	request.command = mem_strdup("true");
	request.compute_target = mem_strdup("local");
	request.cpus = 1;
	request.priority = 6;
	run_manager_submit(f.manager, &request, &admin, answered, &answer);
	until(&f, answer.count);
	assert_true(answer.has_record);
	assert_int_equal(answer.record.priority, 6);
	answer_release(&answer);
}

static void a_user_whose_queue_is_full_is_refused_and_others_are_not(void **state)
{
	struct answer answers[4] = { 0 };
	int refused = 0;

	(void)state;
	reload((struct queue_options){ .max_running = 1, .cpus = 4, .max_queued_per_user = 2 });
	free(submit_as(&f, ANA, NULL)); /* it runs */
	hold_threads(&f);
	for (int i = 0; i < 4; i++) /* those that are under way count */
		submit_begin_as(&f, ANA, NULL, &answers[i]);
	let_threads_go(&f);
	for (int i = 0; i < 4; i++) {
		until(&f, answers[i].count);
		refused += answers[i].err.code == -EUSERS;
		answer_release(&answers[i]);
	}
	assert_int_equal(refused, 2);
	assert_counts(&f, 1, 2);
	free(submit_as(&f, BOB, NULL));
	assert_counts(&f, 1, 3);
}

/* ---- who goes ---- */

static void cpus_and_memory_are_held_and_come_back(void **state)
{
	_cleanup_(freep) char *first = submit_as(
		&f, ANA, COMMAND "\"resources\": {\"cpus\": 3, \"memory_bytes\": 6442450944}");
	_cleanup_(freep) char *second = submit_as(&f, BOB, COMMAND "\"resources\": {\"cpus\": 2}");
	struct run_holdings holdings;

	(void)state;
	until_running(&f, first);
	assert_waits_for(&f, second, "waits for 2 CPUs: 3 of 4 are held (60001 3)");
	run_manager_holdings(f.manager, &holdings);
	assert_int_equal(holdings.cpus_used, 3);
	assert_int_equal(holdings.memory_used, INT64_C(6) << 30);
	assert_int_equal(holdings.user_count, 2);
	assert_string_equal(holdings.users[0].user, "60001"); /* as the name service has it */
	assert_int_equal(holdings.users[0].running, 1);
	assert_int_equal(holdings.users[0].cpus, 3);
	assert_int_equal(holdings.users[1].queued, 1);
	run_holdings_release(&holdings);
	end_run(&f, first, 0);
	until_running(&f, second);
	end_run(&f, second, 0);
	until_over(&f, first);
	until_over(&f, second);
	run_manager_holdings(f.manager, &holdings);
	assert_true(!holdings.cpus_used && !holdings.memory_used && !holdings.user_count);
	run_holdings_release(&holdings);
}

static void priority_goes_before_who_came_first(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	_cleanup_(freep) char *low = submit(&f, NULL);
	_cleanup_(freep) char *high = submit(&f, COMMAND "\"priority\": 7");

	(void)state;
	until_running(&f, first);
	until_running(&f, second);
	end_run(&f, first, 0);
	assert_state(&f, high, RUN_PREPARING);
	assert_state(&f, low, RUN_QUEUED);
	end_run(&f, second, 0);
	assert_state(&f, low, RUN_PREPARING);
}

static void a_limit_of_his_keeps_one_user_back_and_no_other(void **state)
{
	_cleanup_(freep) char *first = NULL;
	_cleanup_(freep) char *second = NULL;
	_cleanup_(freep) char *third = NULL;

	(void)state;
	reload((struct queue_options){ .max_running = 4, .cpus = 4, .max_running_per_user = 1 });
	first = submit_as(&f, ANA, NULL);
	second = submit_as(&f, ANA, NULL);
	third = submit_as(&f, BOB, NULL);
	until_running(&f, first);
	until_running(&f, third);
	assert_waits_for(&f, second,
		"60001 has 1 run going, the limit per user is 1 (max_running_runs_per_user)");
	end_run(&f, first, 0);
	until_running(&f, second);
}

static void a_short_run_is_back_filled_and_the_head_is_not_delayed(void **state)
{
	_cleanup_(freep) char *running = NULL;
	_cleanup_(freep) char *head = NULL;
	_cleanup_(freep) char *long_one = NULL;
	_cleanup_(freep) char *short_one = NULL;
	_cleanup_(freep) char *me = my_name();
	_cleanup_(freep) char *held = mem_printf("waits for 1 CPU: 4 of 4 are held (%s 4)", me);

	(void)state;
	reload((struct queue_options){ .max_running = 4, .cpus = 4 });
	running = submit(&f, COMMAND "\"resources\": {\"cpus\": 2}, "
				     "\"max_run_duration_seconds\": 3600");
	until_running(&f, running);
	head = submit(&f, COMMAND "\"resources\": {\"cpus\": 4}");
	long_one = submit(&f, NULL);
	short_one = submit(&f, COMMAND "\"max_run_duration_seconds\": 60");
	until_running(&f, short_one);
	assert_state(&f, long_one, RUN_QUEUED);
	assert_waits_for(&f, long_one,
		"there is room for it now, but a run before it, which waits for "
		"CPUs, could then start later than without it");
	end_run(&f, short_one, 0);
	end_run(&f, running, 0);
	until_running(&f, head);
	assert_waits_for(&f, long_one, held);
}

static void the_place_in_the_queue_is_told(void **state)
{
	char *ids[5];

	(void)state;
	for (int i = 0; i < 5; i++)
		ids[i] = submit(&f, NULL);
	for (int i = 0; i < 5; i++) {
		struct queue_info info;

		assert_int_equal(run_manager_queue_info(f.manager, ids[i], &info), 0);
		assert_int_equal(info.position, i < 2 ? 0 : i - 1);
		assert_int_equal(info.granted, i < 2);
		assert_true(!info.waiting_for == (i < 2));
		if (i == 4)
			assert_string_equal(info.waiting_for, "2 runs before it wait for a place");
		queue_info_release(&info);
	}
	for (int i = 0; i < 5; i++)
		free(ids[i]);
}

static void who_is_not_live_has_no_place(void **state)
{
	struct queue_info info;

	(void)state;
	assert_int_equal(run_manager_queue_info(f.manager, "e_1_00000000", &info), -ENOENT);
}

static void waiting_is_counted(void **state)
{
	_cleanup_(freep) char *run_id = submit(&f, NULL);

	(void)state;
	until_running(&f, run_id);
	assert_int_equal(counts_of(&f).started, 1);
	assert_true(counts_of(&f).waited_us >= 0 && counts_of(&f).waited_us < USEC_PER_SEC);
}

/* ---- reload ---- */

static void a_reload_counts_at_once_and_stops_nothing(void **state)
{
	char *ids[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		ids[i] = submit(&f, NULL);
	until_running(&f, ids[0]);
	until_running(&f, ids[1]);
	reload((struct queue_options){ .max_running = 3, .cpus = 4 });
	until_running(&f, ids[2]);
	reload((struct queue_options){ .max_running = 1, .cpus = 4 });
	assert_counts(&f, 3, 1);
	end_run(&f, ids[0], 0);
	end_run(&f, ids[1], 0);
	assert_state(&f, ids[3], RUN_QUEUED);
	end_run(&f, ids[2], 0);
	until_running(&f, ids[3]);
	for (int i = 0; i < 4; i++)
		free(ids[i]);
}

static void a_run_that_has_become_too_large_says_so_and_holds_up_nobody(void **state)
{
	_cleanup_(freep) char *running = submit(&f, COMMAND "\"resources\": {\"cpus\": 4}");
	_cleanup_(freep) char *large = submit(&f, COMMAND "\"resources\": {\"cpus\": 4}");
	_cleanup_(freep) char *small = submit(&f, NULL);

	(void)state;
	until_running(&f, running);
	reload((struct queue_options){ .max_running = 2, .cpus = 3 });
	assert_waits_for(&f, large,
		"asks for 4 CPUs and this machine gives out 3 now: cancel it, or have the "
		"configuration changed");
	end_run(&f, running, 0);
	until_running(&f, small);
}

static void without_a_number_of_cpus_as_many_runs_go_as_were_set(void **state)
{
	char *ids[40];

	(void)state;
	reload((struct queue_options){ .max_running = 40 });
	for (int i = 0; i < 40; i++)
		ids[i] = submit(&f, NULL);
	assert_counts(&f, 40, 0);
	for (int i = 0; i < 40; i++)
		free(ids[i]);
}

static void the_options_are_the_configurations(void **state)
{
	struct config config;
	struct queue_options options;

	(void)state;
	config_default(&config);
	config.cpus = 7;
	config.max_running_runs_per_user = 3;
	config.fair_share_seconds = 60;
	queue_options_of_config(&config, &options);
	assert_int_equal(options.max_running, config.max_running_runs);
	assert_int_equal(options.cpus, 7);
	assert_int_equal(options.max_running_per_user, 3);
	assert_int_equal(options.max_user_priority, 100);
	assert_int_equal(options.fair_share_us, 60 * USEC_PER_SEC);
}

/* ---- one after the other ---- */

static char *submit_after(const char *condition, const char *leader)
{
	_cleanup_(freep) char *more =
		mem_printf(COMMAND "\"after\": [{\"run_id\": \"%s\", \"condition\": \"%s\"}]",
			leader, condition);

	return submit(&f, more);
}

static void assert_failed_with(const char *run_id, const char *words)
{
	struct run_record record;

	until_over(&f, run_id);
	record = stored_record_of(&f, run_id);
	assert_int_equal(record.cause, RUN_CAUSE_SETUP_ERROR);
	if (!strstr(record.error_message, words))
		fail_msg("%s", record.error_message);
	assert_int_equal(fake_executor_starts(f.fake, run_id), 0);
	run_record_release(&record);
}

static void it_begins_when_the_other_has_completed(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *follower = submit_after("afterok", leader);
	_cleanup_(freep) char *other = NULL;
	_cleanup_(freep) char *why = mem_printf("waits until %s has completed", leader);

	(void)state;
	until_running(&f, leader);
	assert_waits_for(&f, follower, why);
	other = submit(&f, NULL);
	until_running(&f, other); /* it holds up nobody */
	end_run(&f, leader, 0);
	until_running(&f, follower);
}

static void however_the_other_ended_with_afterany(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *any = submit_after("afterany", leader);
	_cleanup_(freep) char *ok = submit_after("afterok", leader);
	_cleanup_(freep) char *why = mem_printf("waits until %s is over", leader);

	(void)state;
	until_running(&f, leader);
	assert_waits_for(&f, any, why);
	end_run(&f, leader, 3);
	until_running(&f, any);
	assert_failed_with(ok, "ended as Failed (UserError)");
}

static void it_begins_at_once_after_one_that_is_over(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *follower = NULL;

	(void)state;
	run_to_end(&f, leader, 0);
	follower = submit_after("afterok", leader);
	until_running(&f, follower);
}

static void it_fails_at_once_after_one_that_has_failed(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *follower = NULL;

	(void)state;
	run_to_end(&f, leader, 1);
	follower = submit_after("afterok", leader);
	assert_failed_with(follower, leader);
}

static void one_that_is_not_there_cannot_be_followed(void **state)
{
	(void)state;
	assert_refused(ANA,
		COMMAND "\"after\": [{\"run_id\": \"e_1_00000000\", \"condition\": \"afterok\"}]",
		-EINVAL, "after", "e_1_00000000");
}

static void one_that_was_deleted_meanwhile_is_gone(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *ok = NULL;
	_cleanup_(freep) char *any = NULL;
	struct answer deleted = { 0 };

	(void)state;
	run_to_end(&f, leader, 0);
	reload((struct queue_options){ .max_running = 2, .cpus = 4 });
	run_manager_drain(f.manager, 0, "", answered, &deleted);
	ok = submit_after("afterok", leader);
	any = submit_after("afterany", leader);
	until(&f, deleted.count);
	/* As one could until it was refused. */
	history_delete(f.history, leader, NULL, NULL);
	restart_with(&f, 2);
	assert_failed_with(ok, "is gone: it has been deleted");
	assert_state(&f, any, RUN_QUEUED);
	answer_release(&deleted);
}

/* It may be asked how it ended once more: by the next daemon. */
static void one_that_another_needs_is_not_deleted(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *ok = NULL;
	_cleanup_(freep) char *any = NULL;
	struct answer drained = { 0 }, refused = { 0 }, canceled = { 0 }, deleted = { 0 };

	(void)state;
	run_to_end(&f, leader, 0);
	run_manager_drain(f.manager, 0, "", answered, &drained);
	ok = submit_after("afterok", leader);
	any = submit_after("afterany", leader);
	run_manager_delete(f.manager, leader, answered, &refused);
	until(&f, refused.count);
	assert_int_equal(refused.err.code, -EBUSY);
	assert_non_null(strstr(refused.err.message, ok));
	cancel(&f, ok, &canceled);
	until(&f, canceled.count);
	run_manager_delete(f.manager, leader, answered, &deleted);
	until(&f, deleted.count);
	assert_int_equal(deleted.err.code, 0);
	assert_state(&f, any, RUN_QUEUED);
	answer_release(&canceled);
}

static void one_that_another_needed_can_be_deleted_when_that_runs(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *follower = submit_after("afterok", leader);
	struct answer early = { 0 }, late = { 0 };

	(void)state;
	run_to_end(&f, leader, 0);
	until_held(&f, follower); /* Starting: a restart may find that nothing of it began */
	run_manager_delete(f.manager, leader, answered, &early);
	until(&f, early.count);
	assert_int_equal(early.err.code, -EBUSY);
	fake_executor_started(f.fake, follower, clock_utc());
	run_manager_delete(f.manager, leader, answered, &late);
	until(&f, late.count);
	assert_int_equal(late.err.code, 0);
	end_run(&f, follower, 0);
	until_over(&f, follower);
}

static void it_waits_for_all_of_them(void **state)
{
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *second = submit(&f, NULL);
	_cleanup_(freep) char *more =
		mem_printf(COMMAND "\"after\": [{\"run_id\": \"%s\", \"condition\": \"afterok\"}, "
				   "{\"run_id\": \"%s\", \"condition\": \"afterany\"}]",
			first, second);
	_cleanup_(freep) char *follower = submit(&f, more);
	_cleanup_(freep) char *why = mem_printf("waits until %s has completed, and 1 more", first);

	(void)state;
	until_running(&f, first);
	until_running(&f, second);
	assert_waits_for(&f, follower, why);
	end_run(&f, first, 0);
	until_over(&f, first);
	assert_state(&f, follower, RUN_QUEUED);
	end_run(&f, second, 9);
	until_running(&f, follower);
}

static void a_follower_that_is_canceled_or_whose_leader_is(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *follower = submit_after("afterok", leader);
	_cleanup_(freep) char *last = submit_after("afterok", follower);
	struct answer answer = { 0 };

	(void)state;
	until_running(&f, leader);
	cancel(&f, follower, &answer);
	until(&f, answer.count);
	assert_state(&f, follower, RUN_CANCELED);
	assert_failed_with(last, "ended as Canceled (CanceledByUser)");
	end_run(&f, leader, 0);
	until_over(&f, leader);
	assert_counts(&f, 0, 0);
	answer_release(&answer);
}

static void a_chain_goes_on_after_a_restart(void **state)
{
	_cleanup_(freep) char *leader = submit(&f, NULL);
	_cleanup_(freep) char *second = submit_after("afterok", leader);
	_cleanup_(freep) char *third = submit_after("afterok", second);

	(void)state;
	until_running(&f, leader);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, leader, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 3);
	assert_counts(&f, 1, 2);
	end_run(&f, leader, 0);
	run_to_end(&f, second, 0);
	run_to_end(&f, third, 0);
}

/* Each link fails by its own commit. */
static void a_chain_of_a_thousand_ends_with_its_first(void **state)
{
	enum { COUNT = 1000 };
	_cleanup_(freep) char *first = submit(&f, NULL);
	_cleanup_(freep) char *last = mem_printf("chain_%d", COUNT - 1);
	struct run_record record = record_of(&f, first);

	(void)state;
	until_running(&f, first);
	for (int i = 0; i < COUNT; i++) {
		_cleanup_(freep) char *id = mem_printf("chain_%d", i);
		_cleanup_(freep) char *dir = mem_printf("%s/runs/%s", f.state, id);
		_cleanup_(freep) char *before = mem_printf("chain_%d", i - 1);

		mem_replace(&record.run_id, id);
		record.state = RUN_QUEUED;
		strv_free(record.after);
		record.after = NULL;
		strv_addf(&record.after, "afterok:%s", i ? before : first);
		history_insert(f.history, &record, HISTORY_SOON, NULL, NULL);
		assert_int_equal(mkdir(dir, 0700), 0);
	}
	run_record_release(&record);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, first, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), COUNT + 1);
	end_run(&f, first, 1);
	while (!is_over(&f, last)) /* alarm() is its limit */
		uv_run(&f.loop, UV_RUN_ONCE);
	assert_failed_with(last, "chain_998");
	assert_failed_with("chain_0", first);
}

/* ---- a new daemon ---- */

static void what_users_have_used_is_known_after_a_restart(void **state)
{
	_cleanup_(freep) char *used = submit_as(&f, ANA, NULL);
	_cleanup_(freep) char *first = NULL;
	_cleanup_(freep) char *second = NULL;
	_cleanup_(freep) char *running = NULL;
	struct run_exit exit = exit_of(0);

	(void)state;
	until_held(&f, used);
	fake_executor_started(f.fake, used, clock_utc() - 3600 * USEC_PER_SEC);
	fake_executor_ended(f.fake, used, &exit, 0);
	until_over(&f, used);
	restart_with(&f, 1);
	running = submit_as(&f, BOB, NULL);
	until_running(&f, running);
	first = submit_as(&f, ANA, NULL);
	second = submit_as(&f, BOB, NULL);
	end_run(&f, running, 0);
	until_running(&f, second);
	assert_state(&f, first, RUN_QUEUED);
}

static void the_slots_of_runs_that_live_are_taken_before_anything_starts(void **state)
{
	_cleanup_(freep) char *large = submit(&f, COMMAND "\"resources\": {\"cpus\": 3}");
	_cleanup_(freep) char *next = submit(&f, COMMAND "\"resources\": {\"cpus\": 2}");

	(void)state;
	until_running(&f, large);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, large, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	assert_state(&f, next, RUN_QUEUED);
	assert_int_equal(f.manager->scheduler.slots.used.cpus, 3);
	end_run(&f, large, 0);
	until_running(&f, next);
	assert_int_equal(f.manager->scheduler.slots.used.cpus, 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		USERS_TEST(what_the_machine_does_not_have_is_refused_with_what_it_has),
		USERS_TEST(a_priority_above_the_users_is_refused_but_to_admins),
		USERS_TEST(a_user_whose_queue_is_full_is_refused_and_others_are_not),
		USERS_TEST(cpus_and_memory_are_held_and_come_back),
		USERS_TEST(priority_goes_before_who_came_first),
		USERS_TEST(a_limit_of_his_keeps_one_user_back_and_no_other),
		USERS_TEST(a_short_run_is_back_filled_and_the_head_is_not_delayed),
		USERS_TEST(the_place_in_the_queue_is_told),
		USERS_TEST(who_is_not_live_has_no_place),
		USERS_TEST(waiting_is_counted),
		USERS_TEST(a_reload_counts_at_once_and_stops_nothing),
		USERS_TEST(a_run_that_has_become_too_large_says_so_and_holds_up_nobody),
		USERS_TEST(without_a_number_of_cpus_as_many_runs_go_as_were_set),
		USERS_TEST(the_options_are_the_configurations),
		USERS_TEST(it_begins_when_the_other_has_completed),
		USERS_TEST(however_the_other_ended_with_afterany),
		USERS_TEST(it_begins_at_once_after_one_that_is_over),
		USERS_TEST(it_fails_at_once_after_one_that_has_failed),
		USERS_TEST(one_that_is_not_there_cannot_be_followed),
		USERS_TEST(one_that_was_deleted_meanwhile_is_gone),
		TEST(one_that_another_needs_is_not_deleted),
		TEST(one_that_another_needed_can_be_deleted_when_that_runs),
		USERS_TEST(it_waits_for_all_of_them),
		USERS_TEST(a_follower_that_is_canceled_or_whose_leader_is),
		USERS_TEST(a_chain_goes_on_after_a_restart),
		USERS_TEST(a_chain_of_a_thousand_ends_with_its_first),
		USERS_TEST(what_users_have_used_is_known_after_a_restart),
		USERS_TEST(the_slots_of_runs_that_live_are_taken_before_anything_starts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
