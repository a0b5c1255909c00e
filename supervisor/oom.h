/* SPDX-License-Identifier: MIT */
/*
 * oom - the kernel's out-of-memory killer: not us; and was it at work?
 *
 * No heap.
 */
#pragma once

#include <stdint.h>

/* Make it choose us late, where we may. After the command has been started: it would inherit the
 * right to protect itself as well. */
void oom_protect_self(void);

/* Of what we were given (OOMScoreAdjust= of a service, oom_protect_self()) nothing is kept. */
void oom_unprotect_self(void);

/* How many processes it has killed since boot; -1 when that is not known. */
int64_t oom_kill_count(void);
