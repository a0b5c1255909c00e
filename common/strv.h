/* SPDX-License-Identifier: MIT */
/*
 * strv - NULL-ended lists of strings (argv, environment, warnings) and lists of pairs (tags)
 *
 * A strv is a `char **`; NULL is the empty one. It owns its strings. `struct pairs` keeps the order
 * of insertion and has unique keys; a zeroed one is empty.
 *
 * Errors: none (mem.h). Who frees: strv_free(), pairs_release().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

size_t strv_length(char *const *list);
void strv_add(char ***list, const char *text);
/* Takes over text. */
void strv_take(char ***list, char *text);
void strv_addf(char ***list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char **strv_copy(char *const *list);
bool strv_contains(char *const *list, const char *text);
void strv_free(char **list);
DEFINE_CLEANUP(char **, strv_free);

/* Environment lists: "NAME=VALUE". get: NULL when absent. set: replaces; value NULL removes. */
const char *env_get(char *const *env, const char *name);
void env_set(char ***env, const char *name, const char *value);
/* A name the kernel and shells can carry: not empty, no '=' (NUL cannot be there). */
bool env_name_valid(const char *name);

struct pair {
	char *key;
	char *value;
};

struct pairs {
	struct pair *items;
	size_t count;
	size_t room;
};

const char *pairs_get(const struct pairs *pairs, const char *key);
void pairs_set(struct pairs *pairs, const char *key, const char *value);
void pairs_remove(struct pairs *pairs, const char *key);
void pairs_copy(const struct pairs *pairs, struct pairs *ret);
void pairs_release(struct pairs *pairs);
