/* SPDX-License-Identifier: MIT */
/*
 * notify - what a service and its manager (systemd) tell each other, without a library
 *
 * notify_take() reads it from the environment, once, at the start, and removes it from there:
 * nothing that we start takes itself for the service.
 *
 *	NOTIFY_SOCKET                    where the manager listens: a path, or abstract ("@name")
 *	WATCHDOG_USEC, WATCHDOG_PID      it ends who is silent for so long
 *	LISTEN_FDS, _PID, _FDNAMES       sockets that it has made for us, from descriptor 3 on
 *
 * A daemon whom nobody asked tells nobody: all calls return 0 then.
 *
 * Threads: notify_take() before there are others; the rest any. No heap: part of the supervisor.
 * Errors: negative errno.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/error.h"

struct notify {
	struct sockaddr_un address;
	socklen_t address_size; /* 0: nobody listens */
	int64_t watchdog_us;    /* 0: none */
	int listen_fd;          /* a listening Unix stream socket, close-on-exec; -EBADF: none */
};

#define NOTIFY_NONE \
	{ \
		.listen_fd = -EBADF \
	}

/* -EINVAL when what was handed over is not one listening Unix stream socket; err says what it is.
 * The descriptor is the caller's then. */
int notify_take(struct notify *ret, struct error *err);

/* Lines of "NAME=value": "READY=1", "STATUS=...", "STOPPING=1", "WATCHDOG=1". -EAGAIN rather than
 * waiting for a manager that does not listen now. */
int notify_send(const struct notify *notify, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* "RELOADING=1" with the time that goes with it; "READY=1" ends it. */
int notify_reloading(const struct notify *notify);
