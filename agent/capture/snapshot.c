/* SPDX-License-Identifier: MIT */
/* snapshot - a source directory into the store; see snapshot.h */
#include "capture/snapshot.h"

#include <fcntl.h>
#include <string.h>

#include "capture/snapshot_index.h"
#include "capture/snapshot_list.h"
#include "capture/snapshot_read.h"
#include "capture/source.h"
#include "capture/walk.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "store/manifest.h"
#include "store/store.h"

/* How far beyond the limit a walk goes on, to name the largest offenders rightly. */
#define WALK_BEYOND 4

/* One call of snapshot_take(). */
struct take {
	struct store *store;
	const char *index_dir;
	char index_name[DIGEST_HEX_SIZE + 1];
	const struct source *source;
	int64_t start;
	struct walk walk;
	struct snapshot_index index; /* of the last time; zeroes when there is none */
	struct snapshot_list list;
	struct snapshot result;
};

static void take_release(struct take *take)
{
	snapshot_list_release(&take->list);
	snapshot_index_release(&take->index);
	walk_release(&take->walk);
	snapshot_release(&take->result);
}

/* ---- opening ---- */

static void take_open(struct take *take)
{
	const struct source *source = take->source;
	struct timespec now;
	struct digest digest;

	clock_gettime(CLOCK_REALTIME, &now);
	take->start = file_time_ns(now);
	/* The same directory has one index, by whatever path it is reached. */
	digest_of(source->name, strlen(source->name), &digest);
	digest_format(&digest, take->index_name);
	if (snapshot_index_load(take->index_dir, take->index_name, &take->index) >= 0 &&
		(take->index.head.root_device != source->device ||
			take->index.head.root_inode != source->inode))
		snapshot_index_release(&take->index);
}

static void find_own_state(const struct take *take, struct walk_options *options)
{
	_cleanup_(freep) char *state = path_join(take->index_dir, "..");
	struct stat st;

	if (stat(state, &st) < 0)
		return;
	options->skip_device = st.st_dev;
	options->skip_inode = st.st_ino;
}

static int take_walk(struct take *take, const struct snapshot_limits *limits, struct error *err)
{
	struct walk_options options = { .entries_max = UINT64_MAX };
	int r;

	if (limits->max_files < UINT64_MAX / WALK_BEYOND)
		options.entries_max = limits->max_files * WALK_BEYOND;
	find_own_state(take, &options);
	r = source_walk(take->source, &options, &take->walk, err);
	if (r < 0)
		return r;
	snapshot_list_make(&take->walk, &take->list, &take->result.warnings);
	return snapshot_list_check(&take->list, &take->walk, limits, &take->result.warnings, err);
}

/* ---- remembering ---- */

/* Is it what it was? A file that may be is not read again. */
static bool is_same(const struct take *take, const struct snapshot_item *item,
	const struct snapshot_index_entry *entry)
{
	const struct file_stamp *stamp = &item->entry->stamp;

	if (S_ISREG(stamp->mode))
		return file_stamp_equal(stamp, &entry->stamp) &&
		       file_stamp_is_settled(stamp, take->index.head.start);
	if (stamp->mode != entry->stamp.mode)
		return false;
	return !item->entry->target || !strcmp(item->entry->target, entry->target);
}

/*
 * Take over the digests of files that did not change. A stored manifest keeps its files in the
 * store; when it is not there, each of them is looked for. Returns whether nothing changed at all.
 */
static bool recall(struct take *take)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	bool is_stored =
		take->index.head.count && store_has(take->store, &take->index.head.snapshot_id);
	size_t same = 0;

	for (size_t i = 0; i < take->list.count; i++) {
		struct snapshot_item *item = &take->list.items[i];
		const struct snapshot_index_entry *entry =
			snapshot_index_find(&take->index, snapshot_item_path(item, &path));

		if (!entry || !is_same(take, item, entry))
			continue;
		same++;
		if (item->state == ITEM_UNREAD &&
			(is_stored || store_has(take->store, &entry->digest))) {
			item->digest = entry->digest;
			item->state = ITEM_KNOWN;
		}
	}
	return is_stored && same == take->list.count && same == take->index.head.count;
}

/* ---- keeping ---- */

