/* SPDX-License-Identifier: MIT */
/*
 * watch - inotify on the loop: one descriptor, any number of watchers
 *
 *	watch_add(watch, path, IN_MODIFY | IN_ONESHOT, on_change, me, &me->item);
 *	...
 *	if (me->item)
 *		watch_remove(watch, me->item);
 *
 * Several watchers of one file are fine, as long as all of them are for one time or none is. With
 * IN_ONESHOT the item is gone when its callback is called: the callback forgets it. Else it stays
 *until watch_remove().
 *
 * The callback gets the kernel's event. IN_IGNORED: the file is gone, nothing more will come.
 * IN_Q_OVERFLOW: events were lost; look yourself. It may add and remove any items.
 *
 * Threads: the loop's. Errors: negative errno; -ENOSPC when the user has too many watches.
 */
#pragma once

#include <stdint.h>
#include <sys/inotify.h>
#include <uv.h>

struct watch;
struct watch_item;

typedef void (*watch_callback)(void *data, const struct inotify_event *event);

int watch_new(uv_loop_t *loop, struct watch **ret);
/* Items that are left are forgotten. `freed` is called from the loop when the memory is gone. Not
 * from within a callback. */
void watch_free(struct watch *watch, void (*freed)(void *data), void *data);

int watch_add(struct watch *watch, const char *path, uint32_t mask, watch_callback callback,
	void *data, struct watch_item **ret);
void watch_remove(struct watch *watch, struct watch_item *item);
