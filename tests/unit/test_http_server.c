/* SPDX-License-Identifier: MIT */
/* test_http_server - the HTTP transport against real sockets; see agent/http/http_server.h */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "http/http_server.h"

#define MAX_BODY 100000
#define BIG_STREAM (200ull << 20)

/* ---- the server side: one handler whose behaviour the path chooses ---- */

struct fixture {
	uv_loop_t loop;
	struct http_server *server;
	char dir[64];
	char socket[96];
	uv_async_t client_done;
	bool client_running;
	bool freed;
	unsigned begun, handled, ended, closed, streams_closed;
	uint64_t uploaded;
	struct http_request *kept; /* of /keep */
	struct http_request *held; /* of /held */
	uint64_t file_size;        /* of /file; it has 7 */
	unsigned loops;            /* iterations, counted by a uv_prepare */
};

static struct fixture *current;

struct piece_stream {
	struct http_request *request;
	uv_timer_t timer;
	unsigned left;  /* pieces still to be made */
	unsigned ready; /* made, not yet read */
};

static void on_piece_timer(uv_timer_t *timer)
{
	struct piece_stream *stream = container_of(timer, struct piece_stream, timer);

	stream->left--;
	stream->ready++;
	if (!stream->left)
		uv_timer_stop(timer);
	http_stream_wake(stream->request);
}

static ssize_t piece_read(void *data, char *to, size_t size)
{
	struct piece_stream *stream = data;

	assert_true(size > 16);
	if (!stream->ready)
		return stream->left ? HTTP_STREAM_WAIT : 0;
	stream->ready--;
	memcpy(to, "piece\n", 6);
	return 6;
}

static void piece_freed(uv_handle_t *handle)
{
	free(container_of((uv_timer_t *)handle, struct piece_stream, timer));
}

static void piece_close(void *data)
{
	struct piece_stream *stream = data;

	current->streams_closed++;
	uv_close((uv_handle_t *)&stream->timer, piece_freed);
}

static const struct http_stream_ops piece_ops = { piece_read, piece_close };

static void reply_pieces(struct http_request *request, unsigned count, unsigned interval)
{
	struct piece_stream *stream = NEW(struct piece_stream);

	stream->request = request;
	stream->left = count;
	uv_timer_init(&current->loop, &stream->timer);
	uv_timer_start(&stream->timer, on_piece_timer, interval, interval);
	http_reply_stream(request, 200, "text/plain", HTTP_SIZE_UNKNOWN, &piece_ops, stream, NULL);
}

static ssize_t big_read(void *data, char *to, size_t size)
{
	uint64_t *left = data;

	if (size > *left)
		size = *left;
	memset(to, 'x', size);
	*left -= size;
	return (ssize_t)size;
}

static ssize_t broken_read(void *data, char *to, size_t size)
{
	uint64_t *left = data;

	if (!*left)
		return -EIO;
	*left = 0;
	memset(to, 'x', size < 10 ? size : 10);
	return size < 10 ? (ssize_t)size : 10;
}

static void count_close(void *data)
{
	current->streams_closed++;
	free(data);
}

static const struct http_stream_ops big_ops = { big_read, count_close };
static const struct http_stream_ops broken_ops = { broken_read, count_close };

static void reply_bytes(struct http_request *request, const struct http_stream_ops *ops)
{
	uint64_t *left = NEW(uint64_t);

	*left = BIG_STREAM;
	http_reply_stream(request, 200, NULL, HTTP_SIZE_UNKNOWN, ops, left, NULL);
}

struct later {
	uv_timer_t timer;
	struct http_request *request;
};

static void later_freed(uv_handle_t *handle)
{
	free(container_of((uv_timer_t *)handle, struct later, timer));
}

static void on_later(uv_timer_t *timer)
{
	struct later *later = container_of(timer, struct later, timer);

	http_reply(later->request, 200, "text/plain", "later", 5, NULL);
	uv_close((uv_handle_t *)timer, later_freed);
}

