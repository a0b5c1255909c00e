/* SPDX-License-Identifier: MIT */
/*
 * user_names - the names of the users of this daemon, as far as they are known
 *
 * The name service may block, so the loop does not ask it: submits do, and the API of who cancels, holds
 * or drains, on work threads, and tell it here. Who frees: user_names_release(). Threads: the loop's. Errors: none.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct user_names {
	struct user_name *items; /* by uid */
	size_t count, room;
};

void user_names_set(struct user_names *names, uid_t uid, const char *name);
/* NULL: not known. */
const char *user_names_get(const struct user_names *names, uid_t uid);
void user_names_release(struct user_names *names);

/* From the name service: "ana", or the number of a user without a name. malloc'ed; blocks. */
char *user_name_look_up(uid_t uid);
