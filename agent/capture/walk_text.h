/* SPDX-License-Identifier: MIT */
/*
 * walk_text - a walk as bytes, from the process of the user whose folder it is
 *
 * The reader believes nothing: names are single path parts in rising order, modes are those of files,
 * depth and counts are bounded. What such a walk says of a folder its user says; ignore rules have
 * done their work and are not part of it.
 *
 * Both sides are builds of one version on one machine: numbers are the machine's. Pure: fuzzed.
 * Errors: -EBADMSG.
 */
#pragma once

#include "capture/walk.h"

/* A longer text is none. */
#define WALK_TEXT_MAX ((size_t)512 << 20)

void walk_text_format(const struct walk *walk, struct strbuf *ret);
/* walk_release() it. */
int walk_text_parse(const char *data, size_t size, struct walk *ret);