static void reply_after(struct http_request *request, unsigned ms)
{
	struct later *later = NEW(struct later);

	later->request = request;
	uv_timer_init(&current->loop, &later->timer);
	uv_timer_start(&later->timer, on_later, ms, 0);
}

static void reply_later(struct http_request *request)
{
	reply_after(request, 20);
}

static void on_kept_closed(struct http_request *request)
{
	assert_ptr_equal(request, current->kept);
	current->closed++;
	current->kept = NULL;
	http_reply(request, 200, NULL, "nobody", 6, NULL);
}

static void keep(struct http_request *request)
{
	current->kept = request;
	http_request_on_closed(request, on_kept_closed);
}

/* The test replies. */
static void hold(struct http_request *request)
{
	current->held = request;
}

static void reply_what(struct http_request *request)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const struct pairs *queries = http_request_queries(request);
	const char *header = http_request_header(request, "x-thing");

	strbuf_addf(&text, "%s %s", http_request_method(request), http_request_path(request));
	for (size_t i = 0; i < queries->count; i++)
		strbuf_addf(&text, "|%s=%s", queries->items[i].key, queries->items[i].value);
	strbuf_addf(&text, "|%s|%d|%d", header ? header : "-",
		http_request_uid(request) == getuid(), http_request_pid(request) == getpid());
	http_reply(request, 200, "text/plain", text.data, text.size,
		(char *[]){ (char *)"X-One: 1", (char *)"X-Two: a: b", NULL });
}

static void reply_echo(struct http_request *request)
{
	size_t size;
	const char *body = http_request_body(request, &size);

	http_reply(request, 200, "application/octet-stream", body, size, NULL);
}

static void reply_file(struct http_request *request)
{
	int fd = open(current->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "0123456789", 10, 0), 10);
	http_reply_file(request, 206, "text/plain", fd, 3, current->file_size, NULL);
}

static int take_upload(struct http_request *request, const void *data, size_t size)
{
	(void)data;
	current->uploaded += size;
	if (current->uploaded > 1000000 && !strcmp(http_request_path(request), "/full")) {
		http_reply(request, 507, NULL, "full", 4, NULL);
		return -ENOSPC;
	}
	return 0;
}

static void reply_upload(struct http_request *request)
{
	_cleanup_(freep) char *text = mem_printf("%llu", (unsigned long long)current->uploaded);

	http_reply(request, 201, NULL, text, strlen(text), NULL);
}

static void reply_pieces_fast(struct http_request *request)
{
	reply_pieces(request, 50, 1);
}

static void reply_pieces_never(struct http_request *request)
{
	reply_pieces(request, 1, 3600 * 1000);
}

static void reply_big(struct http_request *request)
{
	reply_bytes(request, &big_ops);
}

static void reply_broken(struct http_request *request)
{
	reply_bytes(request, &broken_ops);
}

static const struct {
	const char *path;
	void (*reply)(struct http_request *request);
} behaviours[] = {
	{ "/what", reply_what },
	{ "/echo", reply_echo },
	{ "/later", reply_later },
	{ "/keep", keep },
	{ "/held", hold },
	{ "/pieces", reply_pieces_fast },
	{ "/never", reply_pieces_never },
	{ "/big", reply_big },
	{ "/broken", reply_broken },
	{ "/file", reply_file },
	{ "/upload", reply_upload },
};

static void on_begin(void *data, struct http_request *request)
{
	const char *path = http_request_path(request);

	(void)data;
	__atomic_add_fetch(&current->begun, 1, __ATOMIC_RELEASE);
	http_request_set_user_data(request, current);
	if (!strcmp(path, "/refused"))
		http_reply(request, 403, NULL, "no", 2, NULL);
	else if (!strcmp(path, "/upload") || !strcmp(path, "/full"))
		http_request_set_body(request, take_upload);
}

