/* SPDX-License-Identifier: MIT */
/* error - a negative errno with a text for people; see error.h */
#include "common/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int set(struct error *err, int r, const char *target, const char *fmt, va_list args,
	const char *suffix)
{
	size_t used;

	if (!err || err->code)
		return r;
	err->code = r;
	snprintf(err->target, sizeof(err->target), "%s", target ? target : "");
	vsnprintf(err->message, sizeof(err->message), fmt, args);
	used = strlen(err->message);
	if (suffix)
		snprintf(err->message + used, sizeof(err->message) - used, ": %s", suffix);
	return r;
}

/* The C library speaks of connections there, and none is meant. */
const char *error_words(int r)
{
	return r == -ETIMEDOUT ? "its file system does not answer" : strerror(-r);
}

int error_set(struct error *err, int r, const char *target, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set(err, r, target, fmt, args, NULL);
	va_end(args);
	return r;
}

int error_errno(struct error *err, int r, const char *target, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set(err, r, target, fmt, args, error_words(r));
	va_end(args);
	return r;
}

int error_of_ours(int r)
{
	static const int wanting[] = { ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EAGAIN, ETIMEDOUT };

	for (size_t i = 0; i < sizeof(wanting) / sizeof(wanting[0]); i++)
		if (r == -wanting[i])
			return r;
	return r == -EBUSY ? -EAGAIN : -EIO;
}

int error_ours(struct error *err, int r, const char *target, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set(err, error_of_ours(r), target, fmt, args, error_words(r));
	va_end(args);
	return error_of_ours(r);
}

void error_prefix(struct error *err, const char *prefix)
{
	char copy[sizeof(err->message)];

	if (!err || !err->code)
		return;
	memcpy(copy, err->message, sizeof(copy));
	if (snprintf(err->message, sizeof(err->message), "%s: %s", prefix, copy) < 0)
		memcpy(err->message, copy, sizeof(copy));
}

int error_default(struct error *err, int r, const char *what)
{
	if (r < 0 && err && !err->code)
		error_errno(err, r, NULL, "%s", what);
	return r;
}
