/* SPDX-License-Identifier: MIT */
/* test_http_limits - what one user may take of the HTTP server; see agent/http/http_server.h */
#include "http_fixture.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "http/http_internal.h"

/* ---- connections ---- */

static void connections_client(struct fixture *f)
{
	_cleanup_(closep) int one = dial(f);
	_cleanup_(closep) int two = dial(f);
	_cleanup_(closep) int three = -EBADF;
	_cleanup_(answer_release) struct answer answer = { 0 };
	char byte;

	expect_ok(one);
	expect_ok(two);
	three = dial(f);
	send_text(three, GET("/")); /* as clients do: first they speak */
	read_answer(three, &answer, true);
	assert_int_equal(answer.status, 503);
	assert_non_null(strstr(answer.head, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(answer.body.data, "too many connections"));
	assert_int_equal(recv(three, &byte, 1, 0), 0);
	three = fd_close(three);
	expect_ok(one);
	two = fd_close(two);
	/* the place is free when the server has seen it */
	do {
		fd_close(three);
		three = dial(f);
	} while (get(three, GET("/")) != 200);
}

static void user_over_his_connections_is_told_so(void **state)
{
	struct fixture f;
	struct http_statistics statistics;

	(void)state;
	fixture_init_users(&f, NULL);
	f.options.limits.max_connections_per_user = 2;
	fixture_start(&f);
	with_client(&f, connections_client);
	http_server_statistics(f.server, &statistics);
	assert_true(statistics.refused >= 1);
	assert_int_equal(statistics.accepted, 3);
	assert_int_equal(statistics.requests[5], statistics.refused);
	fixture_close(&f);
}

static void shares_client(struct fixture *f)
{
	int ana[16], bob[16], carl[16];
	unsigned anas, bobs, carls;

	become(ANA);
	anas = open_all(f, ana, 16);
	become(BOB);
	bobs = open_all(f, bob, 16);
	become(CARL);
	carls = open_all(f, carl, 16);
	become(0);
	assert_int_equal(anas, 8);
	assert_int_equal(bobs, 4);
	assert_int_equal(carls, 2);
	close_all(ana, anas);
	close_all(bob, bobs);
	close_all(carl, carls);
}

static void users_leave_room_for_the_next_user(void **state)
{
	struct fixture f;

	(void)state;
	need_root();
	fixture_init_users(&f, NULL);
	f.options.max_connections = 16;
	f.options.limits.max_connections_per_user = 100;
	fixture_start(&f);
	with_client(&f, shares_client);
	fixture_close(&f);
}

static void exempt_client(struct fixture *f)
{
	int fds[10];
	unsigned count = open_all(f, fds, 10);

	assert_int_equal(count, 10);
	for (unsigned i = 0; i < 20; i++)
		expect_ok(fds[i % 10]);
	close_all(fds, count);
}

static void root_and_the_owner_are_exempt(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init_users(&f, NULL);
	f.options.is_exempt = NULL;
	f.options.limits = (struct http_limits){ .max_connections_per_user = 1,
		.max_requests_per_second_per_user = 1 };
	fixture_start(&f);
	with_client(&f, exempt_client);
	fixture_close(&f);
}

static void flood_client(struct fixture *f)
{
	int ana[4];
	unsigned count;
	_cleanup_(closep) int bob = -EBADF;

	become(ANA);
	count = open_all(f, ana, 4);
	/* many more than may linger, none of them read */
	for (unsigned i = 0; i < 3 * HTTP_LINGERING; i++)
		fd_close(dial(f));
	become(BOB);
	bob = dial(f);
	expect_ok(bob);
	become(0);
	close_all(ana, count);
}

static void flood_of_connections_harms_nobody_else(void **state)
{
	struct fixture f;

	(void)state;
	need_root();
	fixture_init_users(&f, NULL);
	f.options.limits.max_connections_per_user = 2;
	fixture_start(&f);
	with_client(&f, flood_client);
	fixture_close(&f);
}

/* ---- descriptors ---- */

/* All descriptors but one, which connects; the spare one of the server answers it. */
static void exhausted_client(struct fixture *f)
{
	int fds[512];
	unsigned count = 0;
	int caller;
	_cleanup_(answer_release) struct answer answer = { 0 };

	while (count < 512 && (fds[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		count++;
	assert_true(count > 0 && count < 512);
	fd_close(fds[--count]);
	caller = dial(f);
	read_answer(caller, &answer, true);
	assert_int_equal(answer.status, 503);
	assert_non_null(strstr(answer.body.data, "no file descriptors"));
	caller = fd_close(caller); /* the number may be the server's by now */
	close_all(fds, count);
	/* and it comes back by itself */
	do {
		fd_close(caller);
		caller = dial(f);
	} while (get(caller, GET("/")) != 200);
	fd_close(caller);
}

static void without_descriptors_clients_are_told_and_nothing_spins(void **state)
{
	struct fixture f;
	struct rlimit before, few;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &before);
	few = before;
	few.rlim_cur = 128;
	fixture_init_users(&f, NULL);
	fixture_start(&f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	with_client(&f, exhausted_client);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_true(f.loops < 200);
	fixture_close(&f);
}

/* ---- requests ---- */

/* Requests until one is too much: how many were served. They are sent on both in turn. */
static unsigned use_up(int one, int two)
{
	_cleanup_(answer_release) struct answer answer = { 0 };
	unsigned served = 0;

	for (;;) {
		int fd = served % 2 ? two : one;

		assert_true(served < 1000);
		send_text(fd, GET("/"));
		read_answer(fd, &answer, true);
		if (answer.status != 200)
			break;
		served++;
		answer_release(&answer);
	}
	assert_int_equal(answer.status, 429);
	assert_non_null(strcasestr(answer.head, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(answer.body.data, "\"code\":\"TooManyRequests\""));
	return served;
}

/* A second's worth at once, and what came back meanwhile. */
static unsigned served_at_most(unsigned rate, int64_t since)
{
	return rate + (unsigned)(rate * (clock_boot() - since) / USEC_PER_SEC) + 1;
}

static void rate_client(struct fixture *f)
{
	_cleanup_(closep) int one = dial(f);
	_cleanup_(closep) int two = dial(f);
	int64_t since = clock_boot();
	unsigned served = use_up(one, two);

	assert_true(served >= 5);
	assert_true(served <= served_at_most(5, since));
	/* the connections live on, and the tokens come back */
	while (get(one, GET("/")) != 200)
		assert_true(clock_boot() - since < 20 * USEC_PER_SEC);
	while (get(two, GET("/")) != 200)
		assert_true(clock_boot() - since < 40 * USEC_PER_SEC);
}

static void user_over_his_rate_is_told_so(void **state)
{
	struct fixture f;
	struct http_statistics statistics;

	(void)state;
	fixture_init_users(&f, NULL);
	f.options.limits.max_requests_per_second_per_user = 5;
	fixture_start(&f);
	with_client(&f, rate_client);
	http_server_statistics(f.server, &statistics);
	assert_true(statistics.limited >= 1);
	assert_int_equal(statistics.limited, statistics.requests[4]);
	assert_int_equal(statistics.requests[2], f.handled);
	fixture_close(&f);
}

static void other_rate_client(struct fixture *f)
{
	_cleanup_(closep) int ana = -EBADF;
	_cleanup_(closep) int bob = -EBADF;
	int64_t since = clock_boot();
	unsigned served;

	become(ANA);
	ana = dial(f);
	served = use_up(ana, ana);
	become(BOB);
	bob = dial(f);
	expect_ok(bob);
	become(ANA);
	/* a new connection is the same user's */
	fd_close(ana);
	ana = dial(f);
	served += use_up(ana, ana);
	assert_true(served <= served_at_most(2, since));
	become(0);
}

static void rate_is_of_the_user_not_the_connection(void **state)
{
	struct fixture f;

	(void)state;
	need_root();
	fixture_init_users(&f, NULL);
	f.options.limits.max_requests_per_second_per_user = 2;
	fixture_start(&f);
	with_client(&f, other_rate_client);
	fixture_close(&f);
}

static void new_limits_client(struct fixture *f)
{
	_cleanup_(closep) int one = dial(f);
	_cleanup_(closep) int two = dial(f);

	expect_ok(one);
	assert_int_equal(get(two, GET("/")), 503);
}

static void new_limits_hold_at_once(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init_users(&f, NULL);
	fixture_start(&f);
	http_server_set_limits(f.server, &(struct http_limits){ .max_connections_per_user = 1 });
	with_client(&f, new_limits_client);
	fixture_close(&f);
}

/* ---- bodies in memory ---- */

static void bodies_client(struct fixture *f)
{
	_cleanup_(freep) char *bytes = mem_alloc(MAX_BODY);
	int fds[HTTP_BODIES_PER_USER + 1];
	unsigned refused = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial(f);
		send_text(fds[i], "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
		assert_int_equal(send(fds[i], bytes, MAX_BODY - 1, 0), MAX_BODY - 1);
	}
	/* the server has read more than it keeps */
	while (!__atomic_load_n(&f->server->statistics.limited, __ATOMIC_ACQUIRE))
		usleep(500);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		assert_int_equal(send(fds[i], bytes, 1, 0), 1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		int status = read_status(fds[i]);

		assert_true(status == 200 || status == 429);
		refused += status == 429;
	}
	assert_in_range(refused, 1, 3); /* they came side by side: more than one was too much */
	/* what was taken is given back */
	assert_int_equal(
		get(fds[0], "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"), 200);
	close_all(fds, ARRAY_SIZE(fds));
}

static void bodies_of_a_user_in_memory_are_bounded(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init_users(&f, NULL);
	fixture_start(&f);
	with_client(&f, bodies_client);
	fixture_close(&f);
}

/* ---- sizes ---- */

static void large_head_client(struct fixture *f)
{
	static const char *const forms[] = { "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n",
		"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" };
	static const int statuses[] = { 431, 414 };
	_cleanup_(freep) char *large = mem_alloc(200001);

	memset(large, 'a', 200000);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		_cleanup_(freep) char *text = NULL;
		_cleanup_(closep) int fd = dial(f);

		assert_true(asprintf(&text, forms[i], large) > 0);
		send(fd, text, strlen(text), MSG_NOSIGNAL); /* it need not take all of it */
		assert_int_equal(read_status(fd), statuses[i]);
	}
}

static void large_heads_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init_users(&f, NULL);
	fixture_start(&f);
	with_client(&f, large_head_client);
	assert_int_equal(f.handled, 0);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(user_over_his_connections_is_told_so),
		cmocka_unit_test(users_leave_room_for_the_next_user),
		cmocka_unit_test(root_and_the_owner_are_exempt),
		cmocka_unit_test(flood_of_connections_harms_nobody_else),
		cmocka_unit_test(without_descriptors_clients_are_told_and_nothing_spins),
		cmocka_unit_test(user_over_his_rate_is_told_so),
		cmocka_unit_test(rate_is_of_the_user_not_the_connection),
		cmocka_unit_test(new_limits_hold_at_once),
		cmocka_unit_test(bodies_of_a_user_in_memory_are_bounded),
		cmocka_unit_test(large_heads_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
