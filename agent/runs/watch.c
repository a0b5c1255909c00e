/* SPDX-License-Identifier: MIT */
/* watch - inotify on the loop; see watch.h */
#include "runs/watch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "common/mem.h"

#define BUCKETS 256 /* a power of two */
/* Events without a name of their own in the mask reach everybody. */
#define ALWAYS (IN_IGNORED | IN_Q_OVERFLOW | IN_UNMOUNT)

struct watch_item {
	LIST_ENTRY(watch_item) in_bucket;
	int wd; /* negative: the file is gone */
	uint32_t mask;
	uint64_t seen; /* the event it was last called for; see deliver() */
	watch_callback callback;
	void *data;
};

struct watch {
	int fd;
	uv_poll_t poll;
	uint64_t serial;                          /* of the event being delivered */
	LIST_HEAD(, watch_item) buckets[BUCKETS]; /* k: wd */
	void (*freed)(void *data);
	void *freed_data;
};

static unsigned bucket_of(int wd)
{
	return (unsigned)wd % BUCKETS;
}

static bool is_watched(const struct watch *watch, int wd)
{
	const struct watch_item *item;

	LIST_FOREACH(item, &watch->buckets[bucket_of(wd)], in_bucket)
	if (item->wd == wd)
		return true;
	return false;
}

/* Who hears of the event and has not yet. */
static struct watch_item *next_in(
	struct watch *watch, unsigned bucket, const struct inotify_event *event)
{
	struct watch_item *item;

	LIST_FOREACH(item, &watch->buckets[bucket], in_bucket)
	if (item->seen != watch->serial && (event->wd < 0 || item->wd == event->wd) &&
		event->mask & (item->mask | ALWAYS))
		return item;
	return NULL;
}

static void forget(struct watch_item *item)
{
	LIST_REMOVE(item, in_bucket);
	free(item);
}

static void call(struct watch *watch, struct watch_item *item, const struct inotify_event *event)
{
	watch_callback callback = item->callback;
	void *data = item->data;

	item->seen = watch->serial;
	if (item->mask & IN_ONESHOT)
		watch_remove(watch, item);
	else if (event->mask & IN_IGNORED)
		item->wd = -1;
	callback(data, event);
}

/* From the start again after each call, which may have changed the list. */
static void deliver(struct watch *watch, const struct inotify_event *event)
{
	unsigned first = event->wd < 0 ? 0 : bucket_of(event->wd);
	unsigned last = event->wd < 0 ? BUCKETS - 1 : first;
	struct watch_item *item;

	watch->serial++;
	for (unsigned bucket = first; bucket <= last; bucket++)
		while ((item = next_in(watch, bucket, event)))
			call(watch, item, event);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = container_of(poll, struct watch, poll);
	char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t size = read(watch->fd, buffer, sizeof(buffer));

	(void)status;
	(void)events;
	for (ssize_t at = 0; at < size;) {
		const struct inotify_event *event = (const void *)(buffer + at);

		deliver(watch, event);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
}

int watch_new(uv_loop_t *loop, struct watch **ret)
{
	struct watch *watch = NEW(struct watch);
	int r;

	watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	r = watch->fd < 0 ? -errno : uv_poll_init(loop, &watch->poll, watch->fd);
	if (r < 0) {
		fd_close(watch->fd);
		free(watch);
		return r;
	}
	uv_poll_start(&watch->poll, UV_READABLE, on_readable);
	*ret = watch;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct watch *watch = container_of((uv_poll_t *)handle, struct watch, poll);
	void (*freed)(void *data) = watch->freed;
	void *data = watch->freed_data;

	for (unsigned bucket = 0; bucket < BUCKETS; bucket++)
		while (!LIST_EMPTY(&watch->buckets[bucket]))
			forget(LIST_FIRST(&watch->buckets[bucket]));
	fd_close(watch->fd);
	free(watch);
	if (freed)
		freed(data);
}

void watch_free(struct watch *watch, void (*freed)(void *data), void *data)
{
	watch->freed = freed;
	watch->freed_data = data;
	uv_close((uv_handle_t *)&watch->poll, on_closed);
}

int watch_add(struct watch *watch, const char *path, uint32_t mask, watch_callback callback,
	void *data, struct watch_item **ret)
{
	/* One file has one watch in the kernel: what others want of it is kept. */
	int wd = inotify_add_watch(watch->fd, path, mask | IN_MASK_ADD);
	struct watch_item *item;

	if (wd < 0)
		return -errno;
	item = NEW(struct watch_item);
	*item = (struct watch_item){
		.wd = wd, .mask = mask, .seen = watch->serial, .callback = callback, .data = data
	};
	LIST_INSERT_HEAD(&watch->buckets[bucket_of(wd)], item, in_bucket);
	*ret = item;
	return 0;
}

void watch_remove(struct watch *watch, struct watch_item *item)
{
	int wd = item->wd;

	forget(item);
	/* One that has come already is no watch any more: EINVAL. Numbers are not given twice. */
	if (wd >= 0 && !is_watched(watch, wd))
		inotify_rm_watch(watch->fd, wd);
}
