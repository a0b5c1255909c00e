/* SPDX-License-Identifier: MIT */
/* test_http_message - responses in one piece and byte by byte, whole, cut and wrong */
#include "test.h"

#include "cli/http_message.h"
#include "common/mem.h"

struct parsed {
	int status;
	bool keep_alive;
	struct strbuf body;
	int end;     /* HTTP_END, HTTP_MORE (cut), or an errno */
	size_t rest; /* bytes behind the response */
};

/* As client.c does it, `step` bytes at a time. */
static void parse(const char *text, size_t size, size_t step, struct parsed *ret)
{
	_cleanup_(http_message_release) struct http_message message;
	size_t at = 0;
	size_t have = 0;

	*ret = (struct parsed){ .end = HTTP_MORE };
	http_message_init(&message);
	while (ret->end == HTTP_MORE) {
		const char *body = NULL;
		size_t used = 0;
		int part = http_message_next(&message, text + at, have - at, &used, &body);

		assert_true(used <= have - at);
		at += used;
		if (part == HTTP_BODY)
			strbuf_add(&ret->body, body, used);
		else if (part == HTTP_END || part < 0)
			ret->end = part;
		else if (part == HTTP_MORE && at == have && have == size)
			break;
		else if (part == HTTP_MORE && at == have)
			have = have + step < size ? have + step : size;
	}
	if (ret->end == HTTP_MORE && http_message_close(&message) == HTTP_END)
		ret->end = HTTP_END;
	ret->status = message.status;
	ret->keep_alive = message.keep_alive;
	ret->rest = size - at;
}

static void expect(const char *text, int status, const char *body, bool keep_alive, size_t rest)
{
	for (size_t step = 1; step <= strlen(text); step++) {
		struct parsed parsed;

		parse(text, strlen(text), step, &parsed);
		assert_int_equal(parsed.end, HTTP_END);
		assert_int_equal(parsed.status, status);
		assert_int_equal(parsed.keep_alive, keep_alive);
		assert_string_equal(parsed.body.data ? parsed.body.data : "", body);
		/* With single steps, what follows has not been looked at. */
		assert_true(parsed.rest >= rest);
		strbuf_release(&parsed.body);
	}
}

static void expect_end(const char *text, size_t size, int end)
{
	for (size_t step = 1; step <= size; step += step < 8 ? 1 : size / 7 + 1) {
		struct parsed parsed;

		parse(text, size, step, &parsed);
		strbuf_release(&parsed.body);
		assert_int_equal(parsed.end, end);
	}
}

static void a_body_with_a_length_is_read(void **state)
{
	(void)state;
	expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true, 0);
	expect("HTTP/1.1 201 Created\ncontent-length:  2 \n\nhi", 201, "hi", true, 0);
	expect("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", 404, "", true, 0);
	expect("HTTP/1.1 204\r\n\r\n", 204, "", true, 0);
}

static void a_body_in_chunks_is_joined(void **state)
{
	(void)state;
	expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	       "5\r\nhello\r\n1;name=value\r\n \r\n00A\r\n0123456789\r\n0\r\n\r\n",
		200, "hello 0123456789", true, 0);
	expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
	       "2\r\nab\r\n0\r\nTrailer: x\r\n\r\n",
		200, "ab", true, 0);
}

static void a_body_without_a_length_ends_with_the_connection(void **state)
{
	(void)state;
	expect("HTTP/1.1 200 OK\r\n\r\nall of it", 200, "all of it", false, 0);
	expect("HTTP/1.0 200 OK\r\n\r\n", 200, "", false, 0);
}

static void interim_responses_are_skipped(void **state)
{
	(void)state;
	expect("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200,
		"x", true, 0);
}

static void what_follows_a_response_is_left(void **state)
{
	(void)state;
	expect("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1", 200, "x", true, 8);
	expect("HTTP/1.1 204 No\r\nConnection: close\r\n\r\nHTTP/1.1", 204, "", false, 8);
}

static void a_response_cut_anywhere_is_not_whole(void **state)
{
	static const char *const texts[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (size_t size = 1; size < strlen(texts[i]); size++)
			expect_end(texts[i], size, HTTP_MORE);
}

static void what_is_no_response_is_refused(void **state)
{
	static const char *const texts[] = {
		"HTTP/2 200 OK\r\n\r\n",
		"HTTP/1.1 99 No\r\n\r\n",
		"HTTP/1.1 2000 No\r\n\r\n",
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
		"HTTP/1.1 200 OK\r\n: no name\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: folded\r\n line\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
		"SSH-2.0-OpenSSH\r\n",
		"\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		expect_end(texts[i], strlen(texts[i]), -EBADMSG);
	expect_end("HTTP/1.1 200 O\0K\r\n\r\n", 20, -EBADMSG);
}

static void heads_without_end_are_refused(void **state)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf many = STRBUF_INIT;

	(void)state;
	strbuf_adds(&line, "HTTP/1.1 200 OK\r\nA: ");
	while (line.size < HTTP_LINE_MAX * 2)
		strbuf_addc(&line, 'a');
	expect_end(line.data, line.size, -EBADMSG);
	strbuf_adds(&many, "HTTP/1.1 200 OK\r\n");
	while (many.size < HTTP_HEAD_MAX * 2)
		strbuf_adds(&many, "A: b\r\n");
	expect_end(many.data, many.size, -EBADMSG);
}

static void names_are_encoded_and_decoded(void **state)
{
	_cleanup_(freep) char *path = http_encode("a b/\xff\n?.txt", true);
	_cleanup_(freep) char *query = http_encode("a/b&c", false);
	_cleanup_(freep) char *back = http_decode(path);

	(void)state;
	assert_string_equal(path, "a%20b/%FF%0A%3F.txt");
	assert_string_equal(query, "a%2Fb%26c");
	assert_string_equal(back, "a b/\xff\n?.txt");
	assert_null(http_decode("%"));
	assert_null(http_decode("%4"));
	assert_null(http_decode("a%0gb"));
	assert_null(http_decode("%00"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_with_a_length_is_read),
		cmocka_unit_test(a_body_in_chunks_is_joined),
		cmocka_unit_test(a_body_without_a_length_ends_with_the_connection),
		cmocka_unit_test(interim_responses_are_skipped),
		cmocka_unit_test(what_follows_a_response_is_left),
		cmocka_unit_test(a_response_cut_anywhere_is_not_whole),
		cmocka_unit_test(what_is_no_response_is_refused),
		cmocka_unit_test(heads_without_end_are_refused),
		cmocka_unit_test(names_are_encoded_and_decoded),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
