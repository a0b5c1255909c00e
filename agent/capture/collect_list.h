/* SPDX-License-Identifier: MIT */
/*
 * collect_list - the files that are below a run's outputs/, logs/ and user_logs/
 *
 * Regular files by path, size and time; nothing is opened but directories, and no link is followed.
 * Links, sockets, pipes, devices and what is nested deeper than 200 are left out, and the first of them
 * named. What the run has forbidden itself to read is its output all the same: of a run that is over it
 * is made readable for its owner first.
 *
 * The text form comes from the process of the run's user (user_files.h): bytes from outside, checked.
 *
 * Threads: any; blocks. Errors: negative errno with err naming the file; -EBADMSG for a text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/artifact.h"
#include "common/error.h"
#include "common/strbuf.h"

#define COLLECT_LIST_TEXT_MAX ((size_t)512 << 20)
#define COLLECT_NAMED_MAX 20 /* warnings that name a file */

struct collect_list {
	struct artifacts files; /* digests are zeroes; the log's own name is not among them */
	char **warnings;        /* strv */
	size_t left_out;        /* also those beyond the ones that are named */
};

/* live: logs/ and user_logs/ alone of a run that goes on; what cannot be read is not there. */
int collect_list_make(int work_fd, bool live, struct collect_list *ret, struct error *err);
/* A zeroed one is fine. */
void collect_list_release(struct collect_list *list);

/* Name one that is not kept, while there are not too many. */
void collect_list_leave_out(struct collect_list *list, const char *path, const char *why);

void collect_list_format(const struct collect_list *list, struct strbuf *ret);
int collect_list_parse(const char *data, size_t size, struct collect_list *ret);

/* Below one of the three folders? */
bool collect_is_inside(const char *path);
/* A path as one line of text; malloc'ed. */
char *collect_printable(const char *path);
