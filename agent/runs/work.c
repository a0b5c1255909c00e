/* SPDX-License-Identifier: MIT */
/* work - a blocking call on libuv's threads; see work.h */
#include "runs/work.h"

#include <stdlib.h>

#include "common/cleanup.h"

static void on_thread(uv_work_t *request)
{
	struct work *work = container_of(request, struct work, request);

	work->run(work);
}

static void on_loop(uv_work_t *request, int status)
{
	struct work *work = container_of(request, struct work, request);

	(void)status; /* nothing here is ever cancelled */
	work->done(work);
}

void work_queue(uv_loop_t *loop, struct work *work, void (*run)(struct work *work),
	void (*done)(struct work *work))
{
	work->run = run;
	work->done = done;
	/* Fails for want of the callback only. */
	if (uv_queue_work(loop, &work->request, on_thread, on_loop) < 0)
		abort();
}
