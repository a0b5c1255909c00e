/* SPDX-License-Identifier: MIT */
/*
 * store - content-addressed blobs, stored once
 *
 * A blob is a sequence of bytes named by its SHA-256, in a plain file <root>/sha256/ab/<64 hex>,
 * mode 0444 (less the umask), written once and never changed. A name that exists holds durable,
 * whole bytes: blobs are written under <root>/tmp/ first, flushed, and only then renamed into
 * place. Bytes that are there already are not written again.
 *
 * Zeros take no room: where a blob is large, or laid out, they are holes in its file.
 *
 * Writing goes through a batch, so that twenty thousand files cost one flush of the file system and
 * not twenty thousand:
 *
 *	struct store_batch *batch;
 *	store_batch_begin(store, &batch);
 *	store_batch_put_fd(batch, fd, max, &digest, &size); any number, from any threads
 *	store_batch_commit(batch);                          durable from here on; frees the batch
 *
 * or store_batch_abort(), which leaves nothing behind. A few files are flushed one by one (fsync),
 * many by syncfs; writeback is started while hashing goes on.
 *
 * The store only grows; removal is gc's alone (not here).
 *
 * Owns:    the folder <root>. At open, leftovers of a crash in <root>/tmp/ are removed: one process
 *          at a time may have a store open (the daemon holds the state folder's lock).
 * Threads: any; calls block, keep them off the event loop.
 * Errors:  0 or a negative errno; -EBADMSG when a blob's bytes do not match its name, -ENOENT when
 *          it is not there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/digest.h"

struct store;
struct store_batch;

/* Open the store at root, making it when absent. */
int store_open(const char *root, struct store **ret);
/* No blob is in it. When that cannot be told there is one. */
bool store_is_empty(const struct store *store);
/* NULL is fine. No batch may be open. */
void store_close(struct store *store);
DEFINE_CLEANUP(struct store *, store_close);

int store_batch_begin(struct store *store, struct store_batch **ret);
/* Frees the batch, also when it fails (then nothing new is to be found in the store). */
int store_batch_commit(struct store_batch *batch);
/* NULL is fine. */
void store_batch_abort(struct store_batch *batch);
DEFINE_CLEANUP(struct store_batch *, store_batch_abort);

/* Keep these bytes. */
int store_batch_put(struct store_batch *batch, const void *data, size_t size, struct digest *ret);

/* How long a pipe may give nothing, in milliseconds. */
#define STORE_STREAM_TIMEOUT_MS 30000

/* Keep what can be read from fd, from its offset to its end, as it is read (one pass: what is
 * hashed is what is written). It may be a pipe that does not block: -ETIMEDOUT when it gives nothing
 * for too long. More than max bytes, of what somebody else can make grow while it is read: -EFBIG, and
 * nothing is kept. fd stays the caller's. */
int store_batch_put_fd(
	struct store_batch *batch, int fd, uint64_t max, struct digest *ret, uint64_t *ret_size);

/*
 * Keep the regular file dirfd/name by moving it into the store: no copy. For files that nobody can
 * write to any more. Moving is a hard link: the file keeps its name in dirfd, so that neither a
 * failed batch nor a crash can lose it, and the caller removes that name once it has recorded the
 * digest; from the commit on the file is a blob under both names (mode 0444), not to be written to.
 * Falls back to a copy, as store_batch_put_fd() makes it, when the file is on another file system,
 * has other hard links, or belongs to another user. -EINVAL when it is not a regular file.
 */
int store_batch_put_file(struct store_batch *batch, int dirfd, const char *name, struct digest *ret,
	uint64_t *ret_size);

bool store_has(struct store *store, const struct digest *digest);

/* Open a blob for reading. The bytes are not verified; whoever hands them on does that while
 * reading (store_copy, or the client with the digest it was told). */
int store_open_blob(
	struct store *store, const struct digest *digest, int *ret_fd, uint64_t *ret_size);

/* Read a whole blob of at most max bytes and verify it. malloc'ed, NUL after the end. */
int store_read(
	struct store *store, const struct digest *digest, size_t max, char **ret, size_t *ret_size);

/* Write a blob into fd (a new, empty file), verifying while copying; never shares writable bytes
 * with the store (reflink where the file system has it, else a copy). */
int store_copy(struct store *store, const struct digest *digest, int fd);

/* A write in pieces, for bytes that arrive over time (PUT). begin, write*, then commit or abort. */
struct store_writer;
int store_writer_begin(struct store *store, struct store_writer **ret);
int store_writer_write(struct store_writer *writer, const void *data, size_t size);
/* Durable; frees the writer, also when it fails. */
int store_writer_commit(struct store_writer *writer, struct digest *ret, uint64_t *ret_size);
void store_writer_abort(struct store_writer *writer);

/*
 * A look at a store that changes nothing, also while a daemon has it open: names, kinds, sizes and
 * modes at once, the bytes when asked for. What is wrong is told as it is found.
 */
enum store_fault {
	STORE_FAULT_STRANGE,    /* a file or folder that is no blob */
	STORE_FAULT_WRITABLE,   /* nothing guards it against an accident; a crash may leave that */
	STORE_FAULT_UNREADABLE, /* error says why */
	STORE_FAULT_DAMAGED,    /* the bytes are not those of the name */
};

/* name: relative to sha256/, valid until it returns. */
typedef void (*store_fault_fn)(void *data, enum store_fault fault, const char *name, int error);

struct store_check;

struct store_check_totals {
	uint64_t blobs, bytes;
	uint64_t read; /* of the blobs, compared with their digest */
	uint64_t unreferred, unreferred_bytes;
	uint64_t temporary, temporary_bytes; /* in tmp/: under way, or left by a crash */
};

struct store_check_progress {
	uint64_t done, total;                                      /* bytes */
	void (*tell)(const struct store_check_progress *progress); /* now and then; NULL: nobody */
};

/* -ENOENT: there is none. Also errors of reading a folder: nothing is known then. */
int store_check_open(const char *root, store_fault_fn fault, void *data, struct store_check **ret);
void store_check_close(struct store_check *check);
DEFINE_CLEANUP(struct store_check *, store_check_close);
/* Somebody needs this blob, which may have been stored since. -ENOENT: it is not there; -EBADMSG: it
 * was found damaged, and ret_size (NULL: of no interest) is set all the same. */
int store_check_refer(struct store_check *check, const struct digest *digest, uint64_t *ret_size);
/* As store_read(), but each blob once: -EALREADY then. */
int store_check_read(struct store_check *check, const struct digest *digest, size_t max, char **ret,
	size_t *ret_size);
/* Compare all blobs that were there at the beginning with their digests. */
void store_check_bytes(struct store_check *check, struct store_check_progress *progress);
void store_check_totals(const struct store_check *check, struct store_check_totals *ret);
