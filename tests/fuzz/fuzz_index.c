/* SPDX-License-Identifier: MIT */
/*
 * fuzz_index - a snapshot index of any bytes
 *
 * The digest over the bytes would stop nearly all input, so each is tried as it is and as the
 * records of an index that is whole. What is found must be what was looked for, and end in a NUL
 * inside the bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "capture/snapshot_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(const struct snapshot_index *index, const char *text)
{
	const char *end = index->bytes.data + index->bytes.size;

	if (text < index->bytes.data || text + strlen(text) >= end)
		abort();
}

/* By looking for a path that comes right behind it. */
static void pass_over(struct snapshot_index *index, const char *path)
{
	_cleanup_(strbuf_release) struct strbuf behind = STRBUF_INIT;

	strbuf_adds(&behind, path);
	strbuf_addc(&behind, '/');
	snapshot_index_find(index, behind.data);
}

static void read_all(struct snapshot_index *index)
{
	while (index->has_next) {
		const struct snapshot_index_entry *entry =
			snapshot_index_find(index, index->next.path);

		if (!entry)
			abort();
		check_inside(index, entry->path);
		check_inside(index, entry->target);
		pass_over(index, entry->path);
	}
}

static void look_for(struct snapshot_index *index, const char *path)
{
	const struct snapshot_index_entry *entry = snapshot_index_find(index, path);

	if (entry && strcmp(entry->path, path) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct snapshot_index_head head = { .count = 1 };

	for (int i = 0; i < 3; i++) {
		_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
		_cleanup_(snapshot_index_release) struct snapshot_index index = { 0 };

		if (i)
			snapshot_index_begin(&bytes);
		strbuf_add(&bytes, data, size);
		if (i)
			snapshot_index_finish(&bytes, &head);
		if (snapshot_index_parse(&bytes, &index) < 0)
			continue;
		if (i == 2)
			look_for(&index, "a/b");
		read_all(&index);
	}
	return 0;
}
