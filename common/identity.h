/* SPDX-License-Identifier: MIT */
/*
 * identity - a user of the machine: who he is, and being him
 *
 * The system service runs as root and does nothing with a user's files but as that user: in a
 * process of its own that has called identity_assume(). `const struct identity *` NULL means "as we
 * are": nothing is assumed, which is right for a daemon of one user and for root's own runs.
 *
 * identity_of_user() asks the name service (files, LDAP): it may block, so it is called on work
 * threads. identity_assume() gives up everything of the caller's user for good and proves it; it
 * changes the whole process and uses no heap: part of the supervisor.
 *
 * Text form, for command lines and `launch`: "UID:GID:GROUP,GROUP,...".
 *
 * Errors: negative errno. -ENOENT: there is no such user (any more). Who frees: identity_release(),
 * also of a zeroed one. Threads: any.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

#define IDENTITY_GROUPS_MAX 65536

struct identity {
	uid_t uid;
	gid_t gid;     /* the primary group */
	gid_t *groups; /* all of them, the primary one too */
	size_t group_count;
	/* Of the user database; NULL in one that was parsed. */
	char *name;
	char *home;
	char *shell;
};

int identity_of_user(uid_t uid, struct identity *ret);
void identity_release(struct identity *identity);
void identity_copy(const struct identity *identity, struct identity *ret);

void identity_format(const struct identity *identity, struct strbuf *ret);
/* -EINVAL; pure. */
int identity_parse(const char *text, struct identity *ret);

/* A session keyring of one's own, empty. Whoever becomes a user has one already. */
void identity_leave_keyring(void);

/* Become that user: groups, gid, uid, no capabilities, no way back. On failure the process may be
 * neither the one nor the other: it must end. */
int identity_assume(const struct identity *identity);
