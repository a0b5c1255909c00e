/* SPDX-License-Identifier: MIT */
/*
 * cleanup - let the compiler release what a scope owns
 *
 *	_cleanup_(freep) char *path = NULL;
 *	_cleanup_(closep) int fd = -EBADF;
 *	...
 *	*ret = TAKE(path);                  (hands over: path is NULL afterwards)
 *	return TAKE_FD(fd);
 *
 * An error path is then a plain `return r;`. DEFINE_CLEANUP(type, f) makes fp(), the form that
 * the attribute wants, from a destructor f() that accepts NULL.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* unused: some variables are held for their release alone */
#define _cleanup_(f) __attribute__((cleanup(f), unused))

#define DEFINE_CLEANUP(type, f) \
	static inline void f##p(type *p) \
	{ \
		if (*p) \
			f(*p); \
	} \
	struct cleanup_needs_a_semicolon

#define TAKE(ptr) \
	({ \
		__typeof__(ptr) *_take_p = &(ptr); \
		__typeof__(ptr) _take_v = *_take_p; \
		*_take_p = NULL; \
		_take_v; \
	})

#define TAKE_FD(fd) \
	({ \
		int *_take_p = &(fd); \
		int _take_v = *_take_p; \
		*_take_p = -EBADF; \
		_take_v; \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - __builtin_offsetof(type, member)))

static inline void freep(void *p)
{
	free(*(void **)p);
}

/* Close fd when it is one; keeps errno. Returns -EBADF, so that fd = fd_close(fd) forgets it. */
static inline int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
	return -EBADF;
}

static inline void closep(int *fd)
{
	*fd = fd_close(*fd);
}

DEFINE_CLEANUP(FILE *, fclose);
DEFINE_CLEANUP(DIR *, closedir);
