/* SPDX-License-Identifier: MIT */
/*
 * digest - SHA-256 as a value
 *
 * The name of a sequence of bytes. A value type: copy it, compare it, keep it in arrays.
 * The text form is 64 lower-case hex digits; the external form has "sha256:" before it.
 *
 * The sum is libcrypto's (it uses the CPU's own instructions); digest_sum_* is safe in any thread,
 * one struct per sum.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DIGEST_SIZE 32
#define DIGEST_HEX_SIZE 64

struct digest {
	uint8_t bytes[DIGEST_SIZE];
};

void digest_of(const void *data, size_t size, struct digest *ret);

/* A sum in pieces: new, update*, final (which frees). digest_sum_free() for one given up. */
struct digest_sum;
struct digest_sum *digest_sum_new(void);
void digest_sum_update(struct digest_sum *sum, const void *data, size_t size);
void digest_sum_final(struct digest_sum *sum, struct digest *ret);
void digest_sum_free(struct digest_sum *sum);

/* Parse 64 hex digits, with or without "sha256:" before; nothing may follow. -EINVAL otherwise. */
int digest_parse(const char *text, struct digest *ret);
/* 64 digits and a NUL. */
void digest_format(const struct digest *digest, char ret[static DIGEST_HEX_SIZE + 1]);

static inline bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_SIZE) == 0;
}
