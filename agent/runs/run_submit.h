/* SPDX-License-Identifier: MIT */
/* run_submit - submits that are under way; see run_live.h */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct run_manager;

/* How many of this user's are under way. */
int64_t run_submits_of(const struct run_manager *manager, uid_t uid);
/* Of this run; history may show it already. */
bool run_submit_is_under_way(const struct run_manager *manager, const char *run_id);
