/* SPDX-License-Identifier: MIT */
/*
 * git_answer - what amlagent-git-info tells the daemon
 *
 * Records of "key=value", each ended by a NUL, on stdout: first "format=1", then repository_uri,
 * branch, commit, dirty ("True" or "False"), warning (any number), patch (the value is a size in
 * decimal; so many bytes follow the NUL), and "end=" last. The program writes each step as soon as
 * it knows it, so that what came before a time limit or a crash counts; a record that was cut off
 * does not. Keys that the reader does not know are skipped.
 *
 * Pure. The writer is another process that has read a repository from anywhere, so the parser takes
 * any bytes (fuzzed) and keeps no value longer than GIT_ANSWER_VALUE_MAX, the patch aside.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

#define GIT_ANSWER_FORMAT "1"
#define GIT_ANSWER_VALUE_MAX 4096
#define GIT_ANSWER_WARNINGS_MAX 20

/* A value that does not exist, or that could not be read, is NULL. */
struct git_answer {
	char *repository_uri; /* with its credentials, if it has any */
	char *branch;
	char *commit;
	char *dirty;
	char **warnings; /* strv */
	char *patch;     /* bytes */
	size_t patch_size;
	bool complete; /* the end was seen */
};

/* Begins an answer. */
void git_answer_begin(struct strbuf *out);
/* value NULL: nothing is added. */
void git_answer_add(struct strbuf *out, const char *key, const char *value);
void git_answer_add_patch(struct strbuf *out, const void *patch, size_t size);
void git_answer_end(struct strbuf *out);

/* -EBADMSG: not an answer. */
int git_answer_parse(const char *data, size_t size, struct git_answer *ret);
void git_answer_release(struct git_answer *answer);