static void on_handle(void *data, struct http_request *request)
{
	(void)data;
	__atomic_add_fetch(&current->handled, 1, __ATOMIC_RELEASE);
	for (size_t i = 0; i < ARRAY_SIZE(behaviours); i++)
		if (!strcmp(behaviours[i].path, http_request_path(request))) {
			behaviours[i].reply(request);
			return;
		}
	reply_what(request);
}

static void on_end(void *data, struct http_request *request)
{
	(void)data;
	assert_ptr_equal(http_request_user_data(request), current);
	current->ended++;
}

static const struct http_handler handler = { on_begin, on_handle, on_end, NULL };

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 512), 0);
	return fd;
}

static void on_client_done(uv_async_t *async)
{
	current->client_running = false;
	(void)async;
}

static void start_finishing(
	struct fixture *f, unsigned max_connections, unsigned idle_timeout, unsigned finish_seconds)
{
	struct http_options options = {
		.max_body = MAX_BODY,
		.max_connections = max_connections,
		.idle_timeout_seconds = idle_timeout,
		.finish_seconds = finish_seconds,
	};

	alarm(60);
	*f = (struct fixture){ .file_size = 4 };
	current = f;
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_http.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->socket, sizeof(f->socket), "%s/s", f->dir);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	uv_async_init(&f->loop, &f->client_done, on_client_done);
	assert_int_equal(http_server_new(&f->loop, listen_at(f->socket), &handler, &options,
				 &f->server, NULL),
		0);
}

static void start(struct fixture *f, unsigned max_connections, unsigned idle_timeout)
{
	start_finishing(f, max_connections, idle_timeout, 100);
}

static void on_freed(void *data)
{
	((struct fixture *)data)->freed = true;
}

/* Nothing may be left: no handle, no request that was not ended. */
static void await_freed(struct fixture *f)
{
	while (!f->freed)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(f->begun, f->ended);
	uv_close((uv_handle_t *)&f->client_done, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	unlink(f->socket);
	rmdir(f->dir);
	alarm(0);
}

static void stop(struct fixture *f)
{
	http_server_free(f->server, on_freed, f);
	await_freed(f);
}

/* ---- the client side, in a thread of its own ---- */

static void wait_for_connections(struct fixture *f, unsigned count)
{
	while (http_server_connections(f->server) > count)
		uv_run(&f->loop, UV_RUN_ONCE);
}

struct client {
	struct fixture *f;
	void (*run)(struct fixture *f);
};

static void *client_main(void *data)
{
	struct client *client = data;

	client->run(client->f);
	uv_async_send(&client->f->client_done);
	return NULL;
}

/* Run the loop until the client has finished. */
static void with_client(struct fixture *f, void (*run)(struct fixture *f))
{
	struct client client = { f, run };
	pthread_t thread;

	f->client_running = true;
	assert_int_equal(pthread_create(&thread, NULL, client_main, &client), 0);
	while (f->client_running)
		uv_run(&f->loop, UV_RUN_ONCE);
	pthread_join(thread, NULL);
}

static int dial(struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 20 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

/* Counters belong to the other thread. */
static void await_count(const unsigned *counter, unsigned count)
{
	while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) < count)
		usleep(500);
}

/* 0, or -errno when the server has closed. */
static int send_all(int fd, const void *data, size_t size)
{
	while (size) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0)
			return -errno;
		data = (const char *)data + n;
		size -= (size_t)n;
	}
	return 0;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send_all(fd, text, strlen(text)), 0);
}

struct answer {
	int status; /* 0: the connection ended before one came */
	char head[2048];
	struct strbuf body;
	bool whole; /* it ended as HTTP says */
};

static bool read_byte(int fd, char *to)
{
	return recv(fd, to, 1, 0) == 1;
}

static bool read_bytes(int fd, struct strbuf *to, size_t size)
{
	while (size) {
		size_t part = size < 65536 ? size : 65536;
		ssize_t n = recv(fd, strbuf_reserve(to, part), part, 0);

		if (n <= 0)
			return false;
		to->size += (size_t)n;
		size -= (size_t)n;
	}
	return true;
}

