/* SPDX-License-Identifier: MIT */
/* test_run_gpus - GPUs are given to runs when nobody uses them, to one at a time, and come back */
#include "run_fixture.h"

#include "common/strv.h"
#include "fake_gpu_pool.h"
#include "runs/run_live.h"

static struct gpu items[] = { { .id = "GPU-a" }, { .id = "GPU-b" } };
static const struct gpus gpus = { .items = items, .count = ARRAY_SIZE(items) };

static int set_up_gpus(void **state)
{
	(void)state;
	fixture_init(&f, 4);
	f.gpus = &gpus;
	f.queue.cpus = 8;
	fixture_open(&f);
	return 0;
}

static int tear_down_gpus(void **state)
{
	return tear_down(state);
}

#define GPU_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_gpus, tear_down_gpus)

static char *submit_gpus(int count)
{
	_cleanup_(freep) char *more =
		mem_printf("\"command\": \"true\", \"resources\": {\"gpus\": %d}", count);

	return submit(&f, more);
}

static void assert_gpus(const char *run_id, const char *a, const char *b)
{
	struct run_record record = record_of(&f, run_id);

	assert_int_equal(strv_length(record.gpu_ids), (a != NULL) + (b != NULL));
	if (a)
		assert_string_equal(record.gpu_ids[0], a);
	if (b)
		assert_string_equal(record.gpu_ids[1], b);
	run_record_release(&record);
}

static void assert_uses(enum gpu_use first, enum gpu_use second)
{
	struct run_holdings holdings;

	run_manager_holdings(f.manager, &holdings);
	assert_int_equal(holdings.gpu_count, 2);
	assert_int_equal(holdings.gpus[0].use, first);
	assert_int_equal(holdings.gpus[1].use, second);
	for (size_t i = 0; i < 2; i++) {
		assert_true(!holdings.gpus[i].run_id == (holdings.gpus[i].use != GPU_HELD));
		assert_true(!holdings.gpus[i].reason == (holdings.gpus[i].use != GPU_ASIDE));
	}
	run_holdings_release(&holdings);
}

/* ---- given ---- */

static void a_gpu_is_given_after_a_look_that_found_nobody(void **state)
{
	_cleanup_(freep) char *first = submit_gpus(1);
	_cleanup_(freep) char *second = NULL;
	_cleanup_(freep) char *plain = NULL;

	(void)state;
	assert_true(fake_gpu_pool_looks());
	assert_state(&f, first, RUN_QUEUED);
	assert_waits_for(&f, first,
		"waits for 1 GPU: whether anybody uses it outside the queue is being looked at");
	plain = submit(&f, NULL); /* waits for no look */
	until_running(&f, plain);
	fake_gpu_pool_answer();
	assert_state(&f, first, RUN_PREPARING);
	assert_gpus(first, "GPU-a", NULL);
	second = submit_gpus(1); /* the look is fresh */
	assert_gpus(second, "GPU-b", NULL);
	assert_false(fake_gpu_pool_looks());
	assert_uses(GPU_HELD, GPU_HELD);
	assert_false(fake_gpu_pool_watched());
	until_running(&f, first);
	until_running(&f, second);
}

static void it_is_durable_before_the_start(void **state)
{
	_cleanup_(freep) char *run_id = submit_gpus(2);
	struct run_record record;

	(void)state;
	fake_gpu_pool_answer();
	until_held(&f, run_id);
	record = stored_record_of(&f, run_id);
	assert_int_equal(strv_length(record.gpu_ids), 2);
	assert_string_equal(record.gpu_ids[1], "GPU-b");
	run_record_release(&record);
}

static void one_that_comes_back_is_looked_at_before_it_is_given_on(void **state)
{
	_cleanup_(freep) char *first = submit_gpus(2);
	_cleanup_(freep) char *second = submit_gpus(1);
	_cleanup_(freep) char *me = my_name();
	_cleanup_(freep) char *held = mem_printf("waits for 1 GPU: 2 of 2 are held (%s 2)", me);

	(void)state;
	fake_gpu_pool_answer();
	until_running(&f, first);
	assert_waits_for(&f, second, held);
	assert_false(fake_gpu_pool_looks());
	end_run(&f, first, 0);
	assert_true(fake_gpu_pool_looks()); /* though the last one was a moment ago */
	assert_state(&f, second, RUN_QUEUED);
	fake_gpu_pool_answer();
	until_running(&f, second);
	assert_gpus(second, "GPU-a", NULL);
	end_run(&f, second, 0);
	until_over(&f, second);
	assert_gpus(second, "GPU-a", NULL); /* it had it */
	assert_uses(GPU_FREE, GPU_FREE);
}

