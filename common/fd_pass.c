/* SPDX-License-Identifier: MIT */
/* fd_pass - bytes and a descriptor over a Unix socket; see fd_pass.h */
#include "common/fd_pass.h"

#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"

/* More than we take, so that none is lost unseen when somebody sends many. */

union control {
	struct cmsghdr header; /* its alignment */
	char bytes[CMSG_SPACE(sizeof(int))];
};

static int wait_for(int socket, short events, int timeout_ms)
{
	struct pollfd poller = { .fd = socket, .events = events };
	int r;

	do
		r = poll(&poller, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

static void attach(struct msghdr *message, union control *control, int fd)
{
	struct cmsghdr *header;

	memset(control, 0, sizeof(*control));
	message->msg_control = control->bytes;
	message->msg_controllen = CMSG_SPACE(sizeof(int));
	header = CMSG_FIRSTHDR(message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
}

int fd_pass_send(int socket, const void *data, size_t size, int fd, int timeout_ms)
{
	const char *at = data;

	while (size > 0) {
		struct iovec bytes = { (void *)(uintptr_t)at, size };
		struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };
		union control control;
		ssize_t n;
		int r = wait_for(socket, POLLOUT, timeout_ms);

		if (r < 0)
			return r;
		if (fd >= 0)
			attach(&message, &control, fd);
		n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return errno == EPIPE ? -ECONNRESET : -errno;
		if (n <= 0)
			continue;
		at += n;
		size -= (size_t)n;
		fd = -EBADF;
	}
	return 0;
}

static void take_fd(struct msghdr *message, int *ret)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
		header->cmsg_len >= CMSG_LEN(sizeof(*ret)))
		memcpy(ret, CMSG_DATA(header), sizeof(*ret));
}

int fd_pass_receive(int socket, void *data, size_t size, int *ret_fd, int timeout_ms)
{
	char *at = data;

	if (ret_fd)
		*ret_fd = -EBADF;
	while (size > 0) {
		union control control;
		struct iovec bytes = { at, size };
		struct msghdr message = { .msg_iov = &bytes, .msg_iovlen = 1 };
		ssize_t n;
		int r = wait_for(socket, POLLIN, timeout_ms);

		if (r < 0)
			return r;
		/* Room for the one that is wanted: others are not ours to close, which may hang, but
		 * the kernel's to drop. */
		if (ret_fd && *ret_fd < 0) {
			message.msg_control = control.bytes;
			message.msg_controllen = CMSG_LEN(sizeof(*ret_fd));
		}
		n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (message.msg_control)
			take_fd(&message, ret_fd);
		if (n == 0)
			return -ECONNRESET;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}
