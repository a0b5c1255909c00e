/* SPDX-License-Identifier: MIT */
/*
 * give_away - a tree that root has made becomes a user's
 *
 * All that is in the directory, the deepest first, then the directory itself: until that it is
 * root's, 0700, and nobody else can have touched what is in it. Links are given, never followed. A
 * chown takes setuid and setgid bits from files; folders that have one are refused (-EPERM).
 *
 * Errors: negative errno, err set; -EPERM also when the user's quota does not take it, since that is
 * no want of room of the machine's. Threads: any.
 */
#pragma once

#include <sys/types.h>

#include "common/error.h"

int give_away(int dirfd, uid_t uid, gid_t gid, struct error *err);
