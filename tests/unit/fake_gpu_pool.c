/* SPDX-License-Identifier: MIT */
/* fake_gpu_pool - runs/gpu_pool.h without GPUs; see fake_gpu_pool.h */
#include "fake_gpu_pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "test.h"

#define MOST 16

struct gpu_pool {
	const struct gpus *gpus;
	void (*changed)(void *data);
	void *data;
	bool fresh, looks, watched;
	struct gpu_holder seen[MOST];
};

static struct gpu_pool *only;
static struct gpu_holder used[MOST];

struct gpu_pool *gpu_pool_new(
	uv_loop_t *loop, const struct gpus *gpus, void (*changed)(void *data), void *data)
{
	(void)loop;
	assert_null(only);
	assert_true(gpus->count <= MOST);
	only = NEW(struct gpu_pool);
	*only = (struct gpu_pool){ .gpus = gpus, .changed = changed, .data = data };
	return only;
}

void gpu_pool_free(struct gpu_pool *pool, void (*freed)(void *data), void *data)
{
	assert_ptr_equal(pool, only);
	free(pool);
	only = NULL;
	memset(used, 0, sizeof(used));
	freed(data);
}

const struct gpus *gpu_pool_gpus(const struct gpu_pool *pool)
{
	return pool->gpus;
}

bool gpu_pool_is_fresh(const struct gpu_pool *pool)
{
	return pool->fresh;
}

void gpu_pool_look(struct gpu_pool *pool)
{
	pool->looks = true;
}

void gpu_pool_watch(struct gpu_pool *pool, bool on)
{
	pool->watched = on;
}

const struct gpu_holder *gpu_pool_holder(const struct gpu_pool *pool, size_t index)
{
	return pool->seen[index].pid ? &pool->seen[index] : NULL;
}

unsigned gpu_pool_unseen(const struct gpu_pool *pool)
{
	(void)pool;
	return 0;
}

void gpu_holder_describe(const struct gpu_holder *holder, char ret[static GPU_HOLDER_TEXT_SIZE])
{
	snprintf(ret, GPU_HOLDER_TEXT_SIZE, "in use by %s (pid %d) of %s, outside the queue",
		holder->command, (int)holder->pid, holder->user);
}

void fake_gpu_pool_use(size_t gpu, const char *user)
{
	used[gpu] = (struct gpu_holder){ .pid = user ? 4711 : 0 };
	snprintf(used[gpu].user, sizeof(used[gpu].user), "%s", user ? user : "");
	snprintf(used[gpu].command, sizeof(used[gpu].command), "python3");
}

bool fake_gpu_pool_looks(void)
{
	return only->looks;
}

void fake_gpu_pool_answer(void)
{
	assert_true(only->looks);
	only->looks = false;
	only->fresh = true;
	memcpy(only->seen, used, sizeof(used));
	only->changed(only->data);
}

void fake_gpu_pool_age(void)
{
	only->fresh = false;
}

bool fake_gpu_pool_watched(void)
{
	return only->watched;
}
