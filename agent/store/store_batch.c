/* SPDX-License-Identifier: MIT */
/*
 * store_batch - what is on its way into the store; see store.h, store_put.c
 *
 * A put makes bytes in tmp/ and claims their digest in the batch; whoever puts the same bytes again
 * finds the claim and writes nothing. A commit flushes what lies in tmp/, then publishes: it
 * renames into place and makes the names durable, as one step that others wait for.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "store/store_internal.h"

/* Up to so many files (directories) are flushed one by one; more: the whole file system at once. */
#define FLUSH_FEW 16
#define SPARE_MAX 8 /* buffers */

struct entry {
	struct digest digest;
	unsigned long long temp; /* its name in tmp/ */
	bool moved;              /* a link to the caller's file, with its mode */
	bool published;          /* by this batch: to be taken back when it fails */
};

struct store_batch {
	struct store *store;
	pthread_mutex_t lock; /* all below */
	struct entry *entries;
	size_t count, room;
	uint32_t *slots;           /* hash table by digest: index into entries + 1, 0 for none */
	size_t slot_count;         /* a power of two */
	bool relied[STORE_FANOUT]; /* directories with names that were there */
	int error; /* bytes that were claimed could not be written: nobody may rely on them */
	char *spare[SPARE_MAX];
	size_t spare_count;
};

int store_batch_begin(struct store *store, struct store_batch **ret)
{
	struct store_batch *batch = NEW(struct store_batch);

	batch->store = store;
	pthread_mutex_init(&batch->lock, NULL);
	*ret = batch;
	return 0;
}

static void batch_free(struct store_batch *batch)
{
	while (batch->spare_count)
		free(batch->spare[--batch->spare_count]);
	pthread_mutex_destroy(&batch->lock);
	free(batch->entries);
	free(batch->slots);
	free(batch);
}

struct store *store_batch_store(struct store_batch *batch)
{
	return batch->store;
}

char *store_batch_take_buffer(struct store_batch *batch)
{
	char *buffer = NULL;

	pthread_mutex_lock(&batch->lock);
	if (batch->spare_count)
		buffer = batch->spare[--batch->spare_count];
	pthread_mutex_unlock(&batch->lock);
	return buffer ? buffer : mem_realloc(NULL, STORE_PIECE);
}

void store_batch_give_buffer(struct store_batch *batch, char *buffer)
{
	pthread_mutex_lock(&batch->lock);
	if (batch->spare_count < SPARE_MAX)
		batch->spare[batch->spare_count++] = TAKE(buffer);
	pthread_mutex_unlock(&batch->lock);
	free(buffer);
}

/* Where digest is in the table, or the free slot where it belongs. */
static uint32_t *find_slot(struct store_batch *batch, const struct digest *digest)
{
	uint64_t at;

	memcpy(&at, digest->bytes, sizeof(at));
	for (;; at++) {
		uint32_t *slot = &batch->slots[at & (batch->slot_count - 1)];

		if (!*slot || digest_equal(&batch->entries[*slot - 1].digest, digest))
			return slot;
	}
}

static void grow_slots(struct store_batch *batch)
{
	if (batch->count * 2 < batch->slot_count)
		return;
	batch->slot_count = batch->slot_count ? batch->slot_count * 4 : 64;
	free(batch->slots);
	batch->slots = mem_alloc(batch->slot_count * sizeof(*batch->slots));
	for (size_t i = 0; i < batch->count; i++)
		*find_slot(batch, &batch->entries[i].digest) = (uint32_t)(i + 1);
}

/* With batch->lock held. */
static bool add_entry(
	struct store_batch *batch, const struct digest *digest, unsigned long long temp, bool moved)
{
	uint32_t *slot;

	grow_slots(batch);
	slot = find_slot(batch, digest);
	if (*slot)
		return false;
	GROW(batch->entries, batch->count, batch->room);
	batch->entries[batch->count++] =
		(struct entry){ .digest = *digest, .temp = temp, .moved = moved };
	*slot = (uint32_t)batch->count;
	return true;
}

int store_batch_claim(
	struct store_batch *batch, const struct digest *digest, unsigned long long temp, bool moved)
{
	int there = store_look(batch->store, digest);
	bool claimed = false;

	if (there < 0)
		return there;
	pthread_mutex_lock(&batch->lock);
	if (there)
		batch->relied[store_fanout_of(digest)] = true;
	else
		claimed = add_entry(batch, digest, temp, moved);
	pthread_mutex_unlock(&batch->lock);
	return claimed;
}

int store_batch_claim_temp(
	struct store_batch *batch, const struct digest *digest, unsigned long long temp, bool moved)
{
	int r = store_batch_claim(batch, digest, temp, moved);

	if (r <= 0)
		store_temp_remove(batch->store, temp);
	return r < 0 ? r : 0;
}

void store_batch_fail(struct store_batch *batch, int r)
{
	pthread_mutex_lock(&batch->lock);
	if (!batch->error)
		batch->error = r;
	pthread_mutex_unlock(&batch->lock);
}

