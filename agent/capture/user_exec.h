/* SPDX-License-Identifier: MIT */
/*
 * user_exec - amlagent-user-helper IDENTITY exec PROGRAM [ARG...]: the program, as that user
 *
 * The program's environment comes in by stdin, as NUL-ended "NAME=VALUE" up to its end, at most
 * USER_EXEC_INPUT_MAX bytes: were it the helper's own, root's dynamic linker would see it, and as
 * arguments everybody would. The program's stdin is /dev/null. It is a child of the helper's, whose
 * exit status is the program's, or 128 plus the signal that ended it.
 *
 * child_process.h with `as` is the other side.
 */
#pragma once

#include <stddef.h>

#include "common/strbuf.h"

#define USER_EXEC_INPUT_MAX (16u << 20)
/* The exit status, when the program could not be executed: this plus the errno (at most
 * USER_EXEC_ERRNO_MAX), as in run_dir.h. */
#define USER_EXEC_CANNOT 64
#define USER_EXEC_ERRNO_MAX 133

/* env as it goes in. */
void user_exec_format(char *const *env, struct strbuf *ret);
/* -EBADMSG. A strv; pure. */
int user_exec_parse(const char *data, size_t size, char ***ret);

/* In the helper, as the user already. argv is PROGRAM and its arguments. Returns the exit status when
 * the program could not be executed. */
int user_exec_main(char **argv);
