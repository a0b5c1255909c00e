/* SPDX-License-Identifier: MIT */
/* test_queue_words - every reason for which a run waits, in words */
#include "test.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "runs/queue_words.h"

#define GIB (INT64_C(1) << 30)
#define ANA 1001
#define BOB 1002

static struct scheduler s;
static int64_t now = 1000 * USEC_PER_SEC;

static const char *user(void *data, uid_t uid)
{
	(void)data;
	return uid == ANA ? "ana" : uid == BOB ? "bob" : NULL;
}

static char *aside(void *data, size_t gpu)
{
	(void)data;
	return mem_printf("because of %zu", gpu);
}

static const struct queue_names names = { user, aside, NULL };

static void machine(struct scheduler_limits limits)
{
	const struct slots_amount total = { 3, 4, 16 * GIB, 0 };

	scheduler_init(&s, 2, 86400 * USEC_PER_SEC);
	scheduler_set_limits(&s, &total, &limits);
}

static struct scheduler_run run_of(uid_t uid, int64_t cpus, int64_t memory, int64_t gpus)
{
	return (struct scheduler_run){ .uid = uid, .wants = { 1, cpus, memory, gpus } };
}

static void hold(struct scheduler_run *run)
{
	const size_t gpus[] = { 0, 1 };

	scheduler_claim(&s, run, gpus, (size_t)run->wants.gpus, now, now);
}

static void assert_words(struct scheduler_run *run, bool gpus_known, const char *text)
{
	_cleanup_(freep) char *words = NULL;

	scheduler_explain(&s, now, gpus_known);
	words = queue_words(&s, run, &names);
	assert_string_equal(words, text);
}

static void end(struct scheduler_run *runs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		scheduler_remove(&s, &runs[i], now);
	scheduler_release(&s);
}

