/* SPDX-License-Identifier: MIT */
/* watch - changes of files, told on the loop; see watch.h */
#include "runs/watch.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "common/mem.h"

/* One per inotify watch descriptor, that is, per file: the kernel joins watches of one file. */
struct watch_file {
	int wd;
	LIST_HEAD(, watch_item) items;
};

struct watch_item {
	struct watch_file *file;
	uint32_t mask;
	watch_callback changed;
	void *data;
	uint64_t told; /* the event it was told last */
	LIST_ENTRY(watch_item) entry;
};

struct watch {
	uv_poll_t poll;
	int fd;
	void *files; /* tsearch tree of struct watch_file, k: wd */
	uint64_t serial; /* of the event that is being told */
	void (*freed)(void *data);
	void *freed_data;
};

static int compare(const void *a, const void *b)
{
	const struct watch_file *left = a, *right = b;

	return (left->wd > right->wd) - (left->wd < right->wd);
}

static struct watch_file *find_file(struct watch *watch, int wd)
{
	struct watch_file key = { .wd = wd };
	struct watch_file **found = tfind(&key, &watch->files, compare);

	return found ? *found : NULL;
}

static void free_file(struct watch *watch, struct watch_file *file)
{
	inotify_rm_watch(watch->fd, file->wd); /* gone already: fine */
	tdelete(file, &watch->files, compare);
	free(file);
}

void watch_remove(struct watch *watch, struct watch_item *item)
{
	struct watch_file *file = item->file;

	LIST_REMOVE(item, entry);
	free(item);
	if (LIST_EMPTY(&file->items))
		free_file(watch, file);
}

static struct watch_item *next_item(struct watch *watch, const struct inotify_event *event)
{
	struct watch_file *file = find_file(watch, event->wd);
	struct watch_item *item = NULL;

	if (!file)
		return NULL;
	LIST_FOREACH(item, &file->items, entry)
		if (item->told != watch->serial && item->mask & event->mask)
			break;
	return item;
}

/* Items are looked up anew after each callback: it may have removed any of them, or the file. */
static void tell(struct watch *watch, const struct inotify_event *event)
{
	struct watch_item *item;

	watch->serial++;
	while ((item = next_item(watch, event))) {
		watch_callback changed = item->changed;
		void *data = item->data;

		item->told = watch->serial;
		if (item->mask & IN_ONESHOT)
			watch_remove(watch, item);
		changed(data, event);
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = container_of(poll, struct watch, poll);
	char buffer[8192] __attribute__((aligned(8)));
	ssize_t size;

	(void)status;
	(void)events;
	while ((size = read(watch->fd, buffer, sizeof(buffer))) > 0)
		for (char *at = buffer; at < buffer + size;) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			at += sizeof(*event) + event->len;
			tell(watch, event);
		}
}

int watch_new(uv_loop_t *loop, struct watch **ret)
{
	struct watch *watch = NEW(struct watch);
	int r;

	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd < 0) {
		r = -errno;
		free(watch);
		return r;
	}
	r = uv_poll_init(loop, &watch->poll, watch->fd);
	if (r < 0) {
		close(watch->fd);
		free(watch);
		return r;
	}
	uv_poll_start(&watch->poll, UV_READABLE, on_readable);
	*ret = watch;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct watch *watch = container_of(handle, struct watch, poll);
	void (*freed)(void *data) = watch->freed;
	void *data = watch->freed_data;

	close(watch->fd);
	free(watch);
	freed(data);
}

void watch_free(struct watch *watch, void (*freed)(void *data), void *data)
{
	while (watch->files) {
		struct watch_file *file = *(struct watch_file **)watch->files;
		struct watch_item *item;

		while ((item = LIST_FIRST(&file->items))) {
			LIST_REMOVE(item, entry);
			free(item);
		}
		free_file(watch, file);
	}
	watch->freed = freed;
	watch->freed_data = data;
	uv_close((uv_handle_t *)&watch->poll, on_closed);
}

static struct watch_file *get_file(struct watch *watch, int wd)
{
	struct watch_file *file = find_file(watch, wd);

	if (file)
		return file;
	file = NEW(struct watch_file);
	file->wd = wd;
	LIST_INIT(&file->items);
	if (!tsearch(file, &watch->files, compare))
		abort();
	return file;
}

int watch_add(struct watch *watch, const char *path, uint32_t mask, watch_callback changed, void *data,
	struct watch_item **ret)
{
	struct watch_item *item;
	int wd;

	/* One-shot is ours, not the kernel's: other items may be on the same file. */
	wd = inotify_add_watch(watch->fd, path, (mask & ~IN_ONESHOT) | IN_MASK_ADD);
	if (wd < 0)
		return -errno;
	item = NEW(struct watch_item);
	item->file = get_file(watch, wd);
	item->mask = mask;
	item->changed = changed;
	item->data = data;
	LIST_INSERT_HEAD(&item->file->items, item, entry);
	*ret = item;
	return 0;
}
