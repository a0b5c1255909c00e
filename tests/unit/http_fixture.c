/* SPDX-License-Identifier: MIT */
/* http_fixture - an HTTP server and clients of it; see http_fixture.h */
#include "http_fixture.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

struct fixture *current;

/* ---- answers ---- */

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

static ssize_t bytes_read(void *data, char *to, size_t size)
{
	uint64_t *left = data;

	if (size > *left)
		size = *left;
	memset(to, 'x', size);
	*left -= size;
	return (ssize_t)size;
}

void count_close(void *data)
{
	current->streams_closed++;
	free(data);
}

void reply_bytes(struct http_request *request, uint64_t count)
{
	static const struct http_stream_ops ops = { bytes_read, count_close };
	uint64_t *left = NEW(uint64_t);

	*left = count;
	http_reply_stream(request, 200, NULL, HTTP_SIZE_UNKNOWN, &ops, left, NULL);
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

void reply_after(struct http_request *request, unsigned ms)
{
	struct later *later = NEW(struct later);

	later->request = request;
	uv_timer_init(&current->loop, &later->timer);
	uv_timer_start(&later->timer, on_later, ms, 0);
}

void reply_later(struct http_request *request)
{
	reply_after(request, 20);
}

void reply_what(struct http_request *request)
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

static void reply_pieces_fast(struct http_request *request)
{
	reply_pieces(request, PIECES, 1);
}

static void reply_pieces_never(struct http_request *request)
{
	reply_pieces(request, 1, 3600 * 1000);
}

static const struct behaviour behaviours[] = {
	{ "/echo", reply_echo },
	{ "/later", reply_later },
	{ "/pieces", reply_pieces_fast },
	{ "/never", reply_pieces_never },
	{ 0 },
};

/* ---- the handler ---- */

static const struct behaviour *find(const struct behaviour *list, const char *path)
{
	while (list->path && strcmp(list->path, path))
		list++;
	return list->path ? list : NULL;
}

static const struct behaviour *behaviour_of(const struct http_request *request)
{
	const char *path = http_request_path(request);
	const struct behaviour *own = current->own ? find(current->own, path) : NULL;

	return own ? own : find(behaviours, path);
}

static void on_begin(void *data, struct http_request *request)
{
	const struct behaviour *behaviour = behaviour_of(request);

	(void)data;
	__atomic_add_fetch(&current->begun, 1, __ATOMIC_RELEASE);
	http_request_set_user_data(request, current);
	if (behaviour && behaviour->begin)
		behaviour->begin(request);
}

static void on_handle(void *data, struct http_request *request)
{
	const struct behaviour *behaviour = behaviour_of(request);

	(void)data;
	__atomic_add_fetch(&current->handled, 1, __ATOMIC_RELEASE);
	if (behaviour && behaviour->handle)
		behaviour->handle(request);
	else
		reply_what(request);
}

static void on_end(void *data, struct http_request *request)
{
	(void)data;
	assert_ptr_equal(http_request_user_data(request), current);
	current->ended++;
}

/* ---- the server ---- */

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 512), 0);
	assert_int_equal(chmod(path, 0666), 0);
	return fd;
}

static void on_client_done(uv_async_t *async)
{
	(void)async;
	current->client_running = false;
}

static void on_turn(uv_prepare_t *turn)
{
	(void)turn;
	current->loops++;
}

static bool nobody_is_exempt(uid_t uid)
{
	(void)uid;
	return false;
}

void fixture_init(struct fixture *f, const struct behaviour *own)
{
	*f = (struct fixture){
		.options = { .max_body = MAX_BODY, .max_connections = 10, .finish_seconds = 100 },
		.handler = { on_begin, on_handle, on_end, NULL },
		.own = own,
	};
	current = f;
}

void fixture_init_users(struct fixture *f, const struct behaviour *own)
{
	fixture_init(f, own);
	f->options = (struct http_options){
		.max_body = MAX_BODY, .max_connections = 100, .is_exempt = nobody_is_exempt
	};
	f->handler.begin = NULL;
	f->handler.end = NULL;
}