static bool read_head(int fd, struct answer *answer)
{
	size_t used = 0;

	while (used < sizeof(answer->head) - 1) {
		if (!read_byte(fd, answer->head + used))
			return false;
		answer->head[++used] = '\0';
		if (used >= 4 && !strcmp(answer->head + used - 4, "\r\n\r\n"))
			return true;
	}
	return false;
}

static bool read_chunks(int fd, struct strbuf *to, bool keep_bytes)
{
	for (;;) {
		char line[32];
		size_t used = 0;
		size_t size;

		while (used < sizeof(line) - 1 && read_byte(fd, line + used) && line[used] != '\n')
			used++;
		line[used] = '\0';
		if (!used)
			return false;
		size = strtoul(line, NULL, 16);
		if (!keep_bytes)
			strbuf_clear(to);
		if (!read_bytes(fd, to, size + 2))
			return false;
		to->size -= 2;
		if (!size)
			return true;
	}
}

static void answer_release(struct answer *answer)
{
	strbuf_release(&answer->body);
}

static void read_answer(int fd, struct answer *ret, bool has_body)
{
	const char *length;

	*ret = (struct answer){ 0 };
	do {
		if (!read_head(fd, ret))
			return;
		ret->status = atoi(ret->head + 9);
	} while (ret->status == 100);
	length = strcasestr(ret->head, "\r\nContent-Length: ");
	if (!has_body)
		ret->whole = true;
	else if (strcasestr(ret->head, "\r\nTransfer-Encoding: chunked"))
		ret->whole = read_chunks(fd, &ret->body, true);
	else
		ret->whole =
			read_bytes(fd, &ret->body, length ? strtoul(length + 18, NULL, 10) : 0);
	strbuf_adds(&ret->body, "");
}

static void expect(int fd, const char *request, int status, const char *body)
{
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, request);
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, status);
	assert_true(answer.whole);
	assert_string_equal(answer.body.data, body);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- the tests ---- */

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
	start(&f, 10, 0);
	with_client(&f, keep_alive_client);
	assert_int_equal(f.handled, 3);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, seen_client);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, bad_query_client);
	assert_int_equal(f.handled, 0);
	stop(&f);
}

static void later_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);

	expect(fd, GET("/later"), 200, "later");
	expect(fd, GET("/later"), 200, "later");
}

static void reply_may_come_later(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 10, 0);
	with_client(&f, later_client);
	stop(&f);
}

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
	assert_int_equal(answer.body.size, 50 * 6);
	assert_true(answer.whole);
}

static void client_that_half_closes_is_still_answered(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 10, 0);
	with_client(&f, half_closed_client);
	with_client(&f, half_closed_stream_client);
	stop(&f);
}

static void pieces_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, GET("/pieces"));
	read_answer(fd, &answer, true);
	assert_true(answer.whole);
	assert_int_equal(answer.body.size, 50 * 6);
	expect(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 200, "a");
}

static void stream_wakes_and_ends(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 10, 0);
	with_client(&f, pieces_client);
	assert_int_equal(f.streams_closed, 1);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, big_client);
	wait_for_connections(&f, 0);
	assert_int_equal(f.streams_closed, 2);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, broken_client);
	wait_for_connections(&f, 0);
	assert_int_equal(f.streams_closed, 1);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, leaving_client);
	wait_for_connections(&f, 0);
	assert_int_equal(f.closed, 1);
	assert_int_equal(f.streams_closed, 2);
	with_client(&f, leaving_stream_client);
	wait_for_connections(&f, 1);
	assert_int_equal(f.streams_closed, 3);
	stop(&f);
}

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
	start(&f, 10, 0);
	with_client(&f, too_large_client);
	with_client(&f, chunked_too_large_client);
	assert_int_equal(f.handled, 2);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, refused_client);
	assert_int_equal(f.handled, 1);
	stop(&f);
}

