/* SPDX-License-Identifier: MIT */
/*
 * child_process - run a program, collect what it prints, and leave nothing of it behind
 *
 * For the small questions that the daemon puts to other programs: which Python are you, what do
 * these activation scripts set, which commit is this. Everything is bounded: the time, what is
 * printed, and how long a grandchild that holds the pipe open can keep us (not at all). The program
 * leads a process group of its own, and what is left of the group when the program has ended, or is
 * out of bounds, is killed. Who leaves the group (setsid) escapes that.
 *
 *	static char *const argv[] = { "/usr/bin/python3", "--version", NULL };
 *	_cleanup_(child_process_release) struct child_process child = { 0 };
 *	struct child_process_options options = { argv, NULL, NULL, 4096, 1000 };
 *
 *	r = child_process_run(&options, &child);
 *	if (r >= 0 && child.end == CHILD_PROCESS_EXITED && child.status == 0)
 *		(child.output)
 *
 * With `as` the program is that user's process from its first instruction: it is started by
 * amlagent-user-helper (user_exec.h), which is what is executed then, with an environment of nothing.
 *
 * The program gets /dev/null as stdin, or `input`, no other descriptor of ours, no blocked or ignored signal.
 * SIGCHLD is not touched: one child is waited for by its id, so other code's children are safe, and
 * its own is safe from code that does the same (libuv). Descriptors 0 to 2 of the caller are open.
 *
 * Owns:    child_process_release() frees what was printed.
 * Threads: any, any number at a time; blocks.
 * Errors:  0 when it ran, however it ended; else the negative errno of what hindered its start:
 *          -ENOENT, -EACCES, -ENOEXEC mean argv[0] (or its `#!` program, or cwd), -E2BIG argv and
 *          env. With `as`: -ENOPKG, amlagent-user-helper is not installed; -EINVAL, a cwd or an
 *          input as well.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/identity.h"
#include "common/strbuf.h"

/* How much of the end of stderr is kept. */
#define CHILD_PROCESS_COMPLAINT_MAX 1024

struct child_process_options {
	char *const *argv; /* argv[0] is the path of the program; PATH is not searched */
	char *const *env;  /* NULL: an empty one */
	const char *cwd;   /* NULL: "/" */
	size_t output_max; /* more than that on stdout ends it */
	int timeout_ms;
	const struct identity *as;  /* NULL: as we are. Else cwd and input are to be NULL */
	const struct strbuf *input; /* its stdin; NULL: none */
};

enum child_process_end {
	CHILD_PROCESS_EXITED,          /* status: its exit status */
	CHILD_PROCESS_SIGNALED,        /* status: the signal */
	CHILD_PROCESS_TIMED_OUT,       /* killed by us */
	CHILD_PROCESS_TOO_MUCH_OUTPUT, /* killed by us; output holds output_max bytes */
};

struct child_process {
	enum child_process_end end;
	int status;
	struct strbuf output;    /* stdout, whatever the end */
	struct strbuf complaint; /* the end of stderr */
};

int child_process_run(const struct child_process_options *options, struct child_process *ret);
/* A zeroed one is fine. */
void child_process_release(struct child_process *child);
