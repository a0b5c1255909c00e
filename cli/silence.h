/* SPDX-License-Identifier: MIT */
/*
 * silence - a daemon that does not answer, for those who wait for it
 *
 * Who waits is told so on stderr, once, and once more when it is over. A long answer is no silence: a
 * daemon that is at work on one, or has nothing to tell yet, says so when it is asked for /healthz on
 * a connection of its own. One that lives is asked more and more seldom.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SILENCE_LOOK_MS 1000 /* without a byte, until the first look */
#define SILENCE_LOOK_MAX_MS 30000

/* Of one daemon, zeroed to begin with. */
struct silence {
	bool quiet; /* nobody is told */
	bool told;
	int look_ms; /* until the next look; 0: the first one */
};

void silence_tell(struct silence *silence, const char *socket);
/* It has answered. */
void silence_end(struct silence *silence);
/*
 * Until fd, a connection to the daemon at socket, has `events`. 0; -ETIMEDOUT after patience_ms
 * without them (0: it is waited for ever); -EINTR: a signal that is caught (interrupt.h) came.
 */
int silence_await(
	struct silence *silence, const char *socket, int fd, short events, int64_t patience_ms);