static void one_that_could_not_be_started_gives_it_back(void **state)
{
	_cleanup_(freep) char *run_id = submit_gpus(2);

	(void)state;
	fake_gpu_pool_answer();
	until_held(&f, run_id);
	fake_executor_not_started(f.fake, run_id, -ENOSPC);
	assert_state(&f, run_id, RUN_QUEUED);
	assert_gpus(run_id, NULL, NULL);
	assert_uses(GPU_FREE, GPU_FREE);
	hurry(&f);
	until(&f, fake_gpu_pool_looks());
	until(&f, counts_of(&f).queued == 1);
	turn_for(&f, 20000);
	fake_gpu_pool_answer();
	run_to_end(&f, run_id, 0);
}

static void more_than_there_are_is_refused(void **state)
{
	struct answer answer = { 0 };

	(void)state;
	submit_begin(&f, "\"command\": \"true\", \"resources\": {\"gpus\": 3}", &answer);
	assert_int_equal(answer.count, 1);
	assert_int_equal(answer.err.code, -EINVAL);
	assert_string_equal(answer.err.target, "resources.gpus");
	assert_string_equal(answer.err.message,
		"resources.gpus: 3 were asked for and this machine gives out 2");
	answer_release(&answer);
}

/* ---- strangers ---- */

static void one_that_a_stranger_uses_is_set_aside_until_he_is_gone(void **state)
{
	_cleanup_(freep) char *both = submit_gpus(2);
	_cleanup_(freep) char *one = submit_gpus(1);
	_cleanup_(freep) char *me = my_name();
	_cleanup_(freep) char *why = mem_printf("waits for 2 GPUs: 1 of 2 is held (%s 1); GPU 1 is "
						"set aside: in use by python3 (pid 4711) of bob, "
						"outside the queue",
		me);

	(void)state;
	fake_gpu_pool_use(1, "bob");
	fake_gpu_pool_answer();
	assert_state(&f, both, RUN_QUEUED);
	until_running(&f, one); /* the free one */
	assert_gpus(one, "GPU-a", NULL);
	assert_uses(GPU_HELD, GPU_ASIDE);
	assert_waits_for(&f, both, why);
	assert_true(fake_gpu_pool_watched());
	end_run(&f, one, 0);
	fake_gpu_pool_answer();
	assert_state(&f, both, RUN_QUEUED);
	fake_gpu_pool_use(1, NULL);
	fake_gpu_pool_age();
	gpu_pool_look(f.manager->gpu_pool); /* the timer's */
	fake_gpu_pool_answer();
	until_running(&f, both);
	assert_gpus(both, "GPU-a", "GPU-b");
	assert_false(fake_gpu_pool_watched());
}

static void a_stranger_of_long_ago_is_looked_for_again(void **state)
{
	_cleanup_(freep) char *first = submit_gpus(2);
	_cleanup_(freep) char *second = NULL;
	struct answer answer = { 0 };

	(void)state;
	fake_gpu_pool_use(0, "bob");
	fake_gpu_pool_answer();
	cancel(&f, first, &answer);
	until(&f, answer.count);
	assert_false(fake_gpu_pool_watched()); /* nobody waits */
	fake_gpu_pool_use(0, NULL);
	fake_gpu_pool_age();
	second = submit_gpus(2);
	assert_true(fake_gpu_pool_looks());
	fake_gpu_pool_answer();
	until_running(&f, second);
	answer_release(&answer);
}

static void who_shares_it_with_a_run_sets_it_aside_when_the_run_is_over(void **state)
{
	_cleanup_(freep) char *first = submit_gpus(2);
	_cleanup_(freep) char *second = submit_gpus(2);

	(void)state;
	fake_gpu_pool_answer();
	until_running(&f, first);
	fake_gpu_pool_use(0, "root"); /* the run itself, or anybody */
	fake_gpu_pool_age();
	gpu_pool_look(f.manager->gpu_pool);
	fake_gpu_pool_answer();
	assert_uses(GPU_HELD, GPU_HELD);
	fake_gpu_pool_use(0, "bob");
	end_run(&f, first, 0);
	fake_gpu_pool_answer();
	assert_state(&f, second, RUN_QUEUED);
	assert_uses(GPU_ASIDE, GPU_FREE);
}

