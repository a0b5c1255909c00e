/* SPDX-License-Identifier: MIT */
/*
 * fake_gpu_pool - runs/gpu_pool.h without GPUs: the test says who uses them and when a look ends
 *
 * Linked in place of runs/gpu_pool.c. There is one pool at a time. Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "runs/gpu_pool.h"

/* A stranger uses it; NULL: nobody does. Seen by the next look. */
void fake_gpu_pool_use(size_t gpu, const char *user);
/* Was a look asked for that has not ended? */
bool fake_gpu_pool_looks(void);
/* It ends. */
void fake_gpu_pool_answer(void);
/* More than a second has passed since. */
void fake_gpu_pool_age(void);
/* Is it to look every 5 s? */
bool fake_gpu_pool_watched(void);
