/* SPDX-License-Identifier: MIT */
/* test_scheduler - whose turn it is, who is back-filled, and why the others wait */
#include "test.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "runs/scheduler.h"

#define S USEC_PER_SEC
#define ANA 1001
#define BOB 1002
#define EVA 1003

static struct scheduler s;
static int64_t now;

static void machine(int64_t places, int64_t cpus, int64_t memory, size_t gpus)
{
	const struct slots_amount total = { places, cpus, memory, 0 };
	const struct scheduler_limits none = { 0 };

	now = 1000000 * S;
	scheduler_init(&s, gpus, 86400 * S);
	scheduler_set_limits(&s, &total, &none);
}

static struct scheduler_run run_of(uid_t uid, int64_t cpus, int64_t gpus, int64_t limit)
{
	return (struct scheduler_run){
		.uid = uid, .wants = { 1, cpus, 0, gpus }, .limit_us = limit * S
	};
}

static void queue(struct scheduler_run *run)
{
	scheduler_queue(&s, run, true);
}

static size_t pass(void)
{
	bool look;
	size_t count = scheduler_pass(&s, now, true, &look);

	assert_false(look);
	return count;
}

static void end(struct scheduler_run *run)
{
	scheduler_remove(&s, run, now);
}

#define assert_runs(run) assert_int_equal((run)->where, SCHEDULER_RUNS)
#define assert_waits(run) assert_int_equal((run)->where, SCHEDULER_WAITS)

static void assert_why(struct scheduler_run *run, enum scheduler_reason reason, size_t position)
{
	scheduler_explain(&s, now, true);
	assert_int_equal(run->wait.reason, reason);
	assert_int_equal(run->wait.position, position);
}

static void finish(struct scheduler_run *runs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		end(&runs[i]);
	assert_true(slots_are_sound(&s.slots, NULL, 0));
	assert_int_equal(s.user_count, 0);
	assert_int_equal(s.line_count, 0);
	assert_int_equal(s.queued, 0);
	assert_int_equal(s.gpu_waiters, 0);
	scheduler_release(&s);
}

/* ---- the order ---- */

static void one_users_runs_have_their_turn_in_order(void **state)
{
	struct scheduler_run runs[5];

	(void)state;
	machine(2, 8, 0, 0);
	for (int i = 0; i < 5; i++) {
		runs[i] = run_of(ANA, 1, 0, 0);
		queue(&runs[i]);
	}
	for (int i = 0; i < 5; i++) {
		now += S;
		pass();
		for (int j = 0; j < 5; j++)
			assert_true((runs[j].where == SCHEDULER_WAITS) == (j > i + 1));
		end(&runs[i]);
	}
	finish(runs, 5);
}

static void the_higher_priority_is_first(void **state)
{
	static const int64_t priorities[] = { 0, -5, 10, 3 };
	static const int order[] = { 2, 3, 0, 1 };
	struct scheduler_run runs[4];

	(void)state;
	machine(1, 1, 0, 0);
	for (int i = 0; i < 4; i++) {
		runs[i] = run_of(i % 2 ? BOB : ANA, 1, 0, 0);
		runs[i].priority = priorities[i];
		queue(&runs[i]);
	}
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pass(), 1);
		assert_ptr_equal(s.given[0], &runs[order[i]]);
		end(&runs[order[i]]);
	}
	finish(runs, 4);
}

static void who_has_used_less_of_late_is_before_who_came_first(void **state)
{
	struct scheduler_run runs[3] = { run_of(ANA, 1, 0, 0), run_of(BOB, 1, 0, 0),
		run_of(EVA, 1, 0, 0) };

	(void)state;
	machine(1, 1, 0, 0);
	fair_share_charge(&s.share, ANA, 1, now - 3600 * S, now, now);
	fair_share_charge(&s.share, BOB, 1, now - 60 * S, now, now);
	for (int i = 0; i < 3; i++)
		queue(&runs[i]);
	assert_why(&runs[2], SCHEDULER_GOES, 1);
	assert_why(&runs[1], SCHEDULER_NO_CPUS, 2);
	assert_why(&runs[0], SCHEDULER_NO_CPUS, 3);
	for (int i = 3; i-- > 0;) {
		assert_int_equal(pass(), 1);
		assert_runs(&runs[i]);
		end(&runs[i]);
	}
	finish(runs, 3);
}

