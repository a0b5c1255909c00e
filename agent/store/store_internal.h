/* SPDX-License-Identifier: MIT */
/*
 * store_internal - what the parts of the store share: store.c opens and reads, store_put.c makes
 * bytes in tmp/, store_batch.c keeps account of them and makes them part of the store
 *
 * A name in the store means durable bytes under a durable name. While a batch publishes, names
 * are there that may be taken back (a later rename fails) or that a loss of power would undo. Each
 * of the 256 fan-out directories therefore has an epoch, odd while a batch publishes into it, and
 * store_look() waits for the end of that before it believes a name.
 *
 * A process before us may have been killed between a rename and the fsync of its directory. So a
 * directory is "settled" only once a batch of this process has fsynced it; the first batch that
 * relies on an old name does that, once for each directory.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "store/store.h"

#define STORE_FANOUT 256
/* Pieces that large files are read and hashed in; smaller ones are read whole. */
#define STORE_PIECE ((size_t)1 << 20)

struct store {
	int root_fd;
	int blobs_fd;                 /* sha256/ */
	int temp_fd;                  /* tmp/ */
	pthread_mutex_t publish_lock; /* one batch at a time publishes */
	atomic_uint epoch[STORE_FANOUT];
	atomic_bool settled[STORE_FANOUT];
	atomic_ullong next_temp;
};

struct blob_path {
	char text[sizeof("ab/") + DIGEST_HEX_SIZE];
};

static inline unsigned store_fanout_of(const struct digest *digest)
{
	return digest->bytes[0];
}

/* Relative to blobs_fd. */
struct blob_path store_blob_path(const struct digest *digest);

/* Is the blob there for good? 1, 0 or a negative errno. Not while holding publish_lock. */
int store_look(struct store *store, const struct digest *digest);

/* Read until size bytes are there or fd ends: how many, or a negative errno. */
ssize_t store_read_full(int fd, void *to, size_t size);

/* A file in tmp/ is known by a number, which is its name in hex. */
struct temp_name {
	char text[17];
};

struct temp_name store_temp_name(unsigned long long temp);
unsigned long long store_temp_new(struct store *store);
/* A descriptor to write to, or a negative errno. */
int store_temp_open(struct store *store, unsigned long long temp);
void store_temp_remove(struct store *store, unsigned long long temp);

/*
 * Is it this caller's to write? 1: yes, the batch counts on tmp/<temp> from now on. 0: no, it is in
 * the store already, or another put has claimed it.
 */
int store_batch_claim(struct store_batch *batch, const struct digest *digest,
	unsigned long long temp, bool moved);
/* The same with a temporary file that is whole already; it goes when it is not needed. */
int store_batch_claim_temp(struct store_batch *batch, const struct digest *digest,
	unsigned long long temp, bool moved);
/* Bytes that were claimed could not be written: others may rely on them, so the commit fails. */
void store_batch_fail(struct store_batch *batch, int r);

/* STORE_PIECE bytes, from a few that the batch keeps. */
char *store_batch_take_buffer(struct store_batch *batch);
void store_batch_give_buffer(struct store_batch *batch, char *buffer);
struct store *store_batch_store(struct store_batch *batch);
