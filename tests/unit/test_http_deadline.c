/* SPDX-License-Identifier: MIT */
/* test_http_deadline - how long the server waits for anybody; see agent/http/http_server.h */
#include "http_fixture.h"

#include "common/clock.h"

#define STREAM_BYTES (4u << 20)

static void reply_stream(struct http_request *request)
{
	reply_bytes(request, STREAM_BYTES);
}

static const struct behaviour behaviours[] = {
	{ "/stream", reply_stream },
	{ 0 },
};

static void expect_refused(int fd, int status, const char *code)
{
	_cleanup_(answer_release) struct answer answer;

	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, status);
	assert_non_null(strstr(answer.body.data, code));
	assert_non_null(strstr(answer.body.data, "\"target\":null}}"));
}

/* One byte every 100 ms, until the other side has ended it. */
static void trickle(int fd, const char *text)
{
	for (size_t i = 0; text[i % strlen(text)]; i++) {
		char byte;

		if (send(fd, text + i % strlen(text), 1, MSG_NOSIGNAL) < 0 ||
			recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
			break;
		usleep(100000);
	}
}

static void slow_head_client(struct fixture *f)
{
	int64_t since = clock_boot();
	_cleanup_(closep) int silent = dial(f);
	_cleanup_(closep) int slow = dial(f);
	_cleanup_(closep) int second = dial(f);
	_cleanup_(closep) int idle = dial(f);

	expect_ok(second);
	expect_ok(idle);
	send_text(slow, "GET / HTTP/1.1\r\nX-Slow: ");
	trickle(slow, "x");
	assert_in_range(clock_boot() - since, 2900000, 20000000);
	expect_refused(slow, 408, "RequestTimeout");
	/* also the second request of a connection */
	since = clock_boot();
	trickle(second, "GET / HTTP/1.1 and so on");
	assert_in_range(clock_boot() - since, 2900000, 20000000);
	expect_refused(second, 408, "RequestTimeout");
	/* one that has sent nothing wants nothing; one that has may rest */
	expect_refused(silent, 408, "RequestTimeout");
	expect_ok(idle);
}

static void slow_headers_are_not_waited_for(void **state)
{
	struct fixture f;
	struct http_statistics statistics;

	(void)state;
	fixture_init_users(&f, behaviours);
	f.options.idle_timeout_seconds = 60;
	f.options.limits.request_timeout_seconds = 3;
	fixture_start(&f);
	with_client(&f, slow_head_client);
	http_server_statistics(f.server, &statistics);
	assert_int_equal(statistics.timed_out, 3);
	fixture_close(&f);
}

static void slow_body_client(struct fixture *f)
{
	int64_t since = clock_boot();
	_cleanup_(closep) int slow = dial(f);
	_cleanup_(closep) int silent = dial(f);
	_cleanup_(closep) int steady = dial(f);
	char bytes[512] = "";

	send_text(silent, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
	send_text(slow, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n");
	trickle(slow, "x");
	assert_in_range(clock_boot() - since, 4900000, 20000000);
	expect_refused(slow, 408, "RequestTimeout");
	expect_refused(silent, 408, "RequestTimeout");
	/* slow, but fast enough: 5 KiB a second, three times the timeout */
	send_text(steady, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 76800\r\n\r\n");
	for (int i = 0; i < 150; i++) {
		assert_int_equal(send(steady, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
		usleep(100000);
	}
	expect_answer(steady);
}

static void slow_bodies_are_not_waited_for(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init_users(&f, behaviours);
	f.options.limits.body_timeout_seconds = 5;
	fixture_start(&f);
	with_client(&f, slow_body_client);
	fixture_close(&f);
}

static void slow_reader_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(freep) char *bytes = mem_alloc(65536);
	size_t total = 0;
	ssize_t n;

	send_text(fd, "GET /stream HTTP/1.0\r\n\r\n");
	assert_true(recv(fd, bytes, 1, 0) == 1);
	usleep(4500000); /* that is what is tested */
	while ((n = recv(fd, bytes, 65536, 0)) > 0)
		total += (size_t)n;
	assert_int_equal(n, 0);
	assert_true(total > STREAM_BYTES);
}

static void reader_of_a_stream_may_pause(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init_users(&f, behaviours);
	f.options.idle_timeout_seconds = 3;
	f.options.limits.request_timeout_seconds = 3;
	f.options.limits.body_timeout_seconds = 3;
	fixture_start(&f);
	with_client(&f, slow_reader_client);
	fixture_close(&f);
	assert_int_equal(f.streams_closed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_headers_are_not_waited_for),
		cmocka_unit_test(slow_bodies_are_not_waited_for),
		cmocka_unit_test(reader_of_a_stream_may_pause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
