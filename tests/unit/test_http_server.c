/* SPDX-License-Identifier: MIT */
/* test_http_server - requests, their bodies and answers; see agent/http/http_server.h */
#include "http_fixture.h"

/* ---- the server side ---- */

static uint64_t uploaded;

static void refuse(struct http_request *request)
{
	http_reply(request, 403, NULL, "no", 2, NULL);
}

static int take_upload(struct http_request *request, const void *data, size_t size)
{
	(void)data;
	uploaded += size;
	if (uploaded > 1000000 && !strcmp(http_request_path(request), "/full")) {
		http_reply(request, 507, NULL, "full", 4, NULL);
		return -ENOSPC;
	}
	return 0;
}

static void begin_upload(struct http_request *request)
{
	http_request_set_body(request, take_upload);
}

static void reply_upload(struct http_request *request)
{
	_cleanup_(freep) char *text = mem_printf("%llu", (unsigned long long)uploaded);

	http_reply(request, 201, NULL, text, strlen(text), NULL);
}

static const struct behaviour behaviours[] = {
	{ "/refused", NULL, refuse },
	{ "/upload", reply_upload, begin_upload },
	{ "/full", NULL, begin_upload },
	{ 0 },
};

static void start(struct fixture *f)
{
	uploaded = 0;
	fixture_open(f, behaviours);
}

/* ---- requests ---- */

static void keep_alive_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);

	for (int i = 0; i < 3; i++)
		expect(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 200,
			"hello");
}

static void one_connection_serves_many_requests(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, keep_alive_client);
	assert_int_equal(f.handled, 3);
	fixture_close(&f);
}

static void seen_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	expect(fd,
		"GET /a%2Fb%0a%ff%00+/c?k=a%20b+c&empty&z=%25&k2= HTTP/1.1\r\nHost: x\r\nX-THING: t\r\n\r\n",
		200, "GET /a%2Fb%0a%ff%00+/c|k=a b c|empty=|z=%|k2=|t|1|1");
	send_text(fd, "PATCH /what HTTP/1.1\r\nHost: x\r\n\r\n");
	read_answer(fd, &answer, true);
	assert_string_equal(answer.body.data, "PATCH /what|-|1|1");
	assert_non_null(strstr(answer.head, "\r\nX-One: 1\r\n"));
	assert_non_null(strstr(answer.head, "\r\nX-Two: a: b\r\n"));
	assert_non_null(strcasestr(answer.head, "\r\nContent-Type: text/plain\r\n"));
}

static void path_is_raw_and_queries_are_decoded(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, seen_client);
	fixture_close(&f);
}

static void bad_query_client(struct fixture *f)
{
	static const char *const bad[] = { "?a=%zz", "?%0=1", "?a=%00", "?a=%" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(closep) int fd = dial(f);
		_cleanup_(freep) char *text =
			mem_printf("GET /what%s HTTP/1.1\r\nHost: x\r\n\r\n", bad[i]);
		_cleanup_(answer_release) struct answer answer;

		send_text(fd, text);
		read_answer(fd, &answer, true);
		assert_int_equal(answer.status, 400);
		assert_non_null(strstr(answer.body.data, "{\"error\":{\"code\":\"BadRequest\","));
	}
}

static void bad_escape_in_a_query_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, bad_query_client);
	assert_int_equal(f.handled, 0);
	fixture_close(&f);
}

static void reply_may_come_later(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, later_client);
	fixture_close(&f);
}

static void long_url_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(freep) char *value = mem_alloc(60001);
	_cleanup_(freep) char *text = NULL;
	_cleanup_(answer_release) struct answer answer;

	memset(value, 'a', 60000);
	text = mem_printf("GET /what?a=%s HTTP/1.1\r\nHost: x\r\nX-Thing: b\r\n\r\n", value);
	send_text(fd, text);
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	assert_true(answer.body.size > 60000);
	free(text);
	text = mem_printf("GET /what?a HTTP/1.1\r\nHost: x\r\nX-Thing: %s\r\n\r\n", value);
	answer_release(&answer);
	send_text(fd, text);
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	assert_true(answer.body.size > 60000);
}

static void long_url_and_headers_are_taken(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, long_url_client);
	fixture_close(&f);
}

static void bad_request_client(struct fixture *f)
{
	static const char *const bad[] = {
		"\x16\x03\x01\x02",
		"GET\r\n\r\n",
		"GET / HTTP/9.9\r\n\r\n",
		"GET / HTTP/1.1\r\n: :\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(closep) int fd = dial(f);

		send_text(fd, bad[i]); /* any answer, or none */
	}
}

static void bad_body_client(struct fixture *f)
{
	static const char *const bad[] = {
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(closep) int fd = dial(f);
		_cleanup_(answer_release) struct answer answer;

		send_text(fd, bad[i]);
		read_answer(fd, &answer, true);
		assert_int_equal(answer.status, 400);
	}
	later_client(f);
}

static void nonsense_does_no_harm(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, bad_request_client);
	with_client(&f, bad_body_client);
	fixture_close(&f);
}

static void percent_escapes_round_trip(void **state)
{
	char bytes[256];
	_cleanup_(freep) char *encoded = NULL;
	_cleanup_(freep) char *decoded = NULL;
	char *untouched = bytes;

	(void)state;
	for (int i = 1; i < 256; i++)
		bytes[i - 1] = (char)i;
	bytes[255] = '\0';
	encoded = http_percent_encode(bytes);
	for (const char *c = encoded; *c; c++)
		assert_non_null(strchr(
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/%",
			*c));
	assert_int_equal(http_percent_decode(encoded, &decoded), 0);
	assert_string_equal(decoded, bytes);
	assert_int_equal(http_percent_decode("a%2", &untouched), -EINVAL);
	assert_int_equal(http_percent_decode("%g0", &untouched), -EINVAL);
	assert_int_equal(http_percent_decode("%00", &untouched), -EINVAL);
	assert_ptr_equal(untouched, bytes);
}