static int flush_temp(struct store *store, unsigned long long temp)
{
	struct temp_name name = store_temp_name(temp);
	_cleanup_(closep) int fd =
		openat(store->temp_fd, name.text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : file_fsync(fd);
}

static int flush_temps(struct store_batch *batch)
{
	int r = 0;

	if (batch->count > FLUSH_FEW)
		return syncfs(batch->store->root_fd) < 0 ? -errno : 0;
	for (size_t i = 0; r >= 0 && i < batch->count; i++)
		r = flush_temp(batch->store, batch->entries[i].temp);
	return r;
}

static int flush_directory(struct store *store, unsigned fanout)
{
	_cleanup_(closep) int fd = -EBADF;
	char name[3];

	snprintf(name, sizeof(name), "%02hhx", (unsigned char)fanout);
	fd = openat(store->blobs_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : file_fsync(fd);
}

static int flush_directories(struct store *store, const bool flush[static STORE_FANOUT])
{
	size_t count = 0;
	int r = 0;

	for (unsigned i = 0; i < STORE_FANOUT; i++)
		count += flush[i];
	if (count > FLUSH_FEW)
		return syncfs(store->root_fd) < 0 ? -errno : 0;
	for (unsigned i = 0; r >= 0 && i < STORE_FANOUT; i++)
		if (flush[i])
			r = flush_directory(store, i);
	return r;
}

/* For file systems without RENAME_NOREPLACE: no other batch publishes meanwhile. */
static int rename_unless_there(struct store *store, const char *temp, const char *path)
{
	if (faccessat(store->blobs_fd, path, F_OK, 0) == 0)
		return -EEXIST;
	return renameat(store->temp_fd, temp, store->blobs_fd, path) < 0 ? -errno : 0;
}

static int publish_entry(struct store *store, struct entry *entry)
{
	struct temp_name temp = store_temp_name(entry->temp);
	struct blob_path path = store_blob_path(&entry->digest);
	int r = 0;

	if (renameat2(store->temp_fd, temp.text, store->blobs_fd, path.text, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r == -EINVAL || r == -ENOSYS)
		r = rename_unless_there(store, temp.text, path.text);
	entry->published = r >= 0;
	if (r != -EEXIST)
		return r;
	store_temp_remove(store, entry->temp);
	return 0;
}

static void take_back(struct store_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct blob_path path = store_blob_path(&batch->entries[i].digest);

		if (batch->entries[i].published)
			unlinkat(batch->store->blobs_fd, path.text, 0);
	}
}

/* Last, since the caller's name has the same mode. It guards against accidents alone. */
static void protect_moved(struct store_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct blob_path path = store_blob_path(&batch->entries[i].digest);

		if (batch->entries[i].published && batch->entries[i].moved)
			(void)fchmodat(batch->store->blobs_fd, path.text, 0444, 0);
	}
}

static int publish_locked(struct store_batch *batch, const bool flush[static STORE_FANOUT])
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < batch->count; i++)
		r = FAIL_POINT(FAIL_BLOB_PUBLISH, publish_entry(batch->store, &batch->entries[i]));
	if (r >= 0)
		r = FAIL_POINT(FAIL_BLOB_FLUSH_NAMES, flush_directories(batch->store, flush));
	if (r < 0)
		take_back(batch);
	else
		protect_moved(batch);
	return r;
}

/* An odd epoch says: do not believe a name in here before asking again. */
static void turn_epochs(struct store *store, const bool publishes[static STORE_FANOUT])
{
	for (unsigned i = 0; i < STORE_FANOUT; i++)
		if (publishes[i])
			atomic_fetch_add(&store->epoch[i], 1);
}

static int publish(struct store_batch *batch)
{
	struct store *store = batch->store;
	bool publishes[STORE_FANOUT] = { false };
	bool flush[STORE_FANOUT];
	bool any = false;
	int r;

	for (size_t i = 0; i < batch->count; i++)
		publishes[store_fanout_of(&batch->entries[i].digest)] = true;
	for (unsigned i = 0; i < STORE_FANOUT; i++) {
		flush[i] = publishes[i] || (batch->relied[i] && !atomic_load(&store->settled[i]));
		any = any || flush[i];
	}
	if (!any)
		return 0;
	pthread_mutex_lock(&store->publish_lock);
	turn_epochs(store, publishes);
	r = publish_locked(batch, flush);
	turn_epochs(store, publishes);
	pthread_mutex_unlock(&store->publish_lock);
	for (unsigned i = 0; r >= 0 && i < STORE_FANOUT; i++)
		if (flush[i])
			atomic_store(&store->settled[i], true);
	return r;
}

int store_batch_commit(struct store_batch *batch)
{
	int r = batch->error;

	if (r >= 0)
		r = FAIL_POINT(FAIL_BLOB_FLUSH, flush_temps(batch));
	if (r >= 0)
		r = publish(batch);
	if (r < 0)
		store_batch_abort(batch);
	else
		batch_free(batch);
	return r;
}

void store_batch_abort(struct store_batch *batch)
{
	if (!batch)
		return;
	for (size_t i = 0; i < batch->count; i++)
		if (!batch->entries[i].published)
			store_temp_remove(batch->store, batch->entries[i].temp);
	batch_free(batch);
}
