/* SPDX-License-Identifier: MIT */
/*
 * follow - somebody who streams the log of a run while the daemon is killed
 *
 * A process of its own that does what `amlctl logs -f` does (log_stream.h), and tells through a
 * pipe the number and digest of the bytes it has seen. Ended when we end.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/endpoint.h"
#include "cli/sha256.h"
#include "common/error.h"

struct follower_report {
	int result; /* 0, or a negative errno with the message */
	int64_t size;
	char digest[SHA256_TEXT_SIZE];
	char message[256];
};

struct follower {
	pid_t pid; /* 0: there is none */
	int pidfd; /* it may have been buried, and its number be another's */
	int from;
};

int follower_start(
	struct follower *follower, const char *socket, const char *run_id, struct error *err);
/* Its report, waiting for up to timeout_ms: 0; -ETIMEDOUT, -EINTR, or -ECHILD when it ended
 * without. It is gone after 0 and -ECHILD. */
int follower_end(struct follower *follower, int timeout_ms, struct follower_report *ret);
/* Kill it, when it is there. */
void follower_kill(struct follower *follower);
