/* SPDX-License-Identifier: MIT */
/*
 * user_interpreter - interpreter_find() and interpreter_activate() with a user's rights
 *
 * The daemon as root never looks at a path that a user has named. It asks a process that is the user
 * (user_helper.h, mode "interpreter"): a request on stdin, an answer on stdout, each one of NUL-ended
 * records "key=value", the first "amlagent-interpreter=1", the last "end=":
 *
 *	request   asked (absent: none), source_dir, env ...
 *	answer    path, version, prefix, env ...; or error, target (absent: none), message
 *
 * Both are strict: an unknown key, one twice, or one too few is -EBADMSG. The answer comes from
 * outside (the user may have taken the process over): it is believed as far as "this user says so",
 * and all of it ends in this user's own run. The process is a new one each time, so that what
 * python_probe() remembers serves nobody else, and a run costs some 16 ms more (9 of them Python's).
 *
 * Threads: any; blocks for at most USER_INTERPRETER_TIMEOUT_MS, then the process is killed.
 * Errors: those of interpreter.h with err set (any other that the process had is -EPROTO, with its
 * words); -ENOPKG (no helper), -EBADMSG (what it says is no answer), -ETIMEDOUT.
 */
#pragma once

#include <stddef.h>

#include "capture/interpreter.h"
#include "common/identity.h"
#include "common/strbuf.h"

/* Two programs asked, and the scripts of two conda environments. */
#define USER_INTERPRETER_TIMEOUT_MS 45000
#define USER_INTERPRETER_MAX ((size_t)16 << 20) /* bytes of a request or an answer */

/* Find it and activate it in *env (a strv), which is unchanged on failure. as NULL: as we are. */
int interpreter_prepare_as(const struct identity *as, const char *asked, const char *source_dir,
	char ***env, struct interpreter *ret, struct error *err);

/* In the helper, as the user already: from stdin to stdout. Returns the exit status. */
int user_interpreter_main(void);

/* ---- the two texts; pure ---- */

struct user_interpreter_request {
	char *asked; /* NULL: none */
	char *source_dir;
	char **env; /* strv, never NULL in a parsed one */
};

struct user_interpreter_answer {
	int error; /* a positive errno, with target (NULL: none) and message; 0: found */
	char *target;
	char *message;
	char *path, *version, *prefix;
	char **env; /* strv, never NULL in a parsed one */
};

void user_interpreter_request_format(
	const struct user_interpreter_request *request, struct strbuf *ret);
int user_interpreter_request_parse(
	const char *data, size_t size, struct user_interpreter_request *ret);
void user_interpreter_request_release(struct user_interpreter_request *request);

void user_interpreter_answer_format(
	const struct user_interpreter_answer *answer, struct strbuf *ret);
int user_interpreter_answer_parse(
	const char *data, size_t size, struct user_interpreter_answer *ret);
void user_interpreter_answer_release(struct user_interpreter_answer *answer);
