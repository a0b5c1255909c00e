/* SPDX-License-Identifier: MIT */
/*
 * fuzz_user_files - what the process of a hostile user may send: a walk, or a list of outputs
 *
 * The first byte says which. Random bytes rarely make a whole text, so what is taken must say the same
 * again when it is written and read once more, and every name in it must be a name.
 */
#include <stdlib.h>
#include <string.h>

#include "capture/collect_list.h"
#include "capture/walk_text.h"
#include "common/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_dir(const struct walk_dir *dir)
{
	if (dir->depth > WALK_DEPTH_MAX)
		abort();
	for (size_t i = 0; i < dir->count; i++) {
		const struct walk_entry *entry = &dir->entries[i];

		if (!path_is_inside(entry->name) || strchr(entry->name, '/') ||
			(i && strcmp(dir->entries[i - 1].name, entry->name) >= 0) ||
			(S_ISLNK(entry->stamp.mode) != (entry->target != NULL)) ||
			(entry->dir && entry->dir->parent != dir))
			abort();
	}
}

static void try_walk(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct walk walk, again;

	if (walk_text_parse(data, size, &walk) < 0)
		return;
	for (size_t i = 0; i < walk.count; i++)
		check_dir(walk.dirs[i]);
	walk_text_format(&walk, &text);
	if (walk_text_parse(text.data, text.size, &again) < 0 || again.count != walk.count)
		abort();
	walk_release(&again);
	walk_release(&walk);
}

static void try_list(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct collect_list list, again;

	if (collect_list_parse(data, size, &list) < 0)
		return;
	for (size_t i = 0; i < list.files.count; i++)
		if (!path_is_inside(list.files.items[i].path))
			abort();
	collect_list_format(&list, &text);
	if (collect_list_parse(text.data, text.size, &again) < 0 ||
		again.files.count != list.files.count)
		abort();
	collect_list_release(&again);
	collect_list_release(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] & 1)
		try_walk((const char *)data + 1, size - 1);
	else
		try_list((const char *)data + 1, size - 1);
	return 0;
}
