/* SPDX-License-Identifier: MIT */
/* test_http_end - clients that leave, that rest, that are left; see agent/http/http_server.h */
#include "http_fixture.h"

/* ---- the server side ---- */

static struct http_request *kept; /* of /keep */
static struct http_request *held; /* of /held */
static unsigned closed;

static void on_kept_closed(struct http_request *request)
{
	assert_ptr_equal(request, kept);
	closed++;
	kept = NULL;
	http_reply(request, 200, NULL, "nobody", 6, NULL);
}

static void keep(struct http_request *request)
{
	kept = request;
	http_request_on_closed(request, on_kept_closed);
}

/* The test replies. */
static void hold(struct http_request *request)
{
	held = request;
}

static const struct behaviour behaviours[] = {
	{ "/keep", keep },
	{ "/held", hold },
	{ 0 },
};

static void prepare(struct fixture *f)
{
	closed = 0;
	fixture_init(f, behaviours);
}

/* A server as prepare() makes it, and all that the client does with it. */
static void meet(struct fixture *f, void (*client)(struct fixture *f))
{
	prepare(f);
	fixture_start(f);
	with_client(f, client);
}

/* ---- the client leaves ---- */

static void half_closed_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, GET("/later"));
	shutdown(fd, SHUT_WR);
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer.body.data, "later");
}

static void half_closed_stream_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, GET("/pieces"));
	shutdown(fd, SHUT_WR);
	read_answer(fd, &answer, true);
	assert_int_equal(answer.body.size, PIECES_BYTES);
	assert_true(answer.whole);
}

static void client_that_half_closes_is_still_answered(void **state)
{
	struct fixture f;

	(void)state;
	meet(&f, half_closed_client);
	with_client(&f, half_closed_stream_client);
	fixture_close(&f);
}

static void leaving_client(struct fixture *f)
{
	_cleanup_(closep) int waiting = dial(f);
	_cleanup_(closep) int streaming = dial(f);
	_cleanup_(closep) int halves = dial(f);

	send_text(waiting, GET("/keep"));
	send_text(streaming, GET("/never"));
	expect(halves, GET("/later"), 200, "later"); /* so that the others sleep by now */
	send_text(halves, GET("/never"));
	shutdown(halves, SHUT_WR);
	waiting = fd_close(waiting);
	streaming = fd_close(streaming);
	later_client(f);
}

/* Beside a connection that stays open and idle (this thread never closes it), so that nothing else
 * happens on the server that could clean up by the way. */
static void leaving_stream_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer = { 0 };

	expect(dial(f), GET("/later"), 200, "later");
	send_text(fd, GET("/never"));
	assert_true(read_head(fd, &answer));
}

static void client_that_leaves_is_noticed(void **state)
{
	struct fixture f;

	(void)state;
	meet(&f, leaving_client);
	wait_for_connections(&f, 0);
	assert_int_equal(closed, 1);
	assert_int_equal(f.streams_closed, 2);
	with_client(&f, leaving_stream_client);
	wait_for_connections(&f, 1);
	assert_int_equal(f.streams_closed, 3);
	fixture_close(&f);
}

/* ---- nobody does anything ---- */

static void idle_out_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	char byte;

	expect(fd, GET("/later"), 200, "later");
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void idle_connection_is_closed(void **state)
{
	struct fixture f;

	(void)state;
	prepare(&f);
	f.options.idle_timeout_seconds = 1;
	fixture_start(&f);
	with_client(&f, idle_out_client);
	fixture_close(&f);
}

