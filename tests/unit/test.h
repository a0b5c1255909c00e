/* SPDX-License-Identifier: MIT */
/* test - cmocka with the headers it wants first, and what several tests do to their own process */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

/* No file can be opened any more (EMFILE), or it can again. Those that are open go on working. */
static inline void descriptors_are(bool there)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = there ? limit.rlim_max : 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
