/* SPDX-License-Identifier: MIT */
/*
 * gpu_pool - who uses the machine's GPUs, as of a moment ago, without blocking the loop
 *
 * gpu/gpu.h looks on a work thread, one look at a time; here is what the last one saw. It knows of
 * no slots: whoever gives GPUs out asks gpu_pool_is_fresh(), calls gpu_pool_look() when it is not,
 * and decides in `changed`, which is called after every look, whatever it saw. A GPU that is not
 * given out and has a holder is set aside.
 *
 * While gpu_pool_watch() is on, because somebody waits for GPUs, a look follows the last one after
 * 5 s. There is no timer else.
 *
 * A look that fails (no descriptors left) leaves nobody known: all GPUs have a holder then, with pid
 * 0 and the reason as its command; gpu_holder_describe() puts either in words.
 *
 * Threads: the loop's. Errors: none; `changed` comes after every gpu_pool_look().
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "gpu/gpu.h"

#define GPU_POOL_FRESH_US 1000000
#define GPU_POOL_WATCH_MS 5000

struct gpu_pool;

/* gpus: the caller's, and stays until `freed`. changed may call anything but gpu_pool_free(). */
struct gpu_pool *gpu_pool_new(
	uv_loop_t *loop, const struct gpus *gpus, void (*changed)(void *data), void *data);
/* changed is not called any more; freed is, from the loop, when a look under way has come back.
 * NULL is fine: freed is called at once. */
void gpu_pool_free(struct gpu_pool *pool, void (*freed)(void *data), void *data);

const struct gpus *gpu_pool_gpus(const struct gpu_pool *pool);

/* Did the last look end within the last second? Always so within `changed`, and when there are no
 * GPUs. */
bool gpu_pool_is_fresh(const struct gpu_pool *pool);
/* Begin one; while one is under way, another when that has ended. */
void gpu_pool_look(struct gpu_pool *pool);
/* Somebody waits for GPUs: look again every 5 s, from now on or no more. */
void gpu_pool_watch(struct gpu_pool *pool, bool on);

/* NULL: nobody held GPU `index` at the last look. Valid until the next `changed`. Before the first
 * look nothing is known: is_fresh() says so. */
const struct gpu_holder *gpu_pool_holder(const struct gpu_pool *pool, size_t index);
/* Of how many processes the last look could say nothing; gpu/gpu.h. */
unsigned gpu_pool_unseen(const struct gpu_pool *pool);

#define GPU_HOLDER_TEXT_SIZE 256

/* "in use by python3 (pid 4711) of ana, outside the queue" */
void gpu_holder_describe(const struct gpu_holder *holder, char ret[static GPU_HOLDER_TEXT_SIZE]);
