/* SPDX-License-Identifier: MIT */
/* test_gpu_pool - looks at GPUs without blocking the loop; see agent/runs/gpu_pool.h */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "runs/gpu_pool.h"

#define DEVICE "/dev/full" /* nobody has it open */

struct fixture {
	uv_loop_t loop;
	struct gpus gpus;
	struct gpu_pool *pool;
	unsigned looks;
	unsigned ask_again; /* so often from within `changed` */
	bool freed;
};

static void on_changed(void *data)
{
	struct fixture *f = data;

	f->looks++;
	assert_true(gpu_pool_is_fresh(f->pool));
	if (f->ask_again) {
		f->ask_again--;
		gpu_pool_look(f->pool);
	}
}

static void start(struct fixture *f, const char *setting)
{
	alarm(60);
	*f = (struct fixture){ 0 };
	assert_int_equal(uv_loop_init(&f->loop), 0);
	assert_int_equal(gpus_find(setting, &f->gpus, NULL), 0);
	f->pool = gpu_pool_new(&f->loop, &f->gpus, on_changed, f);
	assert_ptr_equal(gpu_pool_gpus(f->pool), &f->gpus);
}

static void on_freed(void *data)
{
	((struct fixture *)data)->freed = true;
}

static void stop(struct fixture *f)
{
	gpu_pool_free(f->pool, on_freed, f);
	while (!f->freed)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	gpus_release(&f->gpus);
	alarm(0);
}

static void wait_for_looks(struct fixture *f, unsigned looks)
{
	while (f->looks < looks)
		uv_run(&f->loop, UV_RUN_ONCE);
}

/* A process that has the device open until it is killed. */
static pid_t hold(void)
{
	int ends[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* nor does it outlive a test that fails */
		if (open(DEVICE, O_RDONLY) >= 0 && write(ends[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void look_sees_a_stranger_come_and_go(void **state)
{
	char text[GPU_HOLDER_TEXT_SIZE];
	struct fixture f;
	pid_t pid;

	(void)state;
	start(&f, DEVICE);
	assert_false(gpu_pool_is_fresh(f.pool));
	assert_null(gpu_pool_holder(f.pool, 0));
	pid = hold();
	gpu_pool_look(f.pool);
	assert_false(gpu_pool_is_fresh(f.pool));
	wait_for_looks(&f, 1);
	assert_non_null(gpu_pool_holder(f.pool, 0));
	assert_int_equal(gpu_pool_holder(f.pool, 0)->pid, pid);
	gpu_holder_describe(gpu_pool_holder(f.pool, 0), text);
	assert_non_null(strstr(text, "in use by test_gpu_pool (pid "));
	assert_non_null(strstr(text, ", outside the queue"));
	end(pid);
	assert_non_null(gpu_pool_holder(f.pool, 0)); /* nobody has looked again */
	gpu_pool_look(f.pool);
	wait_for_looks(&f, 2);
	assert_null(gpu_pool_holder(f.pool, 0));
	stop(&f);
}

static void look_asked_for_during_one_follows_it(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, DEVICE);
	gpu_pool_look(f.pool);
	gpu_pool_look(f.pool);
	gpu_pool_look(f.pool);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_int_equal(f.looks, 2);
	f.ask_again = 3;
	gpu_pool_look(f.pool);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_int_equal(f.looks, 6);
	stop(&f);
}

static void look_is_fresh_for_a_second(void **state)
{
	struct fixture f;
	int64_t since;

	(void)state;
	start(&f, DEVICE);
	since = clock_boot();
	gpu_pool_look(f.pool);
	wait_for_looks(&f, 1);
	while (gpu_pool_is_fresh(f.pool))
		usleep(10000);
	assert_in_range(clock_boot() - since, 900000, 20000000);
	stop(&f);
}

static void watching_looks_again_and_again(void **state)
{
	struct fixture f;
	int64_t since;

	(void)state;
	start(&f, DEVICE);
	since = clock_boot();
	gpu_pool_watch(f.pool, true);
	gpu_pool_watch(f.pool, true);
	wait_for_looks(&f, 2);
	assert_in_range(clock_boot() - since, 9900000, 30000000);
	gpu_pool_watch(f.pool, false);
	uv_run(&f.loop, UV_RUN_DEFAULT); /* ends: no timer is left */
	assert_int_equal(f.looks, 2);
	stop(&f);
}

static void look_that_fails_leaves_nothing_free(void **state)
{
	char text[GPU_HOLDER_TEXT_SIZE];
	struct rlimit before, none;
	struct fixture f;

	(void)state;
	start(&f, DEVICE);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = 0;
	gpu_pool_look(f.pool);
	wait_for_looks(&f, 1); /* libuv's threads are there */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	gpu_pool_look(f.pool);
	wait_for_looks(&f, 2);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_non_null(gpu_pool_holder(f.pool, 0));
	gpu_holder_describe(gpu_pool_holder(f.pool, 0), text);
	assert_string_equal(text, "who uses it cannot be seen: Too many open files");
	gpu_pool_look(f.pool);
	wait_for_looks(&f, 3);
	assert_null(gpu_pool_holder(f.pool, 0));
	stop(&f);
}

static void pool_of_no_gpus_is_always_fresh(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, "none");
	assert_true(gpu_pool_is_fresh(f.pool));
	gpu_pool_look(f.pool);
	gpu_pool_watch(f.pool, true);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_int_equal(f.looks, 0);
	stop(&f);
}

static void free_waits_for_the_look_under_way(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, DEVICE);
	gpu_pool_watch(f.pool, true);
	gpu_pool_look(f.pool);
	stop(&f);
	assert_int_equal(f.looks, 0);
	f.freed = false;
	gpu_pool_free(NULL, on_freed, &f);
	assert_true(f.freed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(look_sees_a_stranger_come_and_go),
		cmocka_unit_test(look_asked_for_during_one_follows_it),
		cmocka_unit_test(look_is_fresh_for_a_second),
		cmocka_unit_test(watching_looks_again_and_again),
		cmocka_unit_test(look_that_fails_leaves_nothing_free),
		cmocka_unit_test(pool_of_no_gpus_is_always_fresh),
		cmocka_unit_test(free_waits_for_the_look_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
