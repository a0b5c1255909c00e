/* SPDX-License-Identifier: MIT */
/*
 * watch - changes of files, told on the loop: one inotify descriptor for the whole daemon
 *
 * The number of inotify instances a user may have is small (128), so there is one, and any number of
 * items. Several items may watch the same file; each is told. An item with IN_ONESHOT is told once
 * and is gone then; any other until watch_remove(). A callback may add and remove items, itself too.
 *
 * Threads: the loop's. Errors: negative errno (-ENOSPC: the user's watches are used up, see
 * fs.inotify.max_user_watches).
 */
#pragma once

#include <stdint.h>
#include <sys/inotify.h>
#include <uv.h>

struct watch;
struct watch_item;

typedef void (*watch_callback)(void *data, const struct inotify_event *event);

int watch_new(uv_loop_t *loop, struct watch **ret);
/* Items that are still there are forgotten. `freed` is called from the loop. */
void watch_free(struct watch *watch, void (*freed)(void *data), void *data);

/* mask: IN_*. ret is set before any callback can come. */
int watch_add(struct watch *watch, const char *path, uint32_t mask, watch_callback changed, void *data,
	struct watch_item **ret);
void watch_remove(struct watch *watch, struct watch_item *item);