static void what_others_hold(void **state)
{
	static const struct {
		struct slots_amount ana, bob, wants;
		const char *words;
	} cases[] = {
		{ { 1, 1, 0, 1 }, { 1, 1, 0, 0 }, { 1, 1, 0, 2 },
			"waits for 2 GPUs: 1 of 2 is held (ana 1)" },
		{ { 1, 3, 0, 0 }, { 1, 1, 0, 0 }, { 1, 1, 0, 0 },
			"waits for 1 CPU: 4 of 4 are held (ana 3, bob 1)" },
		{ { 1, 1, 8 * GIB, 0 }, { 1, 1, 6 * GIB, 0 }, { 1, 1, 3 * GIB, 0 },
			"waits for 3.0 GiB of memory: 14.0 GiB of 16.0 GiB are held (ana 8.0 GiB, "
			"bob 6.0 GiB)" },
		{ { 1, 1, 0, 0 }, { 2, 1, 0, 0 }, { 1, 1, 0, 0 },
			"waits for a place: 3 of 3 are taken (ana 1, bob 2), as many runs as may "
			"go at once (max_running_runs)" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scheduler_run runs[] = { { .uid = ANA, .wants = cases[i].ana },
			{ .uid = BOB, .wants = cases[i].bob },
			{ .uid = 1234, .wants = cases[i].wants } };

		machine((struct scheduler_limits){ 0 });
		hold(&runs[0]);
		hold(&runs[1]);
		scheduler_queue(&s, &runs[2], true);
		assert_words(&runs[2], true, cases[i].words);
		end(runs, ARRAY_SIZE(runs));
	}
}

static void what_those_before_it_wait_for(void **state)
{
	struct scheduler_run runs[] = { run_of(ANA, 4, 0, 0), run_of(ANA, 1, 0, 0),
		run_of(ANA, 1, 0, 0), run_of(ANA, 1, 0, 0), run_of(ANA, 1, 0, 1) };

	(void)state;
	machine((struct scheduler_limits){ 0 });
	hold(&runs[0]);
	for (int i = 1; i < 5; i++)
		scheduler_queue(&s, &runs[i], true);
	assert_words(&runs[1], true, "waits for 1 CPU: 4 of 4 are held (ana 4)");
	assert_words(&runs[2], true, "1 run before it waits for CPUs");
	assert_words(&runs[3], true, "2 runs before it wait for CPUs");
	assert_words(&runs[4], true, "3 runs before it wait for CPUs");
	end(runs, ARRAY_SIZE(runs));
}

static void gpus_that_are_set_aside(void **state)
{
	struct scheduler_run runs[] = { run_of(BOB, 1, 0, 1), run_of(ANA, 1, 0, 2) };

	(void)state;
	machine((struct scheduler_limits){ 0 });
	scheduler_set_aside(&s, 1, true);
	scheduler_queue(&s, &runs[1], true);
	assert_words(&runs[1], true, "waits for 2 GPUs: GPU 1 is set aside: because of 1");
	hold(&runs[0]);
	assert_words(&runs[1], true,
		"waits for 2 GPUs: 1 of 2 is held (bob 1); GPU 1 is set aside: because of 1");
	end(runs, ARRAY_SIZE(runs));
}

static void gpus_that_are_being_looked_at(void **state)
{
	struct scheduler_run runs[] = { run_of(ANA, 1, 0, 1) };

	(void)state;
	machine((struct scheduler_limits){ 0 });
	scheduler_queue(&s, &runs[0], true);
	assert_words(&runs[0], false,
		"waits for 1 GPU: whether anybody uses it outside the queue is being looked at");
	assert_words(&runs[0], true, "is about to be started");
	end(runs, ARRAY_SIZE(runs));
}

static void a_limit_of_ones_own(void **state)
{
	static const struct {
		struct scheduler_limits limits;
		const char *words;
	} cases[] = {
		{ { .runs = 1 },
			"ana has 1 run going, the limit per user is 1 (max_running_runs_per_user)" },
		{ { .cpus = 3 },
			"ana holds 2 CPUs and this run asks for 2: the limit per user is 3 "
			"(max_cpus_per_user)" },
		{ { .gpus = 1 }, "ana holds 1 GPU and this run asks for 1: the limit per user is 1 "
				 "(max_gpus_per_user)" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scheduler_run runs[] = { run_of(ANA, 2, 0, 1), run_of(ANA, 2, 0, 1) };

		machine(cases[i].limits);
		hold(&runs[0]);
		scheduler_queue(&s, &runs[1], true);
		assert_words(&runs[1], true, cases[i].words);
		end(runs, ARRAY_SIZE(runs));
	}
}

static void what_the_machine_has_no_more(void **state)
{
	struct scheduler_run runs[] = { run_of(ANA, 5, 0, 0), run_of(ANA, 1, 20 * GIB, 0) };

	(void)state;
	machine((struct scheduler_limits){ 0 });
	for (int i = 0; i < 2; i++)
		scheduler_queue(&s, &runs[i], true);
	assert_words(&runs[0], true,
		"asks for 5 CPUs and this machine gives out 4 now: cancel it, or have the "
		"configuration changed");
	assert_words(&runs[1], true,
		"asks for 20.0 GiB of memory and this machine gives out 16.0 GiB now: cancel it, "
		"or have the configuration changed");
	end(runs, ARRAY_SIZE(runs));
}

static void behind_the_head(void **state)
{
	struct scheduler_run runs[] = { run_of(ANA, 2, 0, 0), run_of(BOB, 4, 0, 0),
		run_of(BOB, 1, 0, 0) };

	(void)state;
	machine((struct scheduler_limits){ 0 });
	hold(&runs[0]);
	for (int i = 1; i < 3; i++)
		scheduler_queue(&s, &runs[i], true);
	assert_words(&runs[2], true,
		"there is room for it now, but a run before it, which waits for "
		"CPUs, could then start later than without it");
	end(runs, ARRAY_SIZE(runs));
}

static void many_users_are_counted(void **state)
{
	enum { COUNT = 12 };
	struct scheduler_run runs[COUNT + 1];
	const struct slots_amount total = { 100, COUNT, 0, 0 };
	const struct scheduler_limits none = { 0 };

	(void)state;
	machine(none);
	scheduler_set_limits(&s, &total, &none);
	for (int i = 0; i <= COUNT; i++) {
		runs[i] = run_of((uid_t)(3000 + i), 1, 0, 0);
		if (i < COUNT)
			hold(&runs[i]);
	}
	scheduler_queue(&s, &runs[COUNT], true);
	assert_words(&runs[COUNT], true,
		"waits for 1 CPU: 12 of 12 are held (user 3000 1, user 3001 1, user 3002 1, user "
		"3003 1, user 3004 1, user 3005 1, user 3006 1, user 3007 1 and 4 more)");
	end(runs, ARRAY_SIZE(runs));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_others_hold),
		cmocka_unit_test(what_those_before_it_wait_for),
		cmocka_unit_test(gpus_that_are_set_aside),
		cmocka_unit_test(gpus_that_are_being_looked_at),
		cmocka_unit_test(a_limit_of_ones_own),
		cmocka_unit_test(what_the_machine_has_no_more),
		cmocka_unit_test(behind_the_head),
		cmocka_unit_test(many_users_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