static void upload_client(struct fixture *f)
{
	_cleanup_(freep) char *zeroes = mem_alloc(3000000);
	_cleanup_(closep) int fd = dial(f);

	send_text(fd, "PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n");
	assert_int_equal(send_all(fd, zeroes, 3000000), 0);
	expect(fd, "", 201, "3000000");
	f->uploaded = 0;
	send_text(fd, "PUT /full HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n");
	assert_int_equal(send_all(fd, zeroes, 3000000), 0);
	expect(fd, "", 507, "full");
}

static void body_may_be_streamed(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 10, 0);
	with_client(&f, upload_client);
	assert_int_equal(f.handled, 1);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, cut_client);
	assert_int_equal(f.begun, 3);
	assert_int_equal(f.handled, 1);
	stop(&f);
}

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
	start(&f, 10, 0);
	with_client(&f, head_client);
	assert_int_equal(f.streams_closed, 1);
	stop(&f);
}

static void file_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);

	expect(fd, GET("/file"), 206, "3456");
	f->file_size = 0;
	expect(fd, GET("/file"), 206, "");
	f->file_size = 7;
	expect(fd, GET("/file"), 206, "3456789");
}

static void short_file_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(answer_release) struct answer answer;

	f->file_size = 8;
	send_text(fd, GET("/file"));
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 206);
	assert_false(answer.whole);
}

static void file_is_sent_from_its_offset(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 10, 0);
	with_client(&f, file_client);
	with_client(&f, short_file_client);
	wait_for_connections(&f, 0);
	stop(&f);
}

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
		assert_int_equal(answer.body.size, i % 2 ? 5 : 50 * 6);
		close(fds[i]);
	}
}

static void two_hundred_connections_at_once(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 250, 0);
	with_client(&f, parallel_client);
	assert_int_equal(f.handled, 200);
	stop(&f);
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
	start(&f, 2, 0);
	with_client(&f, limit_client);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, long_url_client);
	stop(&f);
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
	start(&f, 10, 0);
	with_client(&f, bad_request_client);
	with_client(&f, bad_body_client);
	stop(&f);
}

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
	start(&f, 10, 1);
	with_client(&f, idle_out_client);
	stop(&f);
}

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
	start(&f, 10, 30);
	with_client(&f, open_ends_client);
	stop(&f);
	assert_int_equal(f.closed, 1);
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
	start(&f, 10, 0);
	with_client(&f, unanswered_client);
	stop(&f);
	assert_int_equal(f.ended, 1);
}

/* One request at work, one that may not have been read yet, one that is not whole, an idle connection. */
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

static void expect_last(int fd, const char *body, bool is_told)
{
	_cleanup_(answer_release) struct answer answer;
	char byte;

	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, 200);
	assert_string_equal(answer.body.data, body);
	assert_true(!is_told || strcasestr(answer.head, "\r\nConnection: close\r\n"));
	assert_false(read_byte(fd, &byte));
}

static void what_came_whole_is_answered_before_the_end(void **state)
{
	struct fixture f;
	char byte;

	(void)state;
	start(&f, 10, 0);
	with_client(&f, farewell_client);
	http_server_free(f.server, on_freed, &f);
	reply_later(f.held);
	await_freed(&f);
	expect_last(farewell[0], "later", true);
	expect_last(farewell[1], "hi", false);
	for (size_t i = 2; i < ARRAY_SIZE(farewell); i++) {
		assert_false(read_byte(farewell[i], &byte));
		assert_int_equal(send_all(farewell[i], "o", 1), -EPIPE);
	}
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
	start(&f, 10, 0);
	with_client(&f, held_client);
	http_server_free(f.server, on_freed, &f);
	reply_after(f.held, HTTP_SEND_SECONDS * 1000 + 200);
	await_freed(&f);
	expect_last(farewell[0], "later", true);
	close(farewell[0]);
}

