/* SPDX-License-Identifier: MIT */
/* run_submit - submits that are under way; see run_live.h */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct run_manager;

/* How many of this user's are under way. */
int64_t run_submits_of(const struct run_manager *manager, uid_t uid);
