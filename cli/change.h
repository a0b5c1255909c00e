/* SPDX-License-Identifier: MIT */
/*
 * change - one request for each of several runs: hold, release, share
 *
 * All names are resolved before anything is changed, so that a name that is none changes nothing.
 * What was done is said on stderr, a line a run; with -o json the records go to stdout.
 */
#pragma once

#include "cli/command.h"
#include "common/json.h"

struct change {
	const char *method;
	const char *route;       /* below the run: "/hold", or "" */
	const struct json *body; /* NULL: none */
	const char *done;        /* "is held": for people; a record that waits adds what for */
};

/* An exit status, or a negative errno with cli->err set: the first failure ends it. */
int change_all(struct cli *cli, const struct change *change, char *const *names, bool json);
