/* SPDX-License-Identifier: MIT */
/* test_user_work - a user whose files hang keeps two threads, and nobody else waiting */
#include <semaphore.h>

#include "test.h"

#include "common/cleanup.h"
#include "runs/user_work.h"

#define ANA 1001
#define BOB 1002

struct job {
	struct user_work work;
	sem_t *gate; /* it hangs until this */
	int done;    /* the how many-th that came back */
};

static uv_loop_t loop;
static struct user_works works;
static int done;

static void run(struct user_work *work)
{
	struct job *job = container_of(work, struct job, work);

	while (job->gate && sem_wait(job->gate) < 0)
		;
}

static void finished(struct user_work *work)
{
	container_of(work, struct job, work)->done = ++done;
}

static int set_up(void **state)
{
	(void)state;
	setenv("UV_THREADPOOL_SIZE", "4", 1);
	alarm(60);
	done = 0;
	uv_loop_init(&loop);
	user_works_init(&works, &loop);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(TAILQ_EMPTY(&works.lanes));
	assert_int_equal(uv_loop_close(&loop), 0);
	alarm(0);
	return 0;
}

static void queue(struct job *job, uid_t uid, bool limited)
{
	user_work_queue(&works, uid, limited, &job->work, run, finished);
}

static void two_of_his_hang_and_the_others_go_on(void **state)
{
	struct job his[6] = { 0 }, hers[20] = { 0 };
	int first;
	sem_t gate;

	(void)state;
	sem_init(&gate, 0, 0);
	for (int i = 0; i < 6; i++) {
		his[i].gate = &gate;
		queue(&his[i], ANA, true);
	}
	for (int i = 0; i < 20; i++)
		queue(&hers[i], BOB, true);
	while (done < 20)
		uv_run(&loop, UV_RUN_ONCE);
	for (int i = 0; i < 6; i++)
		assert_int_equal(his[i].done, 0);
	for (int i = 0; i < 20; i++)
		assert_true(hers[i].done > 0);
	for (int i = 0; i < 6; i++)
		sem_post(&gate);
	uv_run(&loop, UV_RUN_DEFAULT);
	/* Two at a time: the others begin when one of the first two is back. */
	first = his[0].done < his[1].done ? his[0].done : his[1].done;
	for (int i = 2; i < 6; i++)
		assert_true(his[i].done > 20 && his[i].done > first);
	sem_destroy(&gate);
}

static void what_is_not_limited_is_not_counted(void **state)
{
	struct job stuck[2] = { 0 }, free_one = { 0 };
	sem_t gate;

	(void)state;
	sem_init(&gate, 0, 0);
	for (int i = 0; i < 2; i++) {
		stuck[i].gate = &gate;
		queue(&stuck[i], ANA, true);
	}
	queue(&free_one, ANA, false);
	while (!free_one.done)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(done, 1);
	for (int i = 0; i < 2; i++)
		sem_post(&gate);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(done, 3);
	sem_destroy(&gate);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			two_of_his_hang_and_the_others_go_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_is_not_limited_is_not_counted, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