static void on_deadline(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void no_client(struct fixture *f)
{
	expect(dial(f), GET("/what"), 200, "GET /what|-|1|1");
}

static void idle_server_does_not_wake_up(void **state)
{
	struct fixture f;
	uv_timer_t timer;

	(void)state;
	prepare(&f);
	f.options.idle_timeout_seconds = 30;
	fixture_start(&f);
	with_client(&f, no_client);
	uv_timer_init(&f.loop, &timer);
	uv_timer_start(&timer, on_deadline, 300, 0);
	f.loops = 0;
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_true(f.loops <= 3);
	uv_close((uv_handle_t *)&timer, NULL);
	fixture_close(&f);
}

static void short_client(struct fixture *f)
{
	_cleanup_(closep) int one = dial(f);
	_cleanup_(closep) int two = dial(f);

	expect(one, GET("/what"), 200, "GET /what|-|1|1");
	expect(two, GET("/what"), 200, "GET /what|-|1|1");
}

static void count_timer(uv_handle_t *handle, void *data)
{
	unsigned *count = data;

	*count += handle->type == UV_TIMER && uv_is_active(handle);
}

static void nothing_is_timed_when_all_have_left(void **state)
{
	struct fixture f;
	unsigned timers = 0;

	(void)state;
	prepare(&f);
	f.options.limits.request_timeout_seconds = 10;
	f.options.idle_timeout_seconds = 30;
	fixture_start(&f);
	with_client(&f, short_client);
	wait_for_connections(&f, 0);
	uv_run(&f.loop, UV_RUN_NOWAIT);
	uv_walk(&f.loop, count_timer, &timers);
	assert_int_equal(timers, 0);
	fixture_close(&f);
}

/* ---- the server ends ---- */

static void open_ends_client(struct fixture *f)
{
	static int fds[3]; /* left open */

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = dial(f);
	send_text(fds[0], GET("/keep"));
	send_text(fds[1], GET("/never"));
	send_text(fds[2], "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhell");
	expect(dial(f), GET("/later"), 200, "later");
}

static void free_ends_what_is_open(void **state)
{
	struct fixture f;

	(void)state;
	prepare(&f);
	f.options.idle_timeout_seconds = 30;
	fixture_start(&f);
	with_client(&f, open_ends_client);
	fixture_close(&f);
	assert_int_equal(closed, 1);
	assert_int_equal(f.streams_closed, 1);
}

static void unanswered_client(struct fixture *f)
{
	send_text(dial(f), GET("/later"));
	await_count(&f->handled, 1);
}

static void free_waits_for_the_replies_still_owed(void **state)
{
	struct fixture f;

	(void)state;
	meet(&f, unanswered_client);
	fixture_close(&f);
	assert_int_equal(f.ended, 1);
}

/* One request at work, one that may not have been read yet, one that is not whole, an idle
 * connection. */
static int farewell[4];

static void farewell_client(struct fixture *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(farewell); i++)
		farewell[i] = dial(f);
	expect(farewell[3], GET("/what"), 200, "GET /what|-|1|1");
	send_text(farewell[0], "POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
	await_count(&f->handled, 2);
	send_text(farewell[1], "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
	send_text(farewell[2], "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhell");
}

static void assert_closed(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	assert_int_equal(send_all(fd, "o", 1), -EPIPE);
}

static void expect_last(int fd, const char *body, bool is_told)
{
	_cleanup_(answer_release) struct answer answer;

	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer.body.data, body);
	assert_true(!is_told || strcasestr(answer.head, "\r\nConnection: close\r\n"));
	assert_closed(fd);
}

static void what_came_whole_is_answered_before_the_end(void **state)
{
	struct fixture f;

	(void)state;
	meet(&f, farewell_client);
	fixture_begin_close(&f);
	reply_later(held);
	fixture_end_close(&f);
	expect_last(farewell[0], "later", true);
	expect_last(farewell[1], "hi", false);
	for (size_t i = 2; i < ARRAY_SIZE(farewell); i++)
		assert_closed(farewell[i]);
	for (size_t i = 0; i < ARRAY_SIZE(farewell); i++)
		close(farewell[i]);
}

static void held_client(struct fixture *f)
{
	farewell[0] = dial(f);
	send_text(farewell[0], GET("/held"));
	await_count(&f->handled, 1);
}

static void an_answer_may_come_late(void **state)
{
	struct fixture f;

	(void)state;
	meet(&f, held_client);
	fixture_begin_close(&f);
	reply_after(held, HTTP_SEND_SECONDS * 1000 + 200);
	fixture_end_close(&f);
	expect_last(farewell[0], "later", true);
	close(farewell[0]);
}

static void a_client_that_does_not_read_is_left(void **state)
{
	size_t size = 64u << 20; /* more than a socket holds */
	_cleanup_(freep) char *zeroes = mem_alloc(size);
	_cleanup_(answer_release) struct answer answer = { 0 };
	struct fixture f;

	(void)state;
	meet(&f, held_client);
	fixture_begin_close(&f);
	http_reply(held, 200, NULL, zeroes, size, NULL);
	fixture_end_close(&f); /* the alarm is earlier than finish_seconds */
	read_answer(farewell[0], &answer, true);
	assert_int_equal(answer.status, 200);
	assert_false(answer.whole);
	close(farewell[0]);
}

static void no_answer_is_waited_for_for_ever(void **state)
{
	struct fixture f;

	(void)state;
	prepare(&f);
	f.options.finish_seconds = 1;
	fixture_start(&f);
	with_client(&f, held_client);
	fixture_begin_close(&f);
	while (http_server_connections(f.server))
		uv_run(&f.loop, UV_RUN_ONCE);
	assert_closed(farewell[0]);
	close(farewell[0]);
	reply_later(held);
	fixture_end_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_that_half_closes_is_still_answered),
		cmocka_unit_test(client_that_leaves_is_noticed),
		cmocka_unit_test(idle_connection_is_closed),
		cmocka_unit_test(idle_server_does_not_wake_up),
		cmocka_unit_test(nothing_is_timed_when_all_have_left),
		cmocka_unit_test(free_ends_what_is_open),
		cmocka_unit_test(free_waits_for_the_replies_still_owed),
		cmocka_unit_test(what_came_whole_is_answered_before_the_end),
		cmocka_unit_test(no_answer_is_waited_for_for_ever),
		cmocka_unit_test(an_answer_may_come_late),
		cmocka_unit_test(a_client_that_does_not_read_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
