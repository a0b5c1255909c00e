/* SPDX-License-Identifier: MIT */
/* test_http_turns - who makes much work does not hold up others; see agent/http/http_server.h */
#include "http_fixture.h"

#include <semaphore.h>

#include "common/clock.h"

#define SLOW_PIECES 5

/* ---- the server side ---- */

static struct {
	sem_t still, go_on; /* "/still": the loop stands, until it is to go on */
	unsigned streams_opened;
	unsigned pieces;                        /* atomic */
	unsigned marked_handled, marked_pieces; /* as they were when "/mark" was handled; atomic */
} turns;

static void work_5ms(void)
{
	int64_t until = clock_boot() + 5000;

	while (clock_boot() < until)
		;
}

/* Pieces that take their time. */
static ssize_t slow_read(void *data, char *to, size_t size)
{
	size_t *left = data;

	work_5ms();
	__atomic_add_fetch(&turns.pieces, 1, __ATOMIC_RELEASE);
	if (!*left || !size)
		return 0;
	(*left)--;
	*to = 'x';
	return 1;
}

static void reply_slowly(struct http_request *request)
{
	static const struct http_stream_ops ops = { slow_read, count_close };
	size_t *left = NEW(size_t);

	*left = SLOW_PIECES;
	turns.streams_opened++;
	http_reply_stream(request, 200, NULL, HTTP_SIZE_UNKNOWN, &ops, left, NULL);
}

static void work(struct http_request *request)
{
	work_5ms();
	reply_what(request);
}

static void stand_still(struct http_request *request)
{
	sem_post(&turns.still);
	while (sem_wait(&turns.go_on) < 0)
		;
	reply_what(request);
}

static void mark(struct http_request *request)
{
	unsigned pieces = __atomic_load_n(&turns.pieces, __ATOMIC_ACQUIRE);

	__atomic_store_n(&turns.marked_pieces, pieces, __ATOMIC_RELEASE);
	__atomic_store_n(&turns.marked_handled, current->handled, __ATOMIC_RELEASE);
	reply_what(request);
}

static const struct behaviour behaviours[] = {
	{ "/slow", reply_slowly },
	{ "/work", work },
	{ "/still", stand_still },
	{ "/mark", mark },
	{ 0 },
};

static void start(struct fixture *f)
{
	memset(&turns, 0, sizeof(turns));
	sem_init(&turns.still, 0, 0);
	sem_init(&turns.go_on, 0, 0);
	fixture_init_users(f, behaviours);
	fixture_start(f);
}

static void stop(struct fixture *f)
{
	fixture_close(f);
	sem_destroy(&turns.still);
	sem_destroy(&turns.go_on);
}

/* ---- the client side ---- */

/* From here until let_go_on() the server's loop stands: what is sent meanwhile is there all at
 * once. */
static void make_stand(int fd)
{
	send_text(fd, GET("/still"));
	while (sem_wait(&turns.still) < 0)
		;
}

static void let_go_on(void)
{
	sem_post(&turns.go_on);
}

/* A connection of BOB's; ANA then has as many as `ana` holds. */
static int dial_beside(struct fixture *f, int *ana, unsigned count)
{
	int bob;

	become(BOB);
	bob = dial(f);
	expect_ok(bob);
	become(ANA);
	assert_int_equal(open_all(f, ana, count), count);
	become(0);
	return bob;
}

/* ---- requests ---- */

static void turns_client(struct fixture *f)
{
	int ana[64];
	_cleanup_(closep) int bob = -EBADF;
	_cleanup_(closep) int other = -EBADF;

	bob = dial_beside(f, ana, ARRAY_SIZE(ana));
	other = dial(f);
	make_stand(other);
	for (size_t i = 0; i < ARRAY_SIZE(ana); i++)
		send_text(ana[i], GET("/work"));
	send_text(bob, GET("/mark"));
	let_go_on();
	expect_answer(other);
	expect_answer(bob);
	/* those of ana that were before him are few of her 64 */
	assert_true(__atomic_load_n(&turns.marked_handled, __ATOMIC_ACQUIRE) < 67 + 32);
	for (size_t i = 0; i < ARRAY_SIZE(ana); i++) {
		expect_answer(ana[i]);
		fd_close(ana[i]);
	}
}

static void requests_of_one_user_do_not_hold_up_anothers(void **state)
{
	struct fixture f;

	(void)state;
	need_root();
	start(&f);
	with_client(&f, turns_client);
	assert_int_equal(f.handled, 3 + 2 * 64);
	stop(&f);
}

static void leaving_turns_client(struct fixture *f)
{
	int fds[32];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial(f);
		send_text(fds[i], GET("/work"));
	}
	close_all(fds, ARRAY_SIZE(fds));
}

static void clients_may_leave_before_their_turn(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, leaving_turns_client);
	with_client(&f, leaving_turns_client);
	stop(&f); /* with requests that were put off, most likely */
}

/* ---- streams ---- */

static void stream_turns_client(struct fixture *f)
{
	int ana[48];
	_cleanup_(closep) int bob = -EBADF;
	_cleanup_(closep) int other = -EBADF;

	bob = dial_beside(f, ana, ARRAY_SIZE(ana));
	other = dial(f);
	make_stand(other);
	for (size_t i = 0; i < ARRAY_SIZE(ana); i++)
		send_text(ana[i], GET("/slow"));
	for (unsigned i = 0, before = 0; i < 5; i++) {
		send_text(bob, GET("/mark"));
		let_go_on();
		expect_answer(other);
		expect_answer(bob);
		/* not one of each of her streams */
		assert_true(__atomic_load_n(&turns.marked_pieces, __ATOMIC_ACQUIRE) < before + 16);
		make_stand(other);
		before = __atomic_load_n(&turns.pieces, __ATOMIC_ACQUIRE);
	}
	let_go_on();
	expect_answer(other);
	/* Some of them leave while they wait for their turn. */
	for (size_t i = 0; i < ARRAY_SIZE(ana); i++) {
		char text[4096] = "";

		for (size_t used = 0; i % 2 && !strstr(text, "\r\n0\r\n\r\n");) {
			ssize_t n = recv(ana[i], text + used, sizeof(text) - used - 1, 0);

			assert_true(n > 0);
			text[used += (size_t)n] = '\0';
		}
		fd_close(ana[i]);
	}
}

static void streams_of_one_user_do_not_hold_up_another(void **state)
{
	struct fixture f;

	(void)state;
	need_root();
	start(&f);
	with_client(&f, stream_turns_client);
	stop(&f);
	assert_true(turns.streams_opened >= 24 && turns.streams_opened <= 48);
	assert_int_equal(f.streams_closed, turns.streams_opened);
}

static void lone_stream_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	char text[4096];
	size_t used = 0;
	ssize_t n;

	send_text(fd, "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	while ((n = recv(fd, text + used, sizeof(text) - used, 0)) > 0)
		used += (size_t)n;
	assert_int_equal(n, 0);
	assert_memory_equal(text + used - 5, "0\r\n\r\n", 5);
}

/* Each of its pieces is more than a turn, and nothing else happens that would give it the next. */
static void stream_that_is_put_off_goes_on_by_itself(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, lone_stream_client);
	stop(&f);
	assert_int_equal(f.streams_closed, 1);
	assert_int_equal(turns.pieces, SLOW_PIECES + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_of_one_user_do_not_hold_up_anothers),
		cmocka_unit_test(clients_may_leave_before_their_turn),
		cmocka_unit_test(streams_of_one_user_do_not_hold_up_another),
		cmocka_unit_test(stream_that_is_put_off_goes_on_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
