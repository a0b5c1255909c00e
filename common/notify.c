/* SPDX-License-Identifier: MIT */
/* notify - what a service and its manager tell each other; see notify.h */
#include "common/notify.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/cleanup.h"

#define FIRST_FD 3
#define MESSAGE_SIZE 1024

/* ---- from the environment ---- */

/* -1: it is not there, or no number. */
static long long number_of(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long long value;

	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	value = strtoll(text, &end, 10);
	return errno || *end ? -1 : value;
}

/* Meant for us: by our pid, where one is named. */
static bool is_for_us(const char *pid_name)
{
	return !getenv(pid_name) || number_of(pid_name) == getpid();
}

static void take_address(struct notify *notify)
{
	const char *name = getenv("NOTIFY_SOCKET");
	size_t size = name ? strlen(name) : 0;
	struct sockaddr_un *address = &notify->address;

	if (size < 2 || size >= sizeof(address->sun_path) || (name[0] != '/' && name[0] != '@'))
		return;
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, name, size);
	if (name[0] == '@')
		address->sun_path[0] = '\0';
	notify->address_size =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (name[0] == '/'));
}

static void take_watchdog(struct notify *notify)
{
	long long span = number_of("WATCHDOG_USEC");

	notify->watchdog_us = span > 0 && is_for_us("WATCHDOG_PID") ? span : 0;
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

static const char *why_unfit(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return "it is not open";
	if (!S_ISSOCK(st.st_mode))
		return "it is no socket";
	if (socket_option(fd, SO_DOMAIN) != AF_UNIX)
		return "it is no Unix socket: clients are known by their credentials there alone";
	if (socket_option(fd, SO_TYPE) != SOCK_STREAM)
		return "it is no stream socket";
	return socket_option(fd, SO_ACCEPTCONN) == 1 ? NULL : "it does not listen";
}

static int take_listener(struct notify *notify, struct error *err)
{
	long long count = number_of("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	const char *why;
	int flags;

	if (count <= 0 || !getenv("LISTEN_PID") || !is_for_us("LISTEN_PID"))
		return 0;
	if (count > 1)
		return error_set(err, -EINVAL, "LISTEN_FDS",
			"the service manager hands over %lld sockets (%s): one ListenStream= is wanted",
			count, names ? names : "without names");
	why = why_unfit(FIRST_FD);
	if (why)
		return error_set(err, -EINVAL, "LISTEN_FDS",
			"the service manager hands over descriptor %d (%s) to listen at, and %s",
			FIRST_FD, names ? names : "without a name", why);
	flags = fcntl(FIRST_FD, F_GETFL);
	if (flags < 0 || fcntl(FIRST_FD, F_SETFL, flags | O_NONBLOCK) < 0 ||
		fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0)
		return error_errno(err, -errno, "LISTEN_FDS", "cannot use descriptor %d", FIRST_FD);
	notify->listen_fd = FIRST_FD;
	return 0;
}

int notify_take(struct notify *ret, struct error *err)
{
	static const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
		"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES" };
	struct notify notify = NOTIFY_NONE;
	int r;

	take_address(&notify);
	take_watchdog(&notify);
	r = take_listener(&notify, err);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	if (r >= 0)
		*ret = notify;
	return r;
}

/* ---- to the manager ---- */

static int send_text(const struct notify *notify, const char *text, size_t size)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = sendto(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT,
			(const struct sockaddr *)&notify->address, notify->address_size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int notify_send(const struct notify *notify, const char *fmt, ...)
{
	char text[MESSAGE_SIZE];
	va_list args;
	int size;

	if (!notify->address_size)
		return 0;
	va_start(args, fmt);
	size = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (size < 0 || size >= (int)sizeof(text))
		return -EMSGSIZE;
	return send_text(notify, text, (size_t)size);
}

int notify_reloading(const struct notify *notify)
{
	struct timespec now;

	/* The manager compares it with its own: CLOCK_MONOTONIC, no other. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return notify_send(notify, "RELOADING=1\nMONOTONIC_USEC=%lld",
		(long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}
