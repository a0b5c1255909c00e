/* SPDX-License-Identifier: MIT */
/*
 * work - a blocking call on libuv's threads, one callback back on the loop
 *
 * Embed a struct work in the object that holds the call's inputs and results; find it again with
 * container_of. `run` is called on another thread and must touch nothing but that object (and
 * things that are safe in any thread: store, snapshot, ...). `done` is called once, on the loop.
 * Work cannot be called back: an object that is no longer wanted waits for its `done`.
 *
 * Threads: work_queue() from the loop's.
 */
#pragma once

#include <uv.h>

struct work {
	uv_work_t request;
	void (*run)(struct work *work);
	void (*done)(struct work *work);
};

void work_queue(uv_loop_t *loop, struct work *work, void (*run)(struct work *work),
	void (*done)(struct work *work));
