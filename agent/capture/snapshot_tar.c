/* SPDX-License-Identifier: MIT */
/*
 * snapshot_tar - a snapshot as a tar stream; see snapshot.h
 *
 * GNU's format, which tar, libarchive and Python read: names of more than 100 bytes stand in an 'L'
 * record (targets of links: 'K') before their entry, sizes of 8 GiB and more are in base 256.
 * https://www.gnu.org/software/tar/manual/html_node/Standard.html
 */
#include <inttypes.h>
#include <string.h>

#include "capture/snapshot.h"
#include "common/mem.h"
#include "store/manifest.h"
#include "store/store.h"

#define TAR_BLOCK 512
#define TAR_OCTAL_SIZE_MAX (UINT64_C(1) << 33)

struct tar_header {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char check[8];
	char type;
	char link[100];
	char magic[8];
	char user[32];
	char group[32];
	char rest[183];
};

_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a header is a block");

struct snapshot_tar {
	struct store *store;
	char *manifest;
	struct manifest_reader reader;
	struct strbuf ready; /* headers, padding: to be handed out next */
	size_t ready_at;
	int fd;               /* of the file at hand; -EBADF: none */
	uint64_t left;        /* of its bytes */
	size_t padding;       /* after them */
	struct digest digest; /* that its bytes should have */
	struct digest_sum *sum;
	bool ended;  /* the last block is ready */
	int failure; /* met once, told always */
};

int snapshot_tar_open(struct store *store, const struct digest *id, struct snapshot_tar **ret)
{
	_cleanup_(freep) char *manifest = NULL;
	struct snapshot_tar *tar;
	struct manifest_reader reader;
	size_t size;
	int r = store_read(store, id, SNAPSHOT_MANIFEST_MAX, &manifest, &size);

	if (r >= 0)
		r = manifest_open(&reader, manifest, size);
	if (r < 0)
		return r;
	tar = NEW(struct snapshot_tar);
	tar->store = store;
	tar->manifest = TAKE(manifest);
	tar->reader = reader;
	tar->fd = -EBADF;
	*ret = tar;
	return 0;
}

void snapshot_tar_close(struct snapshot_tar *tar)
{
	if (!tar)
		return;
	fd_close(tar->fd);
	digest_sum_free(tar->sum);
	strbuf_release(&tar->ready);
	free(tar->manifest);
	free(tar);
}

/* ---- headers ---- */

static void set_size(char field[static 12], uint64_t size)
{
	if (size < TAR_OCTAL_SIZE_MAX) {
		snprintf(field, 12, "%011" PRIo64, size);
		return;
	}
	field[0] = (char)0x80;
	for (int i = 11; i > 0; i--, size >>= 8)
		field[i] = (char)(size & 0xff);
}

static void set_check(struct tar_header *header)
{
	const unsigned char *bytes = (const unsigned char *)header;
	unsigned sum = 0;

	memset(header->check, ' ', sizeof(header->check));
	for (size_t i = 0; i < sizeof(*header); i++)
		sum += bytes[i];
	snprintf(header->check, sizeof(header->check), "%06o", sum);
}

/* Texts that are too long are cut: a record before says them whole. */
static void add_header(struct strbuf *out, char type, const char *name, const char *link,
	unsigned mode, uint64_t size)
{
	struct tar_header header = { .type = type };

	memcpy(header.name, name, strnlen(name, sizeof(header.name)));
	memcpy(header.link, link, strnlen(link, sizeof(header.link)));
	snprintf(header.mode, sizeof(header.mode), "%07o", mode);
	snprintf(header.uid, sizeof(header.uid), "%07o", 0);
	snprintf(header.gid, sizeof(header.gid), "%07o", 0);
	set_size(header.size, size);
	snprintf(header.mtime, sizeof(header.mtime), "%011o", 0);
	memcpy(header.magic, "ustar  ", sizeof(header.magic));
	set_check(&header);
	strbuf_add(out, &header, sizeof(header));
}

static size_t padding_of(uint64_t size)
{
	return (size_t)(-size % TAR_BLOCK);
}

