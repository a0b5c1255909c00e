/* SPDX-License-Identifier: MIT */
/*
 * error - a negative errno with a text for people
 *
 * Functions return 0 or a negative errno. Where the text reaches a person (API, amlctl) they take a
 * `struct error *err` last, which may be NULL, and end with
 *
 *	return error_set(err, -ENOENT, "script", "no such script: %s", name);
 *
 * `target` names the field or file at fault, NULL for none. A text is one line, says what is wrong
 * and what to do. error_set() does not replace an error that is already there: the one nearest to
 * the cause wins. No heap: the texts are cut at the size of their arrays.
 *
 * The errno chosen is the meaning (api.c maps it to HTTP): -EINVAL a bad request, -ENOENT no such
 * thing, -EEXIST / -EBUSY a conflict, -EFBIG too large, -EACCES not allowed, -EBADMSG damaged
 *bytes, -ENOSPC no room; others are faults of the daemon.
 */
#pragma once

#include <stdarg.h>

struct error {
	int code; /* negative errno, 0 for none */
	char target[256];
	char message[1792];
};

#define ERROR_INIT \
	{ \
		0 \
	}

/* Returns r. */
int error_set(struct error *err, int r, const char *target, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* strerror(-r), in the words of one who reads files: -ETIMEDOUT is a file system that hangs. */
const char *error_words(int r);

/* error_set() that ends the message with ": " and error_words(r). */
int error_errno(struct error *err, int r, const char *target, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Of a failure that is ours, and nothing that was asked for can be the reason (our own folders, the
 * history, the store): what there may be again in a while stays what it is, -EBUSY is -EAGAIN, all else
 * -EIO. */
int error_of_ours(int r);
/* error_errno() with that as the code; returns it. The words are r's. */
int error_ours(struct error *err, int r, const char *target, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Put "prefix: " before the message that is there; nothing when there is none. */
void error_prefix(struct error *err, const char *prefix);

/* Fill in a text for r where none was set, so that a person never sees an empty line. */
int error_default(struct error *err, int r, const char *what);
