/* SPDX-License-Identifier: MIT */
/*
 * journal - entries with fields of their own, straight to systemd's journal, without a library
 *
 * What is written to stderr reaches the journal as text alone. Its native protocol is one datagram
 * an entry, to /run/systemd/journal/socket: https://systemd.io/JOURNAL_NATIVE_PROTOCOL. A datagram
 * that is too large for the socket is not sent (-EMSGSIZE): ours are a few kilobytes.
 *
 * A value may hold any bytes: it is framed by its length, so nothing in it begins a field.
 *
 * Threads: any; nothing is kept open. Errors: negative errno; the caller then says it on stderr.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

struct journal_field {
	const char *name;  /* A to Z, 0 to 9 and '_', not first */
	const char *value; /* NULL: the field is left out */
};

/* Is stderr the journal's? systemd says which stream it made; a stderr that was redirected since
 * is another one. */
bool journal_is_stderr(void);

/* -EAGAIN rather than waiting when the journal does not keep up. */
int journal_send(const struct journal_field *fields, size_t count);
/* The datagram, added to ret; pure. */
void journal_format(const struct journal_field *fields, size_t count, struct strbuf *ret);