static void add_zeroes(struct strbuf *out, size_t size)
{
	memset(strbuf_reserve(out, size), 0, size);
	out->size += size;
}

/* An 'L' or 'K' record, where the text does not fit into a header. Its NUL counts. */
static void add_long(struct strbuf *out, char type, const char *text)
{
	size_t size = strlen(text) + 1;

	if (size <= sizeof(((struct tar_header *)0)->name))
		return;
	add_header(out, type, "././@LongLink", "", 0, size);
	strbuf_add(out, text, size);
	add_zeroes(out, padding_of(size));
}

static void add_entry(struct strbuf *out, const struct manifest_entry *entry)
{
	bool is_dir = entry->type == MANIFEST_DIRECTORY;
	bool is_link = entry->type == MANIFEST_LINK;
	_cleanup_(freep) char *name = mem_printf("%s%s", entry->path, is_dir ? "/" : "");
	const char *target = is_link ? entry->target : "";

	add_long(out, 'K', target);
	add_long(out, 'L', name);
	add_header(out,
		is_dir    ? '5'
		: is_link ? '2'
			  : '0',
		name, target, is_link ? 0777 : entry->mode, entry->size);
}

/* ---- stream ---- */

static int begin_file(struct snapshot_tar *tar, const struct manifest_entry *entry)
{
	uint64_t size;
	int r = store_open_blob(tar->store, &entry->digest, &tar->fd, &size);

	if (r < 0)
		return r;
	if (size != entry->size)
		return -EBADMSG;
	tar->left = size;
	tar->padding = padding_of(size);
	tar->digest = entry->digest;
	tar->sum = digest_sum_new();
	return 0;
}

static int end_file(struct snapshot_tar *tar)
{
	struct digest found;

	digest_sum_final(TAKE(tar->sum), &found);
	tar->fd = fd_close(tar->fd);
	add_zeroes(&tar->ready, tar->padding);
	return digest_equal(&found, &tar->digest) ? 0 : -EBADMSG;
}

static int begin_entry(struct snapshot_tar *tar)
{
	struct manifest_entry entry;
	int r = manifest_next(&tar->reader, &entry);

	if (r < 0)
		return r;
	if (r == 0) {
		add_zeroes(&tar->ready, 2 * TAR_BLOCK);
		tar->ended = true;
		return 0;
	}
	add_entry(&tar->ready, &entry);
	return entry.type == MANIFEST_FILE ? begin_file(tar, &entry) : 0;
}

static ssize_t read_ready(struct snapshot_tar *tar, char *to, size_t size)
{
	size_t have = tar->ready.size - tar->ready_at;

	if (size > have)
		size = have;
	memcpy(to, tar->ready.data + tar->ready_at, size);
	tar->ready_at += size;
	if (tar->ready_at == tar->ready.size) {
		strbuf_clear(&tar->ready);
		tar->ready_at = 0;
	}
	return (ssize_t)size;
}

static ssize_t read_file(struct snapshot_tar *tar, char *to, size_t size)
{
	ssize_t n;

	do
		n = read(tar->fd, to, size < tar->left ? size : (size_t)tar->left);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EBADMSG;
	digest_sum_update(tar->sum, to, (size_t)n);
	tar->left -= (uint64_t)n;
	return n;
}

/* Some bytes; 0: none right now, or the end. */
static ssize_t read_some(struct snapshot_tar *tar, char *to, size_t size)
{
	if (tar->ready.size)
		return read_ready(tar, to, size);
	if (tar->fd >= 0)
		return tar->left ? read_file(tar, to, size) : end_file(tar);
	return begin_entry(tar);
}

static bool is_at_end(const struct snapshot_tar *tar)
{
	return tar->ended && !tar->ready.size;
}

ssize_t snapshot_tar_read(struct snapshot_tar *tar, char *to, size_t size)
{
	size_t have = 0;

	while (have < size && !tar->failure && !is_at_end(tar)) {
		ssize_t n = read_some(tar, to + have, size - have);

		if (n < 0)
			tar->failure = (int)n;
		else
			have += (size_t)n;
	}
	return have || !tar->failure ? (ssize_t)have : tar->failure;
}
