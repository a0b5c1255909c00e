/* SPDX-License-Identifier: MIT */
/*
 * test_http_limits - what one user may take of the HTTP server, and how long it waits for anybody
 *
 * Users are threads of this program that have taken another effective uid: connect() tells the
 * server that one. That needs root; the tests of several users are skipped without it.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "http/http_internal.h"

#define MAX_BODY 100000
#define STREAM_BYTES (4u << 20)
#define SLOW_PIECES 5
#define ANA 60001
#define BOB 60002
#define CARL 60003

/* ---- the server side ---- */

struct fixture {
	uv_loop_t loop;
	struct http_server *server;
	struct http_options options;
	char dir[64];
	char socket[96];
	uv_async_t client_done;
	bool client_running;
	bool freed;
	unsigned handled; /* atomic */
	unsigned streams_opened, streams_closed;
	unsigned pieces; /* atomic */
	unsigned loops;
	sem_t still, go_on; /* "/still": the loop stands, until it is to go on */
	unsigned marked_handled, marked_pieces; /* as they were when "/mark" was handled; atomic */
};

static struct fixture *current;

static ssize_t stream_read(void *data, char *to, size_t size)
{
	size_t *left = data;

	if (size > *left)
		size = *left;
	memset(to, 'x', size);
	*left -= size;
	return (ssize_t)size;
}

static void stream_close(void *data)
{
	current->streams_closed++;
	free(data);
}

static void reply_stream(struct http_request *request)
{
	static const struct http_stream_ops ops = { stream_read, stream_close };
	size_t *left = NEW(size_t);

	*left = STREAM_BYTES;
	http_reply_stream(request, 200, NULL, HTTP_SIZE_UNKNOWN, &ops, left, NULL);
}

static void reply_groups(struct http_request *request)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	size_t count;
	const gid_t *groups = http_request_groups(request, &count);

	for (size_t i = 0; i < count; i++)
		strbuf_addf(&text, "%u ", groups[i]);
	http_reply(request, 200, NULL, text.data, text.size, NULL);
}

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
	__atomic_add_fetch(&current->pieces, 1, __ATOMIC_RELEASE);
	if (!*left || !size)
		return 0;
	(*left)--;
	*to = 'x';
	return 1;
}

static void reply_slowly(struct http_request *request)
{
	static const struct http_stream_ops ops = { slow_read, stream_close };
	size_t *left = NEW(size_t);

	*left = SLOW_PIECES;
	current->streams_opened++;
	http_reply_stream(request, 200, NULL, HTTP_SIZE_UNKNOWN, &ops, left, NULL);
}

static void stand_still(void)
{
	sem_post(&current->still);
	while (sem_wait(&current->go_on) < 0)
		;
}

static void mark(void)
{
	unsigned pieces = __atomic_load_n(&current->pieces, __ATOMIC_ACQUIRE);

	__atomic_store_n(&current->marked_pieces, pieces, __ATOMIC_RELEASE);
	__atomic_store_n(&current->marked_handled, current->handled, __ATOMIC_RELEASE);
}

static void on_handle(void *data, struct http_request *request)
{
	const char *path = http_request_path(request);

	(void)data;
	__atomic_add_fetch(&current->handled, 1, __ATOMIC_RELEASE);
	if (!strcmp(path, "/stream")) {
		reply_stream(request);
		return;
	}
	if (!strcmp(path, "/slow")) {
		reply_slowly(request);
		return;
	}
	if (!strcmp(path, "/groups")) {
		reply_groups(request);
		return;
	}
	if (!strcmp(path, "/work"))
		work_5ms();
	if (!strcmp(path, "/still"))
		stand_still();
	if (!strcmp(path, "/mark"))
		mark();
	http_reply(request, 200, NULL, "done", 4, NULL);
}

static const struct http_handler handler = { .handle = on_handle };

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

static bool nobody_is_exempt(uid_t uid)
{
	(void)uid;
	return false;
}

