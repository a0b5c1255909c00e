/* SPDX-License-Identifier: MIT */
/*
 * mem - memory that is there, or the program ends
 *
 * Runs outlive the daemon and every durable step is a transaction, so ending is honest and spares
 * branches that no test reaches. The supervisor must not end: it uses none of this once its child
 * runs (see supervisor/supervise.h).
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *mem_realloc(void *old, size_t size) __attribute__((returns_nonnull));
void *mem_dup(const void *data, size_t size) __attribute__((returns_nonnull));
/* NULL gives NULL. */
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t size) __attribute__((returns_nonnull));
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

#define NEW(type) ((type *)mem_alloc(sizeof(type)))

/* Make room in array (pointer, used, room) for one more element. */
#define GROW(array, used, room) \
	do { \
		if ((used) == (room)) { \
			(room) = (room) ? (room)*2 : 8; \
			(array) = mem_realloc((array), (room) * sizeof(*(array))); \
		} \
	} while (0)

/* Replace a malloc'ed string field by a copy of text. */
static inline void mem_replace(char **field, const char *text)
{
	char *copy = mem_strdup(text);

	free(*field);
	*field = copy;
}