static void a_flood_of_one_user_does_not_keep_another_waiting(void **state)
{
	enum { COUNT = 200 };
	struct scheduler_run *runs = mem_alloc((COUNT + 1) * sizeof(*runs));

	(void)state;
	machine(2, 2, 0, 0);
	for (int i = 0; i < COUNT; i++) {
		runs[i] = run_of(ANA, 1, 0, 0);
		queue(&runs[i]);
	}
	assert_int_equal(pass(), 2);
	now += S;
	runs[COUNT] = run_of(BOB, 1, 0, 0);
	queue(&runs[COUNT]);
	end(&runs[0]);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[COUNT]);
	finish(runs, COUNT + 1);
	free(runs);
}

/* Of two who have used the same, the one who came first. */
static void users_who_are_even_take_turns_as_they_came(void **state)
{
	struct scheduler_run runs[6];

	(void)state;
	machine(6, 6, 0, 0);
	for (int i = 0; i < 6; i++) {
		runs[i] = run_of(i == 0 || i == 3 ? BOB : ANA, 1, 0, 0);
		queue(&runs[i]);
	}
	assert_int_equal(pass(), 6);
	for (size_t i = 0; i < 6; i++)
		assert_ptr_equal(s.given[i], &runs[i]);
	finish(runs, 6);
}

static void what_goes_to_the_end_is_behind_and_what_is_released_is_where_it_was(void **state)
{
	struct scheduler_run runs[4];

	(void)state;
	machine(1, 1, 0, 0);
	for (int i = 0; i < 4; i++) {
		runs[i] = run_of(ANA, 1, 0, 0);
		queue(&runs[i]);
	}
	assert_int_equal(pass(), 1);
	end(&runs[0]);
	scheduler_queue(&s, &runs[0], false);
	scheduler_park(&s, &runs[2], true);
	scheduler_park(&s, &runs[2], true);
	assert_why(&runs[2], SCHEDULER_PARKED, 0);
	assert_why(&runs[1], SCHEDULER_GOES, 1);
	assert_why(&runs[0], SCHEDULER_NO_CPUS, 3);
	scheduler_park(&s, &runs[2], false);
	assert_why(&runs[2], SCHEDULER_NO_CPUS, 2);
	assert_why(&runs[0], SCHEDULER_NO_CPUS, 4);
	finish(runs, 4);
}

/* ---- limits ---- */

static void a_user_at_his_limit_is_passed_over_and_holds_up_nobody(void **state)
{
	const struct slots_amount total = { 10, 10, 0, 0 };
	static const struct {
		struct scheduler_limits limits;
		enum scheduler_reason reason;
	} cases[] = {
		{ { .runs = 1 }, SCHEDULER_USER_RUNS },
		{ { .cpus = 3 }, SCHEDULER_USER_CPUS },
		{ { .gpus = 1 }, SCHEDULER_USER_GPUS },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scheduler_run runs[3] = { run_of(ANA, 2, 1, 0), run_of(ANA, 2, 1, 0),
			run_of(BOB, 2, 1, 0) };

		machine(10, 10, 0, 3);
		scheduler_set_limits(&s, &total, &cases[i].limits);
		for (int j = 0; j < 3; j++)
			queue(&runs[j]);
		assert_int_equal(pass(), 2);
		assert_runs(&runs[2]);
		assert_why(&runs[1], cases[i].reason, 1);
		assert_int_equal(pass(), 0);
		end(&runs[0]);
		assert_int_equal(pass(), 1);
		assert_runs(&runs[1]);
		finish(runs, 3);
	}
}

/* After a reload with less. */
static void what_has_become_too_large_holds_up_nobody(void **state)
{
	const struct slots_amount less = { 10, 2, 0, 0 };
	const struct scheduler_limits none = { 0 };
	struct scheduler_run runs[3] = { run_of(ANA, 4, 0, 0), run_of(ANA, 4, 0, 0),
		run_of(ANA, 2, 0, 0) };

	(void)state;
	machine(10, 4, 0, 0);
	for (int i = 0; i < 3; i++)
		queue(&runs[i]);
	assert_int_equal(pass(), 1);
	scheduler_set_limits(&s, &less, &none);
	assert_runs(&runs[0]); /* nothing is stopped */
	assert_why(&runs[1], SCHEDULER_TOO_LARGE, 1);
	assert_why(&runs[2], SCHEDULER_NO_CPUS, 2);
	end(&runs[0]);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[2]);
	finish(runs, 3);
}

/* ---- back-fill ---- */

/* Four CPUs; two are held for 100 s more; the head wants four. */
static void head_and(struct scheduler_run *runs, size_t count)
{
	machine(10, 4, 0, 1);
	runs[0] = run_of(ANA, 2, 0, 100);
	runs[1] = run_of(BOB, 4, 0, 50);
	queue(&runs[0]);
	assert_int_equal(pass(), 1);
	for (size_t i = 1; i < count; i++)
		queue(&runs[i]);
}