/* ---- bodies ---- */

static void expect_too_large(int fd)
{
	_cleanup_(answer_release) struct answer answer;

	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 413);
	assert_true(answer.whole);
	assert_non_null(
		strstr(answer.body.data, "{\"error\":{\"code\":\"TooLarge\",\"message\":\""));
	assert_non_null(strstr(answer.body.data, "\"target\":null}}"));
}

static void too_large_client(struct fixture *f)
{
	_cleanup_(freep) char *zeroes = mem_alloc(2 * MAX_BODY);
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(freep) char *head = NULL;

	/* all of it sent before the answer is read, and the connection lives on */
	head = mem_printf(
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 2 * MAX_BODY);
	send_text(fd, head);
	assert_int_equal(send_all(fd, zeroes, 2 * MAX_BODY), 0);
	expect_too_large(fd);
	expect(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 200, "a");
	fd_close(fd);
	/* more than will ever be read */
	fd = dial(f);
	send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n");
	expect_too_large(fd);
	fd_close(fd);
	/* asks first */
	fd = dial(f);
	send_text(fd,
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n");
	expect_too_large(fd);
}

static void chunked_too_large_client(struct fixture *f)
{
	_cleanup_(freep) char *zeroes = mem_alloc(MAX_BODY);
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(freep) char *size = mem_printf("%x\r\n", MAX_BODY);

	send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 3; i++) {
		send_text(fd, size);
		assert_int_equal(send_all(fd, zeroes, MAX_BODY), 0);
		send_text(fd, "\r\n");
	}
	send_text(fd, "0\r\n\r\n");
	expect_too_large(fd);
	expect(fd,
		"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
		200, "abc");
}

static void too_large_body_is_413(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, too_large_client);
	with_client(&f, chunked_too_large_client);
	assert_int_equal(f.handled, 2);
	fixture_close(&f);
}

static void refused_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);

	expect(fd, "POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 403,
		"no");
	expect(fd, GET("/refused"), 403, "no");
	expect(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 200, "a");
}

static void reply_from_begin_skips_the_body(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, refused_client);
	assert_int_equal(f.handled, 1);
	fixture_close(&f);
}

static void upload_client(struct fixture *f)
{
	_cleanup_(freep) char *zeroes = mem_alloc(3000000);
	_cleanup_(closep) int fd = dial(f);

	send_text(fd, "PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n");
	assert_int_equal(send_all(fd, zeroes, 3000000), 0);
	expect(fd, "", 201, "3000000");
	uploaded = 0;
	send_text(fd, "PUT /full HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n");
	assert_int_equal(send_all(fd, zeroes, 3000000), 0);
	expect(fd, "", 507, "full");
}

static void body_may_be_streamed(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, upload_client);
	assert_int_equal(f.handled, 1);
	fixture_close(&f);
}

static void cut_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);

	send_text(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhell");
	await_count(&f->begun, 1);
	fd_close(fd);
	fd = dial(f);
	send_text(fd,
		"PUT /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhell");
	await_count(&f->begun, 2);
	fd_close(fd);
	fd = dial(f);
	expect(fd, GET("/later"), 200, "later");
}

static void cut_body_is_not_handled(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, cut_client);
	assert_int_equal(f.begun, 3);
	assert_int_equal(f.handled, 1);
	fixture_close(&f);
}

/* ---- connections ---- */

static void parallel_client(struct fixture *f)
{
	int fds[200];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial(f);
		send_text(fds[i], i % 2 ? GET("/later") : GET("/pieces"));
	}
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		_cleanup_(answer_release) struct answer answer;

		read_answer(fds[i], &answer, true);
		assert_int_equal(answer.body.size, i % 2 ? 5 : PIECES_BYTES);
		close(fds[i]);
	}
}

static void two_hundred_connections_at_once(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, behaviours);
	f.options.max_connections = 250;
	fixture_start(&f);
	with_client(&f, parallel_client);
	assert_int_equal(f.handled, 200);
	fixture_close(&f);
}

static void limit_client(struct fixture *f)
{
	_cleanup_(closep) int one = dial(f);
	_cleanup_(closep) int two = dial(f);
	_cleanup_(closep) int three = -EBADF;

	expect(one, GET("/later"), 200, "later");
	expect(two, GET("/later"), 200, "later");
	three = dial(f);
	send_text(three, GET("/later"));
	expect(two, GET("/later"), 200, "later");
	one = fd_close(one);
	expect(three, "", 200, "later");
}

static void connection_over_the_limit_waits_for_its_turn(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, behaviours);
	f.options.max_connections = 2;
	fixture_start(&f);
	with_client(&f, limit_client);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_serves_many_requests),
		cmocka_unit_test(path_is_raw_and_queries_are_decoded),
		cmocka_unit_test(bad_escape_in_a_query_is_refused),
		cmocka_unit_test(reply_may_come_later),
		cmocka_unit_test(long_url_and_headers_are_taken),
		cmocka_unit_test(nonsense_does_no_harm),
		cmocka_unit_test(percent_escapes_round_trip),
		cmocka_unit_test(too_large_body_is_413),
		cmocka_unit_test(reply_from_begin_skips_the_body),
		cmocka_unit_test(body_may_be_streamed),
		cmocka_unit_test(cut_body_is_not_handled),
		cmocka_unit_test(two_hundred_connections_at_once),
		cmocka_unit_test(connection_over_the_limit_waits_for_its_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
