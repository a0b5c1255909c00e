/* SPDX-License-Identifier: MIT */
/* snapshot_index - which stamp each file had, and which digest; see snapshot_index.h */
#include "capture/snapshot_index.h"

#include <fcntl.h>
#include <string.h>

#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"

#define INDEX_SIZE_MAX ((size_t)1 << 30)

static const char magic[8] = "amlidx\x01";

struct file_head {
	char magic[8];
	struct digest check; /* of all that follows it */
	struct snapshot_index_head head;
};

/* Followed by the path, a NUL, the target, a NUL. */
struct record {
	struct file_stamp stamp;
	struct digest digest;
	uint32_t path_size;
	uint32_t target_size;
};

#define CHECKED_FROM offsetof(struct file_head, head)

_Static_assert(sizeof(struct snapshot_index_head) == 64, "written as it is: no padding");
_Static_assert(sizeof(struct record) == 88, "written as it is: its padding is made zero");

/* ---- reading ---- */

/* NULL: no whole string of that size is there. */
static const char *take_string(const struct strbuf *bytes, size_t *at, size_t size)
{
	const char *text = bytes->data + *at;

	if (size >= bytes->size - *at || memchr(text, '\0', size + 1) != text + size)
		return NULL;
	*at += size + 1;
	return text;
}

static bool read_next(struct snapshot_index *index)
{
	struct snapshot_index_entry entry;
	struct record record;
	size_t at = index->at;

	if (index->bytes.size - at < sizeof(record))
		return false;
	memcpy(&record, index->bytes.data + at, sizeof(record));
	at += sizeof(record);
	entry.stamp = record.stamp;
	entry.digest = record.digest;
	entry.path = take_string(&index->bytes, &at, record.path_size);
	if (!entry.path)
		return false;
	entry.target = take_string(&index->bytes, &at, record.target_size);
	if (!entry.target)
		return false;
	index->next = entry;
	index->at = at;
	return true;
}

int snapshot_index_parse(struct strbuf *bytes, struct snapshot_index *ret)
{
	struct file_head head;
	struct digest check;

	if (bytes->size < sizeof(head))
		return -EBADMSG;
	memcpy(&head, bytes->data, sizeof(head));
	digest_of(bytes->data + CHECKED_FROM, bytes->size - CHECKED_FROM, &check);
	if (memcmp(head.magic, magic, sizeof(magic)) != 0 || !digest_equal(&check, &head.check))
		return -EBADMSG;
	*ret = (struct snapshot_index){ .head = head.head, .at = sizeof(head), .bytes = *bytes };
	*bytes = (struct strbuf)STRBUF_INIT;
	ret->has_next = read_next(ret);
	return 0;
}

int snapshot_index_load(const char *index_dir, const char *name, struct snapshot_index *ret)
{
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	_cleanup_(freep) char *path = path_join(index_dir, name);
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > INDEX_SIZE_MAX)
		return -EBADMSG;
	strbuf_reserve(&bytes, (size_t)st.st_size + 8192);
	r = file_read_fd(fd, INDEX_SIZE_MAX, &bytes);
	return r < 0 ? r : snapshot_index_parse(&bytes, ret);
}

void snapshot_index_release(struct snapshot_index *index)
{
	strbuf_release(&index->bytes);
	*index = (struct snapshot_index){ 0 };
}

/* The order of a walk: a directory's content comes before a longer name beside it. */
static int path_order(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	if (*a == *b)
		return 0;
	if (*a && *b && (*a == '/' || *b == '/'))
		return *a == '/' ? -1 : 1;
	return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
}

const struct snapshot_index_entry *snapshot_index_find(
	struct snapshot_index *index, const char *path)
{
	while (index->has_next) {
		int order = path_order(index->next.path, path);

		if (order == 0)
			return &index->next;
		if (order > 0)
			return NULL;
		index->has_next = read_next(index);
	}
	return NULL;
}

/* ---- writing ---- */

void snapshot_index_begin(struct strbuf *out)
{
	struct file_head head = { 0 };

	strbuf_clear(out);
	strbuf_add(out, &head, sizeof(head));
}

/* Field by field: what a caller's padding holds must not get into the file. */
static void set_stamp(struct file_stamp *to, const struct file_stamp *from)
{
	to->device = from->device;
	to->inode = from->inode;
	to->size = from->size;
	to->mtime = from->mtime;
	to->ctime = from->ctime;
	to->mode = from->mode;
}

void snapshot_index_add(struct strbuf *out, const struct snapshot_index_entry *entry)
{
	struct record record;

	memset(&record, 0, sizeof(record));
	set_stamp(&record.stamp, &entry->stamp);
	record.digest = entry->digest;
	record.path_size = (uint32_t)strlen(entry->path);
	record.target_size = (uint32_t)strlen(entry->target);
	strbuf_add(out, &record, sizeof(record));
	strbuf_add(out, entry->path, record.path_size + 1);
	strbuf_add(out, entry->target, record.target_size + 1);
}

void snapshot_index_finish(struct strbuf *out, const struct snapshot_index_head *head)
{
	struct file_head file_head = { .head = *head };

	memcpy(file_head.magic, magic, sizeof(magic));
	memcpy(out->data, &file_head, sizeof(file_head));
	digest_of(out->data + CHECKED_FROM, out->size - CHECKED_FROM, &file_head.check);
	memcpy(out->data, &file_head, sizeof(file_head));
}

int snapshot_index_save(const char *index_dir, const char *name, const struct strbuf *bytes)
{
	_cleanup_(freep) char *path = path_join(index_dir, name);
	int r = dir_make(index_dir, 0700);

	return r < 0 ? r
		     : FAIL_POINT(FAIL_INDEX_WRITE, file_replace(AT_FDCWD, path, bytes->data,
							    bytes->size, 0600, FILE_NO_SYNC));
}
