/* SPDX-License-Identifier: MIT */
/* snapshot_read - the files of a list that are not known yet; see snapshot_read.h */
#include "capture/snapshot_read.h"

#include <stdatomic.h>
#include <time.h>

#include "capture/folder.h"
#include "capture/parallel.h"
#include "capture/source.h"
#include "common/mem.h"
#include "store/store.h"

/* The first reading, and five more. Pauses grow from 1 ms to 256 ms, a third of a second in all. */
#define ATTEMPTS 6
#define PAUSE_GROWTH 4

/* Files worth a thread more. */
#define FILES_WORTH 8

struct reader {
	struct store_batch *batch;
	const struct source *source;
	const struct walk *walk;
	struct snapshot_item **items;
	struct folder_cursor cursors[PARALLEL_WORKERS_MAX];
	atomic_ullong read;
};

/* -EAGAIN: it changed meanwhile, or is no regular file any more. */
static int read_once(struct reader *reader, int fd, const char *path,
	const struct file_stamp *before, struct snapshot_item *item)
{
	struct file_stamp after;
	struct digest digest;
	uint64_t size;
	int r;

	if (!S_ISREG(before->mode))
		return -EAGAIN;
	r = store_batch_put_fd(reader->batch, fd, before->size, &digest, &size);
	if (r == -EFBIG)
		return -EAGAIN;
	if (r < 0)
		return r;
	r = source_stamp(reader->source, fd, path, &after);
	if (r < 0)
		return r;
	if (!file_stamp_equal(before, &after) || size != after.size)
		return -EAGAIN;
	item->entry->stamp = after;
	item->digest = digest;
	item->state = ITEM_KNOWN;
	return 0;
}

/* What has gone, or is something else by now, is a change too. */
static bool is_change(int r)
{
	return r == -ELOOP || r == -ENXIO || r == -ENOTDIR || r == -EXDEV;
}

static int attempt(struct reader *reader, struct folder_cursor *cursor, struct snapshot_item *item,
	const char *path)
{
	struct file_stamp before;
	_cleanup_(closep) int fd = source_open_file(reader->source, cursor, path, &before);
	int r;

	if (fd == -ENOENT) {
		item->state = ITEM_GONE;
		return 0;
	}
	r = fd < 0 ? fd : read_once(reader, fd, path, &before, item);
	return is_change(r) ? -EAGAIN : r;
}

static void pause_for(long ms)
{
	struct timespec rest = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
		;
}

static int fail(
	const struct reader *reader, int r, const struct snapshot_item *item, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;

	walk_show_path(&path, item->dir->path, item->entry->name);
	if (r == -EAGAIN)
		return error_set(err, -EBUSY, path.data,
			"\"%s\" changes all the time while it is read: wait until nothing writes "
			"to it, or list it in %s",
			path.data, reader->walk->advice);
	if (r == -ETIMEDOUT)
		return error_set(err, -EBUSY, path.data,
			"\"%s\" does not answer: its file system hangs; list it in %s if it need not "
			"be there",
			path.data, reader->walk->advice);
	if (r == -EACCES || r == -EPERM)
		return error_set(err, -EACCES, path.data,
			"no permission to read \"%s\": change that (chmod u+r), or list it in %s",
			path.data, reader->walk->advice);
	return error_errno(err, r, path.data, "cannot store \"%s\"", path.data);
}

static int read_step(void *context, unsigned worker, size_t number, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	struct reader *reader = context;
	struct snapshot_item *item = reader->items[number];
	struct folder_cursor *cursor = &reader->cursors[worker];
	long pause_ms = 1;
	int r = -EAGAIN;

	snapshot_item_path(item, &path);
	for (int i = 0; r == -EAGAIN && i < ATTEMPTS; i++) {
		if (i) {
			pause_for(pause_ms);
			pause_ms *= PAUSE_GROWTH;
		}
		r = attempt(reader, cursor, item, path.data);
	}
	if (r < 0)
		return fail(reader, r, item, err);
	if (item->state == ITEM_KNOWN)
		atomic_fetch_add(&reader->read, 1);
	return 0;
}

static size_t gather(struct snapshot_list *list, struct snapshot_item **items)
{
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].state == ITEM_UNREAD)
			items[count++] = &list->items[i];
	return count;
}

int snapshot_read(struct store_batch *batch, const struct source *source, const struct walk *walk,
	struct snapshot_list *list, uint64_t *ret_read, struct error *err)
{
	_cleanup_(freep) struct snapshot_item **items =
		mem_alloc((list->count + 1) * sizeof(*items));
	struct reader reader = { .batch = batch, .source = source, .walk = walk, .items = items };
	struct parallel parallel = {
		.count = gather(list, items),
		.grain = 4,
		.worth = FILES_WORTH,
		.step = read_step,
		.context = &reader,
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(reader.cursors); i++)
		reader.cursors[i] = (struct folder_cursor)FOLDER_CURSOR_INIT(source->root_fd);
	r = parallel_run(&parallel, err);
	for (size_t i = 0; i < ARRAY_SIZE(reader.cursors); i++)
		folder_cursor_release(&reader.cursors[i]);
	if (r < 0)
		return r;
	*ret_read = atomic_load(&reader.read);
	return 0;
}