static void add_to_manifest(struct take *take, const struct snapshot_item *item, const char *path,
	struct strbuf *manifest)
{
	const struct file_stamp *stamp = &item->entry->stamp;
	struct manifest_entry entry = {
		.type = S_ISREG(stamp->mode)   ? MANIFEST_FILE
			: S_ISDIR(stamp->mode) ? MANIFEST_DIRECTORY
					       : MANIFEST_LINK,
		.mode = stamp->mode & 0777,
		.digest = item->digest,
		.size = stamp->size,
		.path = path,
		.target = item->entry->target,
	};

	manifest_add(manifest, &entry);
	take->result.files += entry.type != MANIFEST_DIRECTORY;
	take->result.bytes += entry.type == MANIFEST_FILE ? entry.size : 0;
}

/* Both say the same of each item: what is in the snapshot, and by what to know it again. */
static uint64_t write_down(struct take *take, struct strbuf *manifest, struct strbuf *index)
{
	_cleanup_(strbuf_release) struct strbuf buffer = STRBUF_INIT;
	uint64_t count = 0;

	manifest_begin(manifest);
	snapshot_index_begin(index);
	for (size_t i = 0; i < take->list.count; i++) {
		const struct snapshot_item *item = &take->list.items[i];
		const char *path = snapshot_item_path(item, &buffer);
		struct snapshot_index_entry entry = {
			.stamp = item->entry->stamp,
			.digest = item->digest,
			.path = path,
			.target = item->entry->target ? item->entry->target : "",
		};

		if (item->state == ITEM_GONE)
			continue;
		add_to_manifest(take, item, path, manifest);
		snapshot_index_add(index, &entry);
		count++;
	}
	return count;
}

static int put_manifest(struct take *take, struct store_batch *batch, const struct strbuf *manifest,
	struct error *err)
{
	int r;

	if (manifest->size > SNAPSHOT_MANIFEST_MAX)
		return error_set(err, -EFBIG, "source_directory",
			"the names of all files take %zu MiB, more than %zu: list some in %s",
			manifest->size >> 20, SNAPSHOT_MANIFEST_MAX >> 20, take->walk.advice);
	r = store_batch_put(batch, manifest->data, manifest->size, &take->result.id);
	return r < 0 ? error_ours(err, r, NULL, "cannot store the snapshot") : 0;
}

/* A cache: that it could not be written costs time, not the snapshot. */
static void save_index(const struct take *take, struct strbuf *index, uint64_t count)
{
	struct snapshot_index_head head = {
		.start = take->start,
		.root_device = take->source->device,
		.root_inode = take->source->inode,
		.count = count,
		.snapshot_id = take->result.id,
	};

	snapshot_index_finish(index, &head);
	(void)snapshot_index_save(take->index_dir, take->index_name, index);
}

static int take_store(struct take *take, struct error *err)
{
	_cleanup_(store_batch_abortp) struct store_batch *batch = NULL;
	_cleanup_(strbuf_release) struct strbuf manifest = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf index = STRBUF_INIT;
	uint64_t count;
	int r = store_batch_begin(take->store, &batch);

	if (r < 0)
		return error_ours(err, r, NULL, "cannot write to the store");
	r = snapshot_read(
		batch, take->source, &take->walk, &take->list, &take->result.files_read, err);
	if (r < 0)
		return r;
	count = write_down(take, &manifest, &index);
	r = put_manifest(take, batch, &manifest, err);
	if (r < 0)
		return r;
	r = store_batch_commit(TAKE(batch));
	if (r < 0)
		return error_ours(err, r, NULL, "cannot store the snapshot");
	save_index(take, &index, count);
	return 0;
}

static int take_all(struct take *take, const struct snapshot_limits *limits, struct error *err)
{
	int r;

	take_open(take);
	r = take_walk(take, limits, err);
	if (r < 0)
		return r;
	if (!recall(take))
		return take_store(take, err);
	take->result.id = take->index.head.snapshot_id;
	take->result.files = take->list.files;
	take->result.bytes = take->list.bytes;
	return 0;
}

int snapshot_take(struct store *store, const char *index_dir, const struct source *source,
	const struct snapshot_limits *limits, struct snapshot *ret, struct error *err)
{
	_cleanup_(take_release) struct take take = {
		.store = store,
		.index_dir = index_dir,
		.source = source,
	};
	int r = take_all(&take, limits, err);

	if (r < 0)
		return r;
	*ret = take.result;
	take.result = (struct snapshot){ 0 };
	return 0;
}

void snapshot_release(struct snapshot *snapshot)
{
	strv_free(snapshot->warnings);
	*snapshot = (struct snapshot){ 0 };
}
