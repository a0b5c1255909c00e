/* SPDX-License-Identifier: MIT */
/*
 * fd_pass - bytes, and at most one descriptor, over a Unix stream socket, with a time limit
 *
 * Errors: 0 or a negative errno: -ETIMEDOUT nothing moved for that long, -ECONNRESET the other side
 * has gone in the middle. Threads: one at a time for one socket. No heap.
 */
#pragma once

#include <stddef.h>

/* All of it. fd: goes along with the first byte; negative: none. */
int fd_pass_send(int socket, const void *data, size_t size, int fd, int timeout_ms);

/* All of size. *ret_fd (NULL: none is taken): close-on-exec, the caller's, after a failure too: closing
 * what somebody else has opened may take for ever. -EBADF when none came. More than one are dropped. */
int fd_pass_receive(int socket, void *data, size_t size, int *ret_fd, int timeout_ms);
