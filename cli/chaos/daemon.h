/* SPDX-License-Identifier: MIT */
/*
 * daemon - the throw-away amlagentd: start it, wait until it is ready, kill it
 *
 * A child of ours in a session of its own (Ctrl-C is for us alone), which dies with us. Its
 * supervisors become our children when it dies, since we are a subreaper: chaos_daemon_reap()
 * buries them. Nothing is believed of the daemon but READY, and that is why it is measured.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/chaos/place.h"
#include "common/error.h"

#define CHAOS_READY_SECONDS 30
#define CHAOS_END_SECONDS 30

struct chaos_daemon {
	const struct chaos_place *place; /* not owned */
	char *program;
	pid_t pid;        /* 0: there is none */
	int ready;        /* the pipe that it says READY to */
	int status;       /* of the last one, as wait() gives it */
	int64_t start_us; /* clock_boot() */
};

/* Finds the program beside ours. */
int chaos_daemon_init(struct chaos_daemon *ret, const struct chaos_place *place, struct error *err);
void chaos_daemon_release(struct chaos_daemon *daemon);
int chaos_daemon_start(struct chaos_daemon *daemon, struct error *err);
/* *ret_us: since its start. -ECHILD: it ended; -ETIMEDOUT; -EINTR. */
int chaos_daemon_await_ready(struct chaos_daemon *daemon, int64_t *ret_us, struct error *err);
/* Signal it and wait for its end. -ETIMEDOUT when it does not end (it is killed then). */
int chaos_daemon_end(struct chaos_daemon *daemon, int signal, struct error *err);
/* Bury all children that have ended. False: no child is left, the kernel says. */
bool chaos_daemon_reap(struct chaos_daemon *daemon);
/* amlagentd --check-state --quick on the state folder, which nobody may be using. 0: all is well,
 * 1: not, *ret_text says what; -EOPNOTSUPP: this amlagentd cannot. */
int chaos_daemon_check_state(const struct chaos_daemon *daemon, char **ret_text, struct error *err);
/* "killed by signal 6", "exited with code 1"; and its last line in the log. malloc'ed. */
char *chaos_daemon_how(const struct chaos_daemon *daemon);
