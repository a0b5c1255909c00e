/* SPDX-License-Identifier: MIT */
/*
 * user_helper - amlagent-user-helper: what the daemon as root lets a user's own process do for it
 *
 *	amlagent-user-helper IDENTITY MODE ...
 *
 * becomes the user (common/identity.h, text form) before it does anything else: by user_confine() in
 * the modes in which programs of his are run, exec and interpreter. It is started with
 * no variable of the user's in its environment: until then it is root, and the dynamic linker would
 * listen to them. What it is to know of his comes in by its stdin.
 *
 * Threads: any.
 */
#pragma once

#include <sys/types.h>

#include "common/identity.h"

#define USER_HELPER "amlagent-user-helper"
#define USER_HELPER_FILES "files"             /* user_files.h */
#define USER_HELPER_EXEC "exec"               /* user_exec.h */
#define USER_HELPER_INTERPRETER "interpreter" /* user_interpreter.h */

/* Its path, looked up once; NULL when it is not installed. Of the process's lifetime. */
const char *user_helper_path(void);

/* End one of ours, by SIGKILL. What it waits for in the kernel may be its user's, for ever: then it is
 * not waited for here, but looked at again by the next call. */
void user_helper_end(pid_t pid);

/* Another one, before the first of these calls: for tests. */
void user_helper_use(const char *path);