/* Answers that are more than a socket holds. */
static void reader_client(struct fixture *f)
{
	_cleanup_(freep) char *zeroes = mem_alloc(MAX_BODY);
	_cleanup_(freep) char *head = mem_printf(
		"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", MAX_BODY);

	memset(zeroes, 0, MAX_BODY);
	farewell[0] = dial(f);
	for (unsigned i = 0; i < 3; i++) {
		send_text(farewell[0], head);
		assert_int_equal(send_all(farewell[0], zeroes, MAX_BODY), 0);
	}
	await_count(&f->handled, 3);
}

static void a_client_that_does_not_read_is_left(void **state)
{
	struct fixture f;
	_cleanup_(answer_release) struct answer answer = { 0 };

	(void)state;
	start(&f, 10, 0);
	with_client(&f, reader_client);
	stop(&f); /* the alarm is earlier than finish_seconds */
	for (unsigned i = 0; i < 3; i++) {
		answer_release(&answer);
		read_answer(farewell[0], &answer, true);
		assert_true(answer.whole == (i < 2));
	}
	close(farewell[0]);
}

static void no_answer_is_waited_for_for_ever(void **state)
{
	struct fixture f;
	char byte;

	(void)state;
	start_finishing(&f, 10, 0, 1);
	with_client(&f, held_client);
	http_server_free(f.server, on_freed, &f);
	while (http_server_connections(f.server))
		uv_run(&f.loop, UV_RUN_ONCE);
	assert_false(read_byte(farewell[0], &byte));
	close(farewell[0]);
	reply_later(f.held);
	await_freed(&f);
}

static void on_prepare(uv_prepare_t *prepare)
{
	(void)prepare;
	current->loops++;
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
	uv_prepare_t prepare;
	uv_timer_t timer;

	(void)state;
	start(&f, 10, 30);
	with_client(&f, no_client);
	uv_prepare_init(&f.loop, &prepare);
	uv_timer_init(&f.loop, &timer);
	uv_prepare_start(&prepare, on_prepare);
	uv_timer_start(&timer, on_deadline, 300, 0);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_true(f.loops <= 3);
	uv_close((uv_handle_t *)&prepare, NULL);
	uv_close((uv_handle_t *)&timer, NULL);
	stop(&f);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_connection_serves_many_requests),
		cmocka_unit_test(path_is_raw_and_queries_are_decoded),
		cmocka_unit_test(bad_escape_in_a_query_is_refused),
		cmocka_unit_test(reply_may_come_later),
		cmocka_unit_test(client_that_half_closes_is_still_answered),
		cmocka_unit_test(stream_wakes_and_ends),
		cmocka_unit_test(long_stream_arrives_whole),
		cmocka_unit_test(failing_stream_is_cut),
		cmocka_unit_test(client_that_leaves_is_noticed),
		cmocka_unit_test(too_large_body_is_413),
		cmocka_unit_test(reply_from_begin_skips_the_body),
		cmocka_unit_test(body_may_be_streamed),
		cmocka_unit_test(cut_body_is_not_handled),
		cmocka_unit_test(head_has_no_body),
		cmocka_unit_test(file_is_sent_from_its_offset),
		cmocka_unit_test(two_hundred_connections_at_once),
		cmocka_unit_test(connection_over_the_limit_waits_for_its_turn),
		cmocka_unit_test(long_url_and_headers_are_taken),
		cmocka_unit_test(nonsense_does_no_harm),
		cmocka_unit_test(idle_connection_is_closed),
		cmocka_unit_test(free_ends_what_is_open),
		cmocka_unit_test(free_waits_for_the_replies_still_owed),
		cmocka_unit_test(what_came_whole_is_answered_before_the_end),
		cmocka_unit_test(no_answer_is_waited_for_for_ever),
		cmocka_unit_test(an_answer_may_come_late),
		cmocka_unit_test(a_client_that_does_not_read_is_left),
		cmocka_unit_test(idle_server_does_not_wake_up),
		cmocka_unit_test(percent_escapes_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
