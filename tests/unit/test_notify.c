/* SPDX-License-Identifier: MIT */
/*
 * test_notify - what a service manager hands over, and what it is told, with a manager of our own
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "common/cleanup.h"
#include "common/notify.h"

static const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
	"LISTEN_PID", "LISTEN_FDNAMES" };

static int clear(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	return 0;
}

static void set_number(const char *name, long long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", number);
	setenv(name, text, 1);
}

static void assert_environment_is_clean(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_null(getenv(names[i]));
}

/* A socket that a manager would listen at. */
static int listen_for_news(const struct sockaddr_un *address, size_t name_size)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)address,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_size)),
		0);
	return fd;
}

static void assert_news(int fd, const char *expected)
{
	char text[2048] = "";
	ssize_t size = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	assert_true(size >= 0);
	assert_string_equal(text, expected);
}

static void nobody_asked(void **state)
{
	struct notify notify;

	(void)state;
	assert_int_equal(notify_take(&notify, NULL), 0);
	assert_int_equal(notify.listen_fd, -EBADF);
	assert_int_equal(notify.watchdog_us, 0);
	assert_int_equal(notify_send(&notify, "READY=1"), 0);
	assert_int_equal(notify_reloading(&notify), 0);
}

static void is_told_at(const char *name, const struct sockaddr_un *address, size_t name_size)
{
	_cleanup_(closep) int fd = listen_for_news(address, name_size);
	char text[256] = "";
	struct notify notify;
	long long at;

	setenv("NOTIFY_SOCKET", name, 1);
	set_number("WATCHDOG_USEC", 20000000);
	set_number("WATCHDOG_PID", getpid());
	assert_int_equal(notify_take(&notify, NULL), 0);
	assert_environment_is_clean();
	assert_int_equal(notify.watchdog_us, 20000000);
	assert_int_equal(notify_send(&notify, "READY=1\nSTATUS=%d runs", 3), 0);
	assert_news(fd, "READY=1\nSTATUS=3 runs");
	assert_int_equal(notify_reloading(&notify), 0);
	assert_true(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_int_equal(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lld", &at), 1);
	assert_true(at > 0);
	assert_int_equal(notify_send(&notify, "STATUS=%02000d", 1), -EMSGSIZE);
	/* A manager that does not listen is not waited for. */
	for (int i = 0; i < 100000 && notify_send(&notify, "WATCHDOG=1") == 0; i++)
		;
	assert_int_equal(notify_send(&notify, "WATCHDOG=1"), -EAGAIN);
}

static void by_a_path(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/notify-XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
	is_told_at(address.sun_path, &address, strlen(address.sun_path) + 1);
	unlink(address.sun_path);
	rmdir(dir);
}

static void by_an_abstract_name(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char name[64];

	(void)state;
	snprintf(name, sizeof(name), "@amlagent-test-%d", (int)getpid());
	memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
	is_told_at(name, &address, strlen(name));
}

static void what_is_no_address_is_nobody(void **state)
{
	char long_name[200];

	(void)state;
	memset(long_name, 'x', sizeof(long_name));
	long_name[0] = '/';
	long_name[sizeof(long_name) - 1] = '\0';
	for (int i = 0; i < 4; i++) {
		const char *const bad[] = { "", "/", "relative", long_name };
		struct notify notify;

		setenv("NOTIFY_SOCKET", bad[i], 1);
		assert_int_equal(notify_take(&notify, NULL), 0);
		assert_int_equal(notify.address_size, 0);
		assert_null(getenv("NOTIFY_SOCKET"));
	}
}

static void a_manager_that_has_gone_is_an_error(void **state)
{
	struct notify notify;

	(void)state;
	setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
	assert_int_equal(notify_take(&notify, NULL), 0);
	assert_int_equal(notify_send(&notify, "READY=1"), -ENOENT);
}

static void the_watchdog_of_another_process_is_not_ours(void **state)
{
	static const char *const bad[] = { "0", "-5", "x", "5x", "99999999999999999999" };
	struct notify notify;

	(void)state;
	set_number("WATCHDOG_USEC", 1000);
	set_number("WATCHDOG_PID", getpid() + 1);
	assert_int_equal(notify_take(&notify, NULL), 0);
	assert_int_equal(notify.watchdog_us, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		setenv("WATCHDOG_USEC", bad[i], 1);
		assert_int_equal(notify_take(&notify, NULL), 0);
		assert_int_equal(notify.watchdog_us, 0);
	}
}

/* ---- sockets handed over; in a child, whose descriptor 3 is what it is to be ---- */

static int stream_listener(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	/* No name of ours: the kernel gives one. */
	if (bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 || listen(fd, 5) < 0)
		return -1;
	return fd;
}

static int stream_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int datagram_socket(void)
{
	return socket(AF_UNIX, SOCK_DGRAM, 0);
}

static int internet_listener(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return listen(fd, 5) < 0 ? -1 : fd;
}

static int plain_file(void)
{
	return open("/dev/null", O_RDONLY);
}

static int nothing(void)
{
	return 200;
}

/* 0: a good listener; 1: none, and no error; 2: an error; else a fault. */
static int take_in_child(int (*make)(void), int count, pid_t for_pid)
{
	struct error err = ERROR_INIT;
	struct notify notify;
	int fd = make();
	int r;

	if (fd < 0)
		return 10;
	if (fd != 3)
		close(3);
	if (fd != 3 && dup2(fd, 3) < 0 && make != nothing)
		return 11;
	set_number("LISTEN_FDS", count);
	set_number("LISTEN_PID", for_pid ? for_pid : getpid());
	setenv("LISTEN_FDNAMES", "api", 1);
	r = notify_take(&notify, &err);
	if (getenv("LISTEN_FDS") || getenv("LISTEN_PID") || getenv("LISTEN_FDNAMES"))
		return 12;
	if (r < 0)
		return r == -EINVAL && strstr(err.message, "api") ? 2 : 13;
	if (notify.listen_fd < 0)
		return 1;
	if (!(fcntl(3, F_GETFD) & FD_CLOEXEC) || !(fcntl(3, F_GETFL) & O_NONBLOCK))
		return 14;
	return notify.listen_fd == 3 ? 0 : 15;
}

static void only_a_listening_unix_stream_socket_is_taken(void **state)
{
	static const struct {
		int (*make)(void);
		int count;
		pid_t for_pid; /* 0: for the one who asks */
		int expected;
	} cases[] = {
		{ stream_listener, 1, 0, 0 },
		{ stream_listener, 0, 0, 1 },
		{ stream_listener, 1, 1, 1 }, /* another process's */
		{ stream_listener, 2, 0, 2 },
		{ stream_socket, 1, 0, 2 },
		{ datagram_socket, 1, 0, 2 },
		{ internet_listener, 1, 0, 2 },
		{ plain_file, 1, 0, 2 },
		{ nothing, 1, 0, 2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(take_in_child(cases[i].make, cases[i].count, cases[i].for_pid));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) != cases[i].expected)
			print_error("case %zu\n", i);
		assert_int_equal(WEXITSTATUS(status), cases[i].expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(nobody_asked, clear),
		cmocka_unit_test_setup(by_a_path, clear),
		cmocka_unit_test_setup(by_an_abstract_name, clear),
		cmocka_unit_test_setup(what_is_no_address_is_nobody, clear),
		cmocka_unit_test_setup(a_manager_that_has_gone_is_an_error, clear),
		cmocka_unit_test_setup(the_watchdog_of_another_process_is_not_ours, clear),
		cmocka_unit_test_setup(only_a_listening_unix_stream_socket_is_taken, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
