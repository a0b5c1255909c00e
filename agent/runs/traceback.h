/* SPDX-License-Identifier: MIT */
/*
 * traceback - the Python traceback that a log ends with
 *
 * Any lines in. Known are: the plain one, also with a prefix on each line ("[rank0]: "), indented, or
 * behind a progress bar; chained ones (the last of the chain is the cause); exception groups (with
 * their first sub-exception); SyntaxError and its kin, which have no "Traceback" line; one whose
 * beginning is out of sight; "Fatal Python error: ..." (faulthandler); torchrun's ChildFailedError:
 * then the traceback of the rank that failed first is taken, and `origin` tells of that rank.
 *
 * The rule for "the log ends with": a traceback counts when at most TRACEBACK_NOISE_MAX lines that
 * are not blank follow it; indented lines directly below the exception are its message. `at_end`:
 * nothing but blank lines follow, and Python did not say that it goes on ("Exception in thread",
 * a child's "Process ..."): then it is the cause as far as a log can tell. What Python itself
 * ignores ("Exception ignored in", "--- Logging error ---", exit functions) is neither a cause nor
 * a line that follows.
 *
 * The place is the deepest frame whose file is the run's own: in work_dir, but not below a
 * site-packages there. Without such a frame it is the deepest one that is a file. Pure.
 *
 * Who frees: traceback_release().
 */
#pragma once

#include <stdint.h>

#include "runs/log_lines.h"

#define TRACEBACK_NOISE_MAX 10

struct traceback {
	char *error;    /* "ValueError: bad shape", one line; NULL: there is no traceback */
	char *file;     /* relative to work_dir when it lies there; NULL: not known */
	int64_t line;   /* of the file */
	char *function; /* NULL: none, the module's own lines */
	char *origin;   /* "rank 1, exit code 1, failed first"; NULL: nobody says */
	bool at_end;
	size_t first_line; /* of all the lines: its first */
	size_t end_line;   /* and the first one that is not its own any more */
};

/* work_dir: absolute, as getcwd() says it; NULL: not known. */
void traceback_find(const struct log_lines *lines, const char *work_dir, struct traceback *ret);
void traceback_release(struct traceback *traceback);