static void a_short_run_goes_before_the_head_and_a_long_one_does_not(void **state)
{
	struct scheduler_run runs[4] = {
		[2] = run_of(BOB, 2, 0, 101), [3] = run_of(BOB, 2, 0, 100)
	};

	(void)state;
	head_and(runs, 4);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[3]);
	assert_why(&runs[1], SCHEDULER_NO_CPUS, 1);
	assert_why(&runs[2], SCHEDULER_NO_CPUS, 2);
	end(&runs[3]);
	scheduler_explain(&s, now, true);
	assert_int_equal(runs[2].wait.reason, SCHEDULER_BEHIND);
	assert_int_equal(runs[2].wait.before, 1);
	assert_int_equal(runs[2].wait.head, SCHEDULER_NO_CPUS);
	now += 100 * S;
	end(&runs[0]);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[1]);
	finish(runs, 4);
}

static void a_long_run_goes_before_the_head_when_there_is_enough_for_both(void **state)
{
	struct scheduler_run runs[5] = { run_of(ANA, 1, 1, 100), run_of(ANA, 1, 1, 100),
		run_of(BOB, 1, 0, 0), run_of(BOB, 2, 0, 0), run_of(BOB, 1, 0, 0) };

	(void)state;
	machine(10, 4, 0, 1); /* the head waits for the GPU, and will want one CPU of four */
	for (int i = 0; i < 5; i++)
		queue(&runs[i]);
	assert_int_equal(pass(), 3);
	assert_runs(&runs[0]);
	assert_runs(&runs[2]);
	assert_runs(&runs[3]); /* 1 + 1 + 2 are held, and 1 comes back with the GPU */
	assert_waits(&runs[4]);
	finish(runs, 5);
}

static void spare_slots_are_spare_once(void **state)
{
	struct scheduler_run runs[6] = { run_of(ANA, 1, 1, 100), run_of(ANA, 3, 1, 100),
		run_of(BOB, 1, 0, 0), run_of(BOB, 1, 0, 0), run_of(BOB, 1, 0, 0),
		run_of(BOB, 1, 0, 0) };

	(void)state;
	machine(10, 5, 0, 1); /* 5 - 3 of the head's: two more may stay */
	for (int i = 0; i < 6; i++)
		queue(&runs[i]);
	assert_int_equal(pass(), 3);
	assert_why(&runs[4], SCHEDULER_BEHIND, 2);
	assert_int_equal(pass(), 0);
	end(&runs[0]);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[1]);
	finish(runs, 6);
}

/* Nobody knows when it ends, so what the head needs of it is left alone. */
static void behind_a_run_without_a_limit_only_what_the_head_does_not_need_is_used(void **state)
{
	struct scheduler_run runs[4] = { run_of(ANA, 1, 1, 0), run_of(ANA, 3, 1, 100),
		run_of(BOB, 2, 0, 1), run_of(BOB, 1, 0, 0) };

	(void)state;
	machine(10, 4, 0, 1);
	for (int i = 0; i < 4; i++)
		queue(&runs[i]);
	assert_int_equal(pass(), 2);
	assert_runs(&runs[0]);
	assert_waits(&runs[2]); /* a second may be too long */
	assert_runs(&runs[3]);
	finish(runs, 4);
}

/* Else it would be passed over when its turn comes, and others would take what it waits for. */
static void the_heads_user_keeps_room_in_his_limits_for_it(void **state)
{
	const struct slots_amount total = { 10, 10, 0, 0 };
	const struct scheduler_limits two_runs = { .runs = 2 };
	struct scheduler_run runs[5] = { run_of(BOB, 1, 1, 100), run_of(ANA, 1, 0, 0),
		run_of(ANA, 1, 1, 0), run_of(ANA, 1, 0, 90), run_of(EVA, 1, 0, 90) };

	(void)state;
	machine(10, 10, 0, 1);
	scheduler_set_limits(&s, &total, &two_runs);
	for (int i = 0; i < 5; i++)
		queue(&runs[i]);
	assert_int_equal(pass(), 3);
	assert_runs(&runs[1]);
	assert_why(&runs[2], SCHEDULER_NO_GPUS, 1);
	assert_why(&runs[3], SCHEDULER_BEHIND, 2);
	assert_runs(&runs[4]);
	end(&runs[0]);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[2]);
	assert_why(&runs[3], SCHEDULER_USER_RUNS, 1);
	finish(runs, 5);
}

