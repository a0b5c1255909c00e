/* SPDX-License-Identifier: MIT */
/* silence - a daemon that does not answer; see silence.h */
#include "cli/silence.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "cli/interrupt.h"
#include "cli/output.h"
#include "common/cleanup.h"
#include "common/paths.h"

#define ANSWER_MS 1000

void silence_tell(struct silence *silence, const char *socket)
{
	if (silence->quiet || silence->told)
		return;
	say("amlagentd does not answer at %s; waiting for it", socket);
	silence->told = true;
}

void silence_end(struct silence *silence)
{
	if (silence->told)
		say("amlagentd answers again");
	silence->told = false;
}

/* Whatever it says, be it that it has no room for one more, or by closing: it lives. */
static bool lives(const char *socket)
{
	static const char question[] =
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	_cleanup_(closep) int fd = unix_socket_connect(socket);
	struct pollfd wait = { fd, POLLIN, 0 };

	if (fd < 0)
		return false;
	if (send(fd, question, strlen(question), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return errno == EPIPE || errno == ECONNRESET;
	return poll(&wait, 1, ANSWER_MS) > 0;
}

static void look(struct silence *silence, const char *socket)
{
	if (silence->quiet)
		return;
	if (lives(socket))
		silence_end(silence);
	else
		silence_tell(silence, socket);
}

static int64_t at_most(int64_t value, int64_t most)
{
	return value < most ? value : most;
}

int silence_await(
	struct silence *silence, const char *socket, int fd, short events, int64_t patience_ms)
{
	struct pollfd wait = { fd, events, 0 };
	int64_t waited = 0;
	int n;

	/* Counted in waits: a machine, or amlctl itself, that was stopped meanwhile is not silence. */
	do {
		int64_t ms = silence->look_ms ? silence->look_ms : SILENCE_LOOK_MS;

		if (patience_ms)
			ms = at_most(ms, patience_ms - waited);
		n = interrupt_poll(&wait, (int)ms);
		if (n > 0)
			return 0;
		if (n == -EINTR && interrupt_caught())
			return -EINTR;
		if (n < 0)
			continue;
		waited += ms;
		if (patience_ms && waited >= patience_ms)
			return -ETIMEDOUT;
		look(silence, socket);
		silence->look_ms = (int)at_most(2 * ms, SILENCE_LOOK_MAX_MS);
	} while (n == 0 || n == -EINTR);
	return n;
}
