/* SPDX-License-Identifier: MIT */
/* test_http_stream - answers that come in pieces or from a file; see agent/http/http_server.h */
#include "http_fixture.h"

#include <fcntl.h>

#define BIG_STREAM (200ull << 20)

/* ---- the server side ---- */

static uint64_t file_size; /* of /file; it has 7 */

static void reply_big(struct http_request *request)
{
	reply_bytes(request, BIG_STREAM);
}

static ssize_t broken_read(void *data, char *to, size_t size)
{
	bool *broken = data;

	if (*broken)
		return -EIO;
	*broken = true;
	memset(to, 'x', size < 10 ? size : 10);
	return size < 10 ? (ssize_t)size : 10;
}

static void reply_broken(struct http_request *request)
{
	static const struct http_stream_ops ops = { broken_read, count_close };
	bool *broken = NEW(bool);

	http_reply_stream(request, 200, NULL, HTTP_SIZE_UNKNOWN, &ops, broken, NULL);
}

static void reply_file(struct http_request *request)
{
	int fd = open(current->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "0123456789", 10, 0), 10);
	http_reply_file(request, 206, "text/plain", fd, 3, file_size, NULL);
}

static const struct behaviour behaviours[] = {
	{ "/big", reply_big },
	{ "/broken", reply_broken },
	{ "/file", reply_file },
	{ 0 },
};

static void start(struct fixture *f)
{
	file_size = 4;
	fixture_open(f, behaviours);
}

/* ---- streams ---- */

static void pieces_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, GET("/pieces"));
	read_answer(fd, &answer, true);
	assert_true(answer.whole);
	assert_int_equal(answer.body.size, PIECES_BYTES);
	expect(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 200, "a");
}

static void stream_wakes_and_ends(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, pieces_client);
	assert_int_equal(f.streams_closed, 1);
	fixture_close(&f);
}

static void big_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	struct answer answer;
	uint64_t total = 0;

	send_text(fd, "GET /big HTTP/1.0\r\n\r\n");
	assert_true(read_head(fd, &answer));
	while (read_bytes(fd, &bytes, 1 << 20)) {
		total += bytes.size;
		strbuf_clear(&bytes);
	}
	assert_int_equal(total + bytes.size, BIG_STREAM);
	fd = fd_close(fd);
	fd = dial(f);
	send_text(fd, GET("/big"));
	assert_true(read_head(fd, &answer));
	assert_true(read_chunks(fd, &bytes, false));
}

static void long_stream_arrives_whole(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, big_client);
	wait_for_connections(&f, 0);
	assert_int_equal(f.streams_closed, 2);
	fixture_close(&f);
}

static void broken_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, GET("/broken"));
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	assert_false(answer.whole);
}

static void failing_stream_is_cut(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, broken_client);
	wait_for_connections(&f, 0);
	assert_int_equal(f.streams_closed, 1);
	fixture_close(&f);
}

/* ---- files ---- */

static void file_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);

	expect(fd, GET("/file"), 206, "3456");
	file_size = 0;
	expect(fd, GET("/file"), 206, "");
	file_size = 7;
	expect(fd, GET("/file"), 206, "3456789");
}

static void short_file_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	file_size = 8;
	send_text(fd, GET("/file"));
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 206);
	assert_false(answer.whole);
}

static void file_is_sent_from_its_offset(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, file_client);
	with_client(&f, short_file_client);
	wait_for_connections(&f, 0);
	fixture_close(&f);
}

/* ---- HEAD ---- */

static void head_client(struct fixture *f)
{
	static const char *const paths[] = { "/what", "/file", "/later", "/pieces" };
	_cleanup_(closep) int fd = dial(f);
	char byte;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_(freep) char *text =
			mem_printf("HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[i]);
		_cleanup_(answer_release) struct answer answer;

		send_text(fd, text);
		read_answer(fd, &answer, false);
		assert_true(answer.status == 200 || answer.status == 206);
		if (i == 1)
			expect(fd, GET("/file"), 206, "3456");
	}
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void head_has_no_body(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	with_client(&f, head_client);
	assert_int_equal(f.streams_closed, 1);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stream_wakes_and_ends),
		cmocka_unit_test(long_stream_arrives_whole),
		cmocka_unit_test(failing_stream_is_cut),
		cmocka_unit_test(file_is_sent_from_its_offset),
		cmocka_unit_test(head_has_no_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
