/* SPDX-License-Identifier: MIT */
/*
 * utf8 - is it UTF-8, and if not, what can be shown of it
 *
 * File names and log tails are bytes; JSON is UTF-8. Where bytes are shown, each byte that is not
 * part of a valid sequence (no surrogates, nothing over-long, nothing above U+10FFFF) becomes
 * U+FFFD. The exact name of an artifact travels percent-encoded in its `href`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

bool utf8_valid(const char *text, size_t size);
/* malloc'ed, always valid; bytes that are none become U+FFFD, NUL bytes too. */
char *utf8_sanitize(const char *text, size_t size);
/* Length in bytes of the valid sequence at text, 0 when there is none. */
size_t utf8_sequence(const char *text, size_t size);