static void a_run_over_its_time_is_expected_to_end_now(void **state)
{
	struct scheduler_run runs[3] = { [2] = run_of(BOB, 2, 0, 10) };

	(void)state;
	head_and(runs, 3);
	now += 500 * S;
	assert_int_equal(pass(), 0); /* ten seconds would be too long */
	assert_why(&runs[2], SCHEDULER_BEHIND, 2);
	finish(runs, 3);
}

static void the_limit_counts_from_the_begin(void **state)
{
	struct scheduler_run runs[3] = { [2] = run_of(BOB, 2, 0, 150) };

	(void)state;
	head_and(runs, 3);
	now += 60 * S; /* it was being prepared */
	scheduler_begun(&runs[0], now);
	assert_int_equal(pass(), 0);
	runs[0].end_us += 50 * S;
	s.settled = false;
	assert_int_equal(pass(), 1);
	assert_runs(&runs[2]);
	finish(runs, 3);
}

/* ---- GPUs ---- */

static void a_gpu_is_not_given_before_it_is_known_to_be_free(void **state)
{
	struct scheduler_run runs[3] = { run_of(ANA, 1, 1, 0), run_of(ANA, 3, 0, 0),
		run_of(ANA, 1, 0, 0) };
	bool look;

	(void)state;
	machine(10, 4, 0, 1);
	for (int i = 0; i < 3; i++)
		queue(&runs[i]);
	assert_int_equal(scheduler_pass(&s, now, false, &look), 1);
	assert_true(look);
	assert_runs(&runs[1]); /* the others go on, but for what it will need */
	assert_waits(&runs[2]);
	assert_int_equal(s.slots.used.gpus, 0);
	scheduler_explain(&s, now, false);
	assert_int_equal(runs[0].wait.reason, SCHEDULER_LOOKING);
	assert_int_equal(scheduler_pass(&s, now, true, &look), 1);
	assert_false(look);
	assert_runs(&runs[0]);
	finish(runs, 3);
}

static void who_waits_for_a_gpu_that_is_set_aside_holds_up_nobody(void **state)
{
	struct scheduler_run runs[3] = { run_of(ANA, 1, 2, 0), run_of(BOB, 1, 1, 0),
		run_of(BOB, 1, 1, 0) };

	(void)state;
	machine(10, 10, 0, 2);
	scheduler_set_aside(&s, 0, true);
	for (int i = 0; i < 3; i++)
		queue(&runs[i]);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[1]);
	assert_int_equal(runs[1].grant.gpus[0], 1);
	assert_why(&runs[0], SCHEDULER_NO_GPUS, 1);
	scheduler_set_aside(&s, 0, false); /* now it is the head, and GPU 0 is kept for it */
	assert_int_equal(pass(), 0);
	assert_why(&runs[2], SCHEDULER_BEHIND, 2);
	end(&runs[1]);
	assert_int_equal(pass(), 1);
	assert_runs(&runs[0]);
	finish(runs, 3);
}

/* ---- a new daemon ---- */

static void what_runs_already_is_claimed_before_anything_starts(void **state)
{
	const size_t second[] = { 1 };
	struct scheduler_run runs[4] = { run_of(ANA, 2, 1, 3600), run_of(ANA, 1, 1, 0),
		run_of(ANA, 1, 1, 0), run_of(BOB, 4, 0, 0) };

	(void)state;
	machine(10, 4, 0, 2);
	scheduler_claim(&s, &runs[0], second, 1, now - 3000 * S, now);
	for (int i = 1; i < 4; i++)
		queue(&runs[i]);
	assert_true(fair_share_read(&s.share, ANA, now) > 2900 * 12);
	assert_int_equal(runs[0].end_us, now + 600 * S);
	assert_int_equal(pass(), 0); /* bob's turn, and he wants all CPUs */
	assert_why(&runs[3], SCHEDULER_NO_CPUS, 1);
	assert_why(&runs[1], SCHEDULER_BEHIND, 2);
	end(&runs[3]);
	assert_int_equal(pass(), 1);
	assert_int_equal(runs[1].grant.gpus[0], 0);
	finish(runs, 4);
}

/* ---- what it costs ---- */

static int64_t thread_us(void)
{
	return clock_now(CLOCK_THREAD_CPUTIME_ID);
}

