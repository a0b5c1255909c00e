/* SPDX-License-Identifier: MIT */
/*
 * endpoint - which daemon: where its socket may be, and how to get one to answer
 *
 * Sockets are tried in this order: --socket; that of --state-dir; $AMLAGENT_SOCKET; without any of
 * these the user's, then the system's. When none answers, a per-user daemon is started at the first
 * of them (autostart.h), unless --no-autostart.
 *
 * The system service is waited for when it seems to be restarting: its socket is there and nobody
 * listens, or its folder has just changed and the socket is missing. A line on stderr says so. Where
 * it is there and still does not answer after that, no daemon is started in its place: what the
 * service holds would seem to be gone.
 *
 * Once a daemon has answered, only its socket is tried again: a run does not move to another one,
 * and neither the system service nor a daemon at a socket that was named (--socket, without
 * --state-dir) is replaced by one of ours. A socket that neither we nor root listen at is refused.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "cli/silence.h"
#include "common/error.h"

#define ENDPOINT_WAIT_SECONDS 10 /* for a system service that is restarting */

struct endpoint {
	const char *socket; /* the options, NULL when not given */
	const char *state_dir;
	const char *config;
	bool no_autostart;
	char *answered; /* the socket that answered, NULL before */
	uid_t uid;      /* whose daemon it is */
	struct silence silence;
};

void endpoint_release(struct endpoint *endpoint);
/*
 * Connect, starting a daemon if need be. A close-on-exec descriptor, or a negative errno with err
 * saying what to do.
 */
int endpoint_connect(struct endpoint *endpoint, struct error *err);
/* Does the daemon that answered serve other users too, and is the caller but one of them? */
bool endpoint_is_shared(const struct endpoint *endpoint);
/* Connect to a daemon that is there already; -ENOENT or -ECONNREFUSED when none answers. */
int endpoint_connect_existing(struct endpoint *endpoint, struct error *err);