static void a_drained_node_watches_nobody(void **state)
{
	_cleanup_(freep) char *run_id = submit_gpus(2);
	struct answer drained = { 0 }, resumed = { 0 };

	(void)state;
	fake_gpu_pool_use(0, "bob");
	fake_gpu_pool_answer();
	assert_true(fake_gpu_pool_watched());
	run_manager_drain(f.manager, 0, "new cards", answered, &drained);
	until(&f, drained.count);
	assert_false(fake_gpu_pool_watched());
	run_manager_resume(f.manager, 0, answered, &resumed);
	until(&f, resumed.count);
	assert_true(fake_gpu_pool_watched());
	fake_gpu_pool_use(0, NULL);
	fake_gpu_pool_answer();
	until_running(&f, run_id);
}

/* ---- a new daemon ---- */

static void the_next_daemon_knows_who_holds_what(void **state)
{
	_cleanup_(freep) char *first = submit_gpus(1);
	_cleanup_(freep) char *second = submit_gpus(1);
	_cleanup_(freep) char *third = submit_gpus(1);

	(void)state;
	fake_gpu_pool_answer();
	until_running(&f, first);
	until_running(&f, second);
	end_run(&f, first, 0);
	until_over(&f, first);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, second, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	assert_uses(GPU_FREE, GPU_HELD);
	assert_gpus(second, "GPU-b", NULL);
	assert_true(fake_gpu_pool_looks());
	fake_gpu_pool_answer();
	assert_gpus(third, "GPU-a", NULL);
	until_running(&f, third);
	end_run(&f, second, 0);
	end_run(&f, third, 0);
	until_over(&f, second);
	until_over(&f, third);
	assert_uses(GPU_FREE, GPU_FREE);
}

/* The first run's outputs wait for room, without a slot: its GPU is another's. */
static void a_finalizing_run_holds_no_gpu_after_a_restart(void **state)
{
	_cleanup_(freep) char *first = submit_gpus(2);
	_cleanup_(freep) char *second = NULL;

	(void)state;
	fake_gpu_pool_answer();
	until_running(&f, first);
	until(&f, stored_state_of(&f, first) == RUN_RUNNING);
	descriptors_are(false);
	end_run(&f, first, 0);
	until(&f, run_live_find(f.manager, first)->owed & OWED_OUTPUTS);
	until(&f, stored_state_of(&f, first) == RUN_FINALIZING);
	descriptors_are(true);
	run_live_find(f.manager, first)->collect_at_us = INT64_MAX;
	second = submit_gpus(2);
	fake_gpu_pool_answer();
	until_running(&f, second);
	until(&f, stored_state_of(&f, second) == RUN_RUNNING);
	fixture_close(&f);
	fixture_start(&f);
	fake_executor_will_find(f.fake, first, EXECUTOR_ENDED);
	fake_executor_will_find(f.fake, second, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 2);
	end_run(&f, first, 0);
	until_over(&f, first);
	assert_uses(GPU_HELD, GPU_HELD);
	end_run(&f, second, 0);
	until_over(&f, second);
	assert_uses(GPU_FREE, GPU_FREE);
}

static void a_gpu_that_is_gone_is_no_harm(void **state)
{
	static const struct gpus one = { .items = items, .count = 1 };
	_cleanup_(freep) char *run_id = submit_gpus(2);

	(void)state;
	fake_gpu_pool_answer();
	until_running(&f, run_id);
	fixture_close(&f);
	f.gpus = &one;
	fixture_start(&f);
	fake_executor_will_find(f.fake, run_id, EXECUTOR_LIVES);
	assert_int_equal(run_manager_recover(f.manager, NULL), 1);
	assert_gpus(run_id, "GPU-a", "GPU-b"); /* it has them */
	end_run(&f, run_id, 0);
	until_over(&f, run_id);
	assert_counts(&f, 0, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		GPU_TEST(a_gpu_is_given_after_a_look_that_found_nobody),
		GPU_TEST(it_is_durable_before_the_start),
		GPU_TEST(one_that_comes_back_is_looked_at_before_it_is_given_on),
		GPU_TEST(one_that_could_not_be_started_gives_it_back),
		GPU_TEST(more_than_there_are_is_refused),
		GPU_TEST(one_that_a_stranger_uses_is_set_aside_until_he_is_gone),
		GPU_TEST(a_stranger_of_long_ago_is_looked_for_again),
		GPU_TEST(who_shares_it_with_a_run_sets_it_aside_when_the_run_is_over),
		GPU_TEST(a_drained_node_watches_nobody),
		GPU_TEST(the_next_daemon_knows_who_holds_what),
		GPU_TEST(a_finalizing_run_holds_no_gpu_after_a_restart),
		GPU_TEST(a_gpu_that_is_gone_is_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
