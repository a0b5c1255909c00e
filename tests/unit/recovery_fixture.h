/* SPDX-License-Identifier: MIT */
/*
 * recovery_fixture - run_fixture.h's, with four slots, and runs as an earlier daemon left them
 *
 * leave() them, then restart() and run_manager_recover(); say in between what the fake executor
 * will find of them. Threads: the loop's.
 */
#pragma once

#include "run_fixture.h"

/* Of a run that was submitted once: definition and snapshot. What is left is made of it. */
extern struct run_record base;

int set_up_base(void **state);
int tear_down_base(void **state);
#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_base, tear_down_base)

/* In history, with its folder. */
void leave(const char *run_id, enum run_state state, bool same_boot, int64_t start_us);
/* The daemon ends, and another one has begun that has not recovered anything yet. */
void restart(void);
