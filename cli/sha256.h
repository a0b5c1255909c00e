/* SPDX-License-Identifier: MIT */
/*
 * sha256 - SHA-256 for the commands that need it, and only when they do
 *
 * common/digest.h links libcrypto, whose loading alone takes as long as all the rest of amlctl's
 * start (0.6 ms of the 5 ms that `amlctl run` may cost). Here it is loaded at the first sum.
 */
#pragma once

#include <stddef.h>

#include "common/error.h"

#define SHA256_TEXT_SIZE (7 + 64 + 1) /* "sha256:<64 hex>" and a NUL */

struct sha256;

/* -ENOENT, with err set, when libcrypto is not there. */
int sha256_new(struct sha256 **ret, struct error *err);
void sha256_update(struct sha256 *sum, const void *data, size_t size);
/* Once; then only sha256_free(). */
void sha256_finish(struct sha256 *sum, char ret[static SHA256_TEXT_SIZE]);
/* NULL is fine. */
void sha256_free(struct sha256 *sum);
