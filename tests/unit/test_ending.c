/* SPDX-License-Identifier: MIT */
/*
 * test_ending - signals, idleness, and the time that the end may take
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#include "ending.h"

#define TIME_LIMIT_SECONDS 60

struct daemon {
	uv_loop_t loop;
	struct ending *ending;
	bool busy;
	int ended;
};

static bool is_busy(void *data)
{
	struct daemon *daemon = data;

	return daemon->busy;
}

static void end(void *data)
{
	struct daemon *daemon = data;

	daemon->ended++;
	uv_stop(&daemon->loop);
}

static void begin(struct daemon *daemon, int64_t idle_seconds)
{
	const struct ending_options options = {
		.loop = &daemon->loop,
		.idle_seconds = idle_seconds,
		.is_busy = is_busy,
		.end = end,
		.data = daemon,
	};

	alarm(TIME_LIMIT_SECONDS);
	*daemon = (struct daemon){ 0 };
	assert_int_equal(uv_loop_init(&daemon->loop), 0);
	assert_int_equal(ending_new(&options, &daemon->ending), 0);
}

static void finish(struct daemon *daemon)
{
	ending_free(daemon->ending);
	uv_run(&daemon->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&daemon->loop), 0); /* no handle is left */
}

static void a_signal_ends_it(void **state)
{
	static const int signals[] = { SIGTERM, SIGINT };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct daemon daemon;

		begin(&daemon, 0);
		raise(signals[i]);
		uv_run(&daemon.loop, UV_RUN_DEFAULT);
		assert_int_equal(daemon.ended, 1);
		finish(&daemon);
	}
}

static void have_something_to_do(uv_timer_t *timer)
{
	struct daemon *daemon = timer->data;

	assert_int_equal(daemon->ended, 0);
	daemon->busy = false;
}

static void idleness_ends_it_but_not_while_it_is_busy(void **state)
{
	struct daemon daemon;
	uv_timer_t timer;
	uint64_t began;

	(void)state;
	begin(&daemon, 1);
	daemon.busy = true;
	uv_timer_init(&daemon.loop, &timer);
	timer.data = &daemon;
	uv_timer_start(&timer, have_something_to_do, 1600, 0);
	began = uv_now(&daemon.loop);
	uv_run(&daemon.loop, UV_RUN_DEFAULT);
	assert_int_equal(daemon.ended, 1);
	assert_true(uv_now(&daemon.loop) - began >= 2600);
	uv_close((uv_handle_t *)&timer, NULL);
	finish(&daemon);
}

static void whatever_hangs_it_ends(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		if (ending_limit(1, -EBADF) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signal_ends_it),
		cmocka_unit_test(idleness_ends_it_but_not_while_it_is_busy),
		cmocka_unit_test(whatever_hangs_it_ends),
	};

	alarm(TIME_LIMIT_SECONDS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