void fixture_start(struct fixture *f)
{
	alarm(60);
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_http.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chmod(f->dir, 0755), 0);
	snprintf(f->socket, sizeof(f->socket), "%s/s", f->dir);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	uv_async_init(&f->loop, &f->client_done, on_client_done);
	uv_prepare_init(&f->loop, &f->turn);
	uv_prepare_start(&f->turn, on_turn);
	assert_int_equal(http_server_new(&f->loop, listen_at(f->socket), &f->handler, &f->options,
				 &f->server, NULL),
		0);
}

void fixture_open(struct fixture *f, const struct behaviour *own)
{
	fixture_init(f, own);
	fixture_start(f);
}

static void on_freed(void *data)
{
	((struct fixture *)data)->freed = true;
}

void fixture_begin_close(struct fixture *f)
{
	http_server_free(f->server, on_freed, f);
}

/* Nothing may be left: no handle, no request that was not ended. */
void fixture_end_close(struct fixture *f)
{
	while (!f->freed)
		uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(f->begun, f->ended);
	uv_close((uv_handle_t *)&f->client_done, NULL);
	uv_close((uv_handle_t *)&f->turn, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	unlink(f->socket);
	rmdir(f->dir);
	alarm(0);
}

void fixture_close(struct fixture *f)
{
	fixture_begin_close(f);
	fixture_end_close(f);
}

void wait_for_connections(struct fixture *f, unsigned count)
{
	while (http_server_connections(f->server) > count)
		uv_run(&f->loop, UV_RUN_ONCE);
}

/* ---- the client, in a thread of its own ---- */

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

void with_client(struct fixture *f, void (*run)(struct fixture *f))
{
	struct client client = { f, run };
	pthread_t thread;

	f->client_running = true;
	assert_int_equal(pthread_create(&thread, NULL, client_main, &client), 0);
	while (f->client_running)
		uv_run(&f->loop, UV_RUN_ONCE);
	pthread_join(thread, NULL);
}

void await_count(const unsigned *counter, unsigned count)
{
	while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) < count)
		usleep(500);
}

int dial(struct fixture *f)
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

int send_all(int fd, const void *data, size_t size)
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

void send_text(int fd, const char *text)
{
	assert_int_equal(send_all(fd, text, strlen(text)), 0);
}

bool read_byte(int fd, char *to)
{
	return recv(fd, to, 1, 0) == 1;
}

bool read_bytes(int fd, struct strbuf *to, size_t size)
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

bool read_head(int fd, struct answer *answer)
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

bool read_chunks(int fd, struct strbuf *to, bool keep_bytes)
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

void answer_release(struct answer *answer)
{
	strbuf_release(&answer->body);
}

void read_answer(int fd, struct answer *ret, bool has_body)
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

void expect(int fd, const char *request, int status, const char *body)
{
	_cleanup_(answer_release) struct answer answer;

	send_text(fd, request);
	read_answer(fd, &answer, true);
	assert_int_equal(answer.status, status);
	assert_true(answer.whole);
	assert_string_equal(answer.body.data, body);
}

int read_status(int fd)
{
	_cleanup_(answer_release) struct answer answer;

	read_answer(fd, &answer, true);
	return answer.status;
}

int get(int fd, const char *request)
{
	send_text(fd, request);
	return read_status(fd);
}

void expect_ok(int fd)
{
	assert_int_equal(get(fd, GET("/")), 200);
}

void expect_answer(int fd)
{
	assert_int_equal(read_status(fd), 200);
}

void later_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);

	expect(fd, GET("/later"), 200, "later");
	expect(fd, GET("/later"), 200, "later");
}

unsigned open_all(struct fixture *f, int *fds, unsigned max)
{
	unsigned count = 0;

	for (; count < max; count++) {
		fds[count] = dial(f);
		if (get(fds[count], GET("/")) != 200)
			break;
	}
	if (count < max)
		fd_close(fds[count]);
	return count;
}

void close_all(int *fds, unsigned count)
{
	while (count)
		fd_close(fds[--count]);
}

/* ---- several users ---- */

void need_root(void)
{
	if (getuid() != 0)
		skip();
}

void become(uid_t uid)
{
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	assert_int_equal(syscall(SYS_setresuid, -1, uid, -1), 0);
}