static void a_pass_for_nothing_costs_nothing(void **state)
{
	struct scheduler_run runs[3] = { run_of(ANA, 1, 0, 0), run_of(ANA, 2, 0, 0),
		run_of(ANA, 2, 0, 0) };

	(void)state;
	machine(10, 2, 0, 0);
	queue(&runs[0]);
	queue(&runs[1]);
	assert_int_equal(pass(), 1);
	assert_true(s.settled);
	queue(&runs[2]); /* has no room: nobody's turn comes by that */
	assert_true(s.settled);
	end(&runs[1]);
	assert_false(s.settled);
	finish(runs, 3);
}

/* Every second one waits for a GPU, so that each pass goes along all of them. */
static void ten_thousand_runs_are_a_matter_of_milliseconds(void **state)
{
	enum { COUNT = 10000, USERS = 50 };
	struct scheduler_run *runs = mem_alloc(COUNT * sizeof(*runs));
	int64_t begin, queued, passed, again, explained;

	(void)state;
	machine(64, 64, 0, 8);
	begin = thread_us();
	for (int i = 0; i < COUNT; i++) {
		runs[i] = run_of((uid_t)(2000 + i % USERS), 1 + i % 3, 1 + i % 8, 3600);
		runs[i].priority = i % 5;
		queue(&runs[i]);
	}
	queued = thread_us() - begin;
	begin = thread_us();
	assert_true(pass() > 0);
	passed = thread_us() - begin;
	end(s.given[0]);
	begin = thread_us();
	pass();
	again = thread_us() - begin;
	begin = thread_us();
	scheduler_explain(&s, now, true);
	explained = thread_us() - begin;
	print_message(
		"10000 runs of %d users: queued in %lld us, a pass %lld us, the next %lld us, "
		"explained in %lld us\n",
		USERS, (long long)queued, (long long)passed, (long long)again,
		(long long)explained);
	assert_true(passed < 50000 && again < 50000 && explained < 100000);
	finish(runs, COUNT);
	free(runs);
}

/* From the first to the last: each end makes a pass. */
static void ten_thousand_runs_one_after_the_other_cost_no_more_than_their_number(void **state)
{
	enum { COUNT = 10000 };
	struct scheduler_run *runs = mem_alloc(COUNT * sizeof(*runs));
	int64_t begin = thread_us();

	(void)state;
	machine(4, 4, 0, 0);
	for (int i = 0; i < COUNT; i++) {
		runs[i] = run_of(ANA, 1, 0, 3600);
		queue(&runs[i]);
		pass();
	}
	for (int i = 0; i < COUNT; i++) {
		assert_runs(&runs[i]);
		end(&runs[i]);
		pass();
	}
	print_message("10000 ends and passes: %lld ms\n", (long long)(thread_us() - begin) / 1000);
	assert_true(thread_us() - begin < 2 * S);
	finish(runs, COUNT);
	free(runs);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_users_runs_have_their_turn_in_order),
		cmocka_unit_test(the_higher_priority_is_first),
		cmocka_unit_test(who_has_used_less_of_late_is_before_who_came_first),
		cmocka_unit_test(a_flood_of_one_user_does_not_keep_another_waiting),
		cmocka_unit_test(users_who_are_even_take_turns_as_they_came),
		cmocka_unit_test(
			what_goes_to_the_end_is_behind_and_what_is_released_is_where_it_was),
		cmocka_unit_test(a_user_at_his_limit_is_passed_over_and_holds_up_nobody),
		cmocka_unit_test(what_has_become_too_large_holds_up_nobody),
		cmocka_unit_test(a_short_run_goes_before_the_head_and_a_long_one_does_not),
		cmocka_unit_test(a_long_run_goes_before_the_head_when_there_is_enough_for_both),
		cmocka_unit_test(spare_slots_are_spare_once),
		cmocka_unit_test(
			behind_a_run_without_a_limit_only_what_the_head_does_not_need_is_used),
		cmocka_unit_test(the_heads_user_keeps_room_in_his_limits_for_it),
		cmocka_unit_test(a_run_over_its_time_is_expected_to_end_now),
		cmocka_unit_test(the_limit_counts_from_the_begin),
		cmocka_unit_test(a_gpu_is_not_given_before_it_is_known_to_be_free),
		cmocka_unit_test(who_waits_for_a_gpu_that_is_set_aside_holds_up_nobody),
		cmocka_unit_test(what_runs_already_is_claimed_before_anything_starts),
		cmocka_unit_test(a_pass_for_nothing_costs_nothing),
		cmocka_unit_test(ten_thousand_runs_are_a_matter_of_milliseconds),
		cmocka_unit_test(
			ten_thousand_runs_one_after_the_other_cost_no_more_than_their_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