/* The defaults of a test: nobody is exempt, and nothing is limited. */
static void prepare(struct fixture *f)
{
	*f = (struct fixture){ .options = { .max_body = MAX_BODY,
				       .max_connections = 100,
				       .is_exempt = nobody_is_exempt } };
	sem_init(&f->still, 0, 0);
	sem_init(&f->go_on, 0, 0);
	current = f;
}

static void start(struct fixture *f)
{
	alarm(60);
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_limits.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(chmod(f->dir, 0755), 0);
	snprintf(f->socket, sizeof(f->socket), "%s/s", f->dir);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	uv_async_init(&f->loop, &f->client_done, on_client_done);
	assert_int_equal(http_server_new(&f->loop, listen_at(f->socket), &handler, &f->options,
				 &f->server, NULL),
		0);
}

static void on_freed(void *data)
{
	((struct fixture *)data)->freed = true;
}

static void stop(struct fixture *f)
{
	http_server_free(f->server, on_freed, f);
	while (!f->freed)
		uv_run(&f->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&f->client_done, NULL);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	sem_destroy(&f->still);
	sem_destroy(&f->go_on);
	unlink(f->socket);
	rmdir(f->dir);
	alarm(0);
}

/* ---- the client side, in a thread of its own ---- */

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

/* Of this thread alone, which glibc's call would not do. */
static void become(uid_t uid)
{
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	assert_int_equal(syscall(SYS_setresuid, -1, uid, -1), 0);
}

