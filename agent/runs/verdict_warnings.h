/* SPDX-License-Identifier: MIT */
/*
 * verdict_warnings - what is worth knowing of any end, a good one too
 *
 * Processes that had to be stopped after the command, out-of-memory kills, a full disk, limits that
 * nobody enforced: one sentence each. A part of verdict.h. Pure.
 */
#pragma once

#include <stdbool.h>

#include "runs/verdict.h"

/* warnings: a strv. facts->exit is not NULL. */
void verdict_warn(const struct verdict_facts *facts, char ***warnings);

bool verdict_disk_was_full(const struct run_exit *exit);
