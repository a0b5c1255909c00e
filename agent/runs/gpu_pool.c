/* SPDX-License-Identifier: MIT */
/* gpu_pool - who uses the GPUs, as of a moment ago; see gpu_pool.h */
#include "runs/gpu_pool.h"

#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mem.h"
#include "runs/work.h"

struct gpu_pool {
	uv_loop_t *loop;
	const struct gpus *gpus;
	void (*changed)(void *data);
	void *data;
	struct gpu_holder *holders; /* of the last look; the loop's */
	unsigned unseen;
	int64_t looked_us; /* clock_boot() at its end; 0: there was none */
	struct work work;
	bool looking;
	bool again; /* somebody asked while one was under way, which may have missed what he knows */
	struct gpu_holder *found; /* of the look under way; the work thread's */
	int result;
	uv_timer_t timer;
	bool watching;
	bool freeing;
	void (*freed)(void *data);
	void *freed_data;
};

static void arm(struct gpu_pool *pool);

static void run_look(struct work *work)
{
	struct gpu_pool *pool = container_of(work, struct gpu_pool, work);

	pool->result = gpus_look(pool->gpus, pool->found);
}

static void set_unknown(struct gpu_pool *pool)
{
	for (size_t i = 0; i < pool->gpus->count; i++) {
		struct gpu_holder *holder = &pool->found[i];

		*holder = (struct gpu_holder){ .uid = (uid_t)-1 };
		snprintf(holder->command, sizeof(holder->command), "%s", strerror(-pool->result));
	}
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct gpu_pool *pool = container_of((uv_timer_t *)handle, struct gpu_pool, timer);

	if (pool->freed)
		pool->freed(pool->freed_data);
	free(pool->holders);
	free(pool->found);
	free(pool);
}

static void on_looked(struct work *work)
{
	struct gpu_pool *pool = container_of(work, struct gpu_pool, work);
	struct gpu_holder *last = pool->holders;

	pool->looking = false;
	if (pool->freeing) {
		uv_close((uv_handle_t *)&pool->timer, on_timer_closed);
		return;
	}
	if (pool->result < 0)
		set_unknown(pool);
	pool->unseen = pool->result > 0 ? (unsigned)pool->result : 0;
	pool->holders = pool->found;
	pool->found = last;
	pool->looked_us = clock_boot();
	if (pool->again)
		gpu_pool_look(pool);
	arm(pool);
	pool->changed(pool->data);
}

void gpu_pool_look(struct gpu_pool *pool)
{
	if (!pool->gpus->count)
		return;
	pool->again = pool->looking;
	if (pool->looking)
		return;
	pool->looking = true;
	uv_timer_stop(&pool->timer);
	work_queue(pool->loop, &pool->work, run_look, on_looked);
}

static void on_timer(uv_timer_t *timer)
{
	gpu_pool_look(container_of(timer, struct gpu_pool, timer));
}

/* The next look, when one is wanted and none is under way. */
static void arm(struct gpu_pool *pool)
{
	if (pool->watching && !pool->looking && !uv_is_active((uv_handle_t *)&pool->timer))
		uv_timer_start(&pool->timer, on_timer, GPU_POOL_WATCH_MS, 0);
}

void gpu_pool_watch(struct gpu_pool *pool, bool on)
{
	pool->watching = on && pool->gpus->count;
	if (pool->watching)
		arm(pool);
	else
		uv_timer_stop(&pool->timer);
}

struct gpu_pool *gpu_pool_new(
	uv_loop_t *loop, const struct gpus *gpus, void (*changed)(void *data), void *data)
{
	struct gpu_pool *pool = NEW(struct gpu_pool);

	pool->loop = loop;
	pool->gpus = gpus;
	pool->changed = changed;
	pool->data = data;
	pool->holders = mem_alloc((gpus->count + 1) * sizeof(*pool->holders));
	pool->found = mem_alloc((gpus->count + 1) * sizeof(*pool->found));
	uv_timer_init(loop, &pool->timer);
	return pool;
}

void gpu_pool_free(struct gpu_pool *pool, void (*freed)(void *data), void *data)
{
	if (!pool) {
		if (freed)
			freed(data);
		return;
	}
	pool->freeing = true;
	pool->freed = freed;
	pool->freed_data = data;
	if (!pool->looking)
		uv_close((uv_handle_t *)&pool->timer, on_timer_closed);
}

const struct gpus *gpu_pool_gpus(const struct gpu_pool *pool)
{
	return pool->gpus;
}

bool gpu_pool_is_fresh(const struct gpu_pool *pool)
{
	return !pool->gpus->count ||
	       (pool->looked_us && clock_boot() - pool->looked_us <= GPU_POOL_FRESH_US);
}

const struct gpu_holder *gpu_pool_holder(const struct gpu_pool *pool, size_t index)
{
	const struct gpu_holder *holder = &pool->holders[index];

	return holder->pid || holder->command[0] ? holder : NULL;
}

unsigned gpu_pool_unseen(const struct gpu_pool *pool)
{
	return pool->unseen;
}

void gpu_holder_describe(const struct gpu_holder *holder, char ret[static GPU_HOLDER_TEXT_SIZE])
{
	if (holder->pid)
		snprintf(ret, GPU_HOLDER_TEXT_SIZE,
			"in use by %s (pid %d) of %s, outside the queue", holder->command,
			(int)holder->pid, holder->user);
	else
		snprintf(ret, GPU_HOLDER_TEXT_SIZE, "who uses it cannot be seen: %s",
			holder->command);
}