static void need_root(void)
{
	if (getuid() != 0)
		skip();
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

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Head and body of one answer in `text`; its status, 0 when the connection ended without one. */
static int read_answer(int fd, char *text, size_t room)
{
	size_t used = 0;
	const char *body, *length;

	text[0] = '\0';
	for (;;) {
		ssize_t n = recv(fd, text + used, room - used - 1, 0);

		if (n <= 0)
			break;
		used += (size_t)n;
		text[used] = '\0';
		body = strstr(text, "\r\n\r\n");
		length = strcasestr(text, "\r\nContent-Length: ");
		if (body && length && strlen(body + 4) >= strtoul(length + 18, NULL, 10))
			break;
	}
	return used > 9 ? atoi(text + 9) : 0;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static int get(int fd, const char *request)
{
	char text[4096];

	send_text(fd, request);
	return read_answer(fd, text, sizeof(text));
}

static void expect_ok(int fd)
{
	assert_int_equal(get(fd, GET("/")), 200);
}

static void expect_refused(int fd, int status, const char *code)
{
	char text[4096];

	assert_int_equal(read_answer(fd, text, sizeof(text)), status);
	assert_non_null(strstr(text, code));
	assert_non_null(strstr(text, "\"target\":null}}"));
}

/* From here until let_go_on() the server's loop stands: what is sent meanwhile is there all at once. */
static void make_stand(struct fixture *f, int fd)
{
	send_text(fd, GET("/still"));
	while (sem_wait(&f->still) < 0)
		;
}

static void let_go_on(struct fixture *f)
{
	sem_post(&f->go_on);
}

static void expect_answer(int fd)
{
	char text[4096];

	assert_int_equal(read_answer(fd, text, sizeof(text)), 200);
}

/* As many as are served, each kept open; the next is refused. */
static unsigned open_all(struct fixture *f, int *fds, unsigned max)
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

static void close_all(int *fds, unsigned count)
{
	while (count)
		fd_close(fds[--count]);
}

/* ---- connections ---- */

static void connections_client(struct fixture *f)
{
	_cleanup_(closep) int one = dial(f);
	_cleanup_(closep) int two = dial(f);
	_cleanup_(closep) int three = -EBADF;
	char text[4096];

	expect_ok(one);
	expect_ok(two);
	three = dial(f);
	send_text(three, GET("/")); /* as clients do: first they speak */
	assert_int_equal(read_answer(three, text, sizeof(text)), 503);
	assert_non_null(strstr(text, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(text, "too many connections"));
	assert_int_equal(recv(three, text, 1, 0), 0);
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
	prepare(&f);
	f.options.limits.max_connections_per_user = 2;
	start(&f);
	with_client(&f, connections_client);
	http_server_statistics(f.server, &statistics);
	assert_true(statistics.refused >= 1);
	assert_int_equal(statistics.accepted, 3);
	assert_int_equal(statistics.requests[5], statistics.refused);
	stop(&f);
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
	prepare(&f);
	f.options.max_connections = 16;
	f.options.limits.max_connections_per_user = 100;
	start(&f);
	with_client(&f, shares_client);
	stop(&f);
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
	prepare(&f);
	f.options.is_exempt = NULL;
	f.options.limits = (struct http_limits){ .max_connections_per_user = 1,
		.max_requests_per_second_per_user = 1 };
	start(&f);
	with_client(&f, exempt_client);
	stop(&f);
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
	prepare(&f);
	f.options.limits.max_connections_per_user = 2;
	start(&f);
	with_client(&f, flood_client);
	stop(&f);
}

/* ---- descriptors ---- */

static void on_prepare(uv_prepare_t *prepare_handle)
{
	(void)prepare_handle;
	current->loops++;
}

/* All descriptors but one, which connects; the spare one of the server answers it. */
static void exhausted_client(struct fixture *f)
{
	int fds[512];
	unsigned count = 0;
	int caller;
	char text[4096];

	while (count < 512 && (fds[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		count++;
	assert_true(count > 0 && count < 512);
	fd_close(fds[--count]);
	caller = dial(f);
	assert_int_equal(read_answer(caller, text, sizeof(text)), 503);
	assert_non_null(strstr(text, "no file descriptors"));
	fd_close(caller);
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
	uv_prepare_t counter;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &before);
	few = before;
	few.rlim_cur = 128;
	prepare(&f);
	start(&f);
	uv_prepare_init(&f.loop, &counter);
	uv_prepare_start(&counter, on_prepare);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	with_client(&f, exhausted_client);
	setrlimit(RLIMIT_NOFILE, &before);
	assert_true(f.loops < 200);
	uv_close((uv_handle_t *)&counter, NULL);
	stop(&f);
}

/* ---- requests ---- */

/* Requests until one is too much: how many were served. They are sent on both in turn. */
static unsigned use_up(int one, int two)
{
	unsigned served = 0;
	char text[4096];
	int status;

	do {
		int fd = served % 2 ? two : one;

		assert_true(served < 1000);
		send_text(fd, GET("/"));
		status = read_answer(fd, text, sizeof(text));
		served += status == 200;
	} while (status == 200);
	assert_int_equal(status, 429);
	assert_non_null(strcasestr(text, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(text, "\"code\":\"TooManyRequests\""));
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
	prepare(&f);
	f.options.limits.max_requests_per_second_per_user = 5;
	start(&f);
	with_client(&f, rate_client);
	http_server_statistics(f.server, &statistics);
	assert_true(statistics.limited >= 1);
	assert_int_equal(statistics.limited, statistics.requests[4]);
	assert_int_equal(statistics.requests[2], f.handled);
	stop(&f);
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
	prepare(&f);
	f.options.limits.max_requests_per_second_per_user = 2;
	start(&f);
	with_client(&f, other_rate_client);
	stop(&f);
}

static void new_limits_client(struct fixture *f)
{
	_cleanup_(closep) int one = dial(f);
	_cleanup_(closep) int two = dial(f);
	char text[4096];

	send_text(one, GET("/"));
	assert_int_equal(read_answer(one, text, sizeof(text)), 200);
	assert_int_equal(get(two, GET("/")), 503);
}

static void new_limits_hold_at_once(void **state)
{
	struct fixture f;

	(void)state;
	prepare(&f);
	start(&f);
	http_server_set_limits(f.server, &(struct http_limits){ .max_connections_per_user = 1 });
	with_client(&f, new_limits_client);
	stop(&f);
}

static void turns_client(struct fixture *f)
{
	int ana[64];
	_cleanup_(closep) int bob = -EBADF;
	_cleanup_(closep) int other = -EBADF;

	become(BOB);
	bob = dial(f);
	expect_ok(bob);
	become(ANA);
	assert_int_equal(open_all(f, ana, ARRAY_SIZE(ana)), ARRAY_SIZE(ana));
	become(0);
	other = dial(f);
	make_stand(f, other);
	for (size_t i = 0; i < ARRAY_SIZE(ana); i++)
		send_text(ana[i], GET("/work"));
	send_text(bob, GET("/mark"));
	let_go_on(f);
	expect_answer(other);
	expect_answer(bob);
	/* those of ana that were before him are few of her 64 */
	assert_true(__atomic_load_n(&f->marked_handled, __ATOMIC_ACQUIRE) < 67 + 32);
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
	prepare(&f);
	start(&f);
	with_client(&f, turns_client);
	assert_int_equal(f.handled, 3 + 2 * 64);
	stop(&f);
}

static void stream_turns_client(struct fixture *f)
{
	int ana[48];
	_cleanup_(closep) int bob = -EBADF;
	_cleanup_(closep) int other = -EBADF;

	become(BOB);
	bob = dial(f);
	expect_ok(bob);
	become(ANA);
	assert_int_equal(open_all(f, ana, ARRAY_SIZE(ana)), ARRAY_SIZE(ana));
	become(0);
	other = dial(f);
	make_stand(f, other);
	for (size_t i = 0; i < ARRAY_SIZE(ana); i++)
		send_text(ana[i], GET("/slow"));
	for (unsigned i = 0, before = 0; i < 5; i++) {
		send_text(bob, GET("/mark"));
		let_go_on(f);
		expect_answer(other);
		expect_answer(bob);
		/* not one of each of her streams */
		assert_true(__atomic_load_n(&f->marked_pieces, __ATOMIC_ACQUIRE) < before + 16);
		make_stand(f, other);
		before = __atomic_load_n(&f->pieces, __ATOMIC_ACQUIRE);
	}
	let_go_on(f);
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
	prepare(&f);
	start(&f);
	with_client(&f, stream_turns_client);
	stop(&f);
	assert_true(f.streams_opened >= 24 && f.streams_opened <= 48);
	assert_int_equal(f.streams_closed, f.streams_opened);
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
	prepare(&f);
	start(&f);
	with_client(&f, lone_stream_client);
	stop(&f);
	assert_int_equal(f.streams_closed, 1);
	assert_int_equal(f.pieces, SLOW_PIECES + 1);
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
	prepare(&f);
	start(&f);
	with_client(&f, leaving_turns_client);
	with_client(&f, leaving_turns_client);
	stop(&f); /* with requests that were put off, most likely */
}

/* ---- bodies in memory ---- */

static void bodies_client(struct fixture *f)
{
	_cleanup_(freep) char *bytes = mem_alloc(MAX_BODY);
	int fds[HTTP_BODIES_PER_USER + 1];
	unsigned refused = 0;
	char text[4096];

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
		int status = read_answer(fds[i], text, sizeof(text));

		assert_true(status == 200 || status == 429);
		refused += status == 429;
	}
	assert_in_range(refused, 1, 3); /* they came side by side: more than one was too much */
	/* what was taken is given back */
	send_text(fds[0], "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na");
	assert_int_equal(read_answer(fds[0], text, sizeof(text)), 200);
	close_all(fds, ARRAY_SIZE(fds));
}

static void bodies_of_a_user_in_memory_are_bounded(void **state)
{
	struct fixture f;

	(void)state;
	prepare(&f);
	start(&f);
	with_client(&f, bodies_client);
	stop(&f);
}

/* ---- time ---- */

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
	prepare(&f);
	f.options.idle_timeout_seconds = 60;
	f.options.limits.request_timeout_seconds = 3;
	start(&f);
	with_client(&f, slow_head_client);
	http_server_statistics(f.server, &statistics);
	assert_int_equal(statistics.timed_out, 3);
	stop(&f);
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
	prepare(&f);
	f.options.limits.body_timeout_seconds = 5;
	start(&f);
	with_client(&f, slow_body_client);
	stop(&f);
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
	prepare(&f);
	f.options.idle_timeout_seconds = 3;
	f.options.limits.request_timeout_seconds = 3;
	f.options.limits.body_timeout_seconds = 3;
	start(&f);
	with_client(&f, slow_reader_client);
	stop(&f);
	assert_int_equal(f.streams_closed, 1);
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
		char answer[4096];

		assert_true(asprintf(&text, forms[i], large) > 0);
		send(fd, text, strlen(text), MSG_NOSIGNAL); /* it need not take all of it */
		assert_int_equal(read_answer(fd, answer, sizeof(answer)), statuses[i]);
	}
}

static void large_heads_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	prepare(&f);
	start(&f);
	with_client(&f, large_head_client);
	assert_int_equal(f.handled, 0);
	stop(&f);
}

/* ---- who ---- */

static void groups_client(struct fixture *f)
{
	gid_t groups[] = { 70001, 70002 };
	_cleanup_(closep) int fd = -EBADF;
	char text[4096];

	assert_int_equal(syscall(SYS_setgroups, ARRAY_SIZE(groups), groups), 0);
	assert_int_equal(syscall(SYS_setresgid, -1, 70003, -1), 0);
	become(ANA);
	fd = dial(f);
	send_text(fd, GET("/groups"));
	assert_int_equal(read_answer(fd, text, sizeof(text)), 200);
	assert_string_equal(strstr(text, "\r\n\r\n") + 4, "70001 70002 70003 ");
}

static void groups_are_the_kernels(void **state)
{
	struct fixture f;

	(void)state;
	need_root();
	prepare(&f);
	start(&f);
	with_client(&f, groups_client);
	stop(&f);
}

static void own_groups_client(struct fixture *f)
{
	_cleanup_(closep) int fd = dial(f);
	_cleanup_(freep) char *own = mem_printf("%u ", getegid());
	char text[65536];

	send_text(fd, GET("/groups"));
	assert_int_equal(read_answer(fd, text, sizeof(text)), 200);
	assert_non_null(strstr(text, own));
}

static void primary_group_is_among_the_groups(void **state)
{
	struct fixture f;

	(void)state;
	prepare(&f);
	start(&f);
	with_client(&f, own_groups_client);
	stop(&f);
}

static void lent_uids_are_their_owners(void **state)
{
	static const char text[] = "ana:100000:65536\n"
				   "# a comment\n"
				   "bob:165536:65536\n"
				   "broken\n:\nx:y:z\nx:5\n"
				   "carl:300000:1";

	(void)state;
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 99999), 99999);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 100000), 100000);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 165535), 100000);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 165536), 165536);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 231071), 165536);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 231072), 231072);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 300000), 300000);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 300001), 300001);
	assert_int_equal(http_subuid_owner(text, sizeof(text) - 1, 5), 5);
	assert_int_equal(http_subuid_owner(NULL, 0, 7), 7);
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
		cmocka_unit_test(requests_of_one_user_do_not_hold_up_anothers),
		cmocka_unit_test(clients_may_leave_before_their_turn),
		cmocka_unit_test(streams_of_one_user_do_not_hold_up_another),
		cmocka_unit_test(stream_that_is_put_off_goes_on_by_itself),
		cmocka_unit_test(bodies_of_a_user_in_memory_are_bounded),
		cmocka_unit_test(slow_headers_are_not_waited_for),
		cmocka_unit_test(slow_bodies_are_not_waited_for),
		cmocka_unit_test(reader_of_a_stream_may_pause),
		cmocka_unit_test(large_heads_are_refused),
		cmocka_unit_test(groups_are_the_kernels),
		cmocka_unit_test(primary_group_is_among_the_groups),
		cmocka_unit_test(lent_uids_are_their_owners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
