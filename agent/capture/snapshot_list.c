/* SPDX-License-Identifier: MIT */
/* snapshot_list - what a snapshot will hold, in the order of its manifest; see snapshot_list.h */
#include "capture/snapshot_list.h"

#include <string.h>

#include "capture/tree_link.h"
#include "common/mem.h"
#include "common/strv.h"

/* How many a warning names. */
#define NOTICE_NAMES 5

/* One kind of warning. */
struct notice {
	size_t count;
	struct strbuf names;
};

enum notice_kind { NOTICE_LINK_OUT, NOTICE_SPECIAL, NOTICE_RULES, NOTICE_OWN_STATE, NOTICE_COUNT };

static const char *const notice_texts[NOTICE_COUNT] = {
	[NOTICE_LINK_OUT] =
		"links lead out of the folder, what they point to is not in the snapshot",
	[NOTICE_SPECIAL] = "sockets, pipes and devices are left out",
	[NOTICE_RULES] = "ignore files that are symbolic links are not read as rules",
	[NOTICE_OWN_STATE] = "amlagent's own state is left out",
};

struct lister {
	const struct walk *walk;
	struct snapshot_list *list;
	struct notice notices[NOTICE_COUNT];
};

static void notice_add(struct notice *notice, const char *dir, const char *name, const char *target)
{
	if (++notice->count > NOTICE_NAMES)
		return;
	strbuf_adds(&notice->names, notice->count > 1 ? ", " : ": ");
	walk_show_path(&notice->names, dir, name);
	if (target) {
		strbuf_adds(&notice->names, " -> ");
		walk_show_path(&notice->names, "", target);
	}
}

static void notices_end(struct notice notices[static NOTICE_COUNT], char ***warnings)
{
	for (size_t i = 0; i < NOTICE_COUNT; i++) {
		struct notice *notice = &notices[i];

		if (notice->count > NOTICE_NAMES)
			strbuf_addf(&notice->names, " and %zu more", notice->count - NOTICE_NAMES);
		if (notice->count)
			strv_addf(warnings, "%s%s", notice_texts[i], notice->names.data);
		strbuf_release(&notice->names);
	}
}

const char *snapshot_item_path(const struct snapshot_item *item, struct strbuf *buffer)
{
	strbuf_clear(buffer);
	strbuf_add(buffer, item->dir->path, item->dir->path_size);
	strbuf_adds(buffer, item->entry->name);
	return buffer->data;
}

static struct snapshot_item *add_item(
	struct snapshot_list *list, const struct walk_dir *dir, struct walk_entry *entry)
{
	GROW(list->items, list->count, list->room);
	list->items[list->count] = (struct snapshot_item){
		.dir = dir,
		.entry = entry,
		.state = S_ISREG(entry->stamp.mode) ? ITEM_UNREAD : ITEM_KNOWN,
	};
	return &list->items[list->count++];
}

static void list_link(struct lister *lister, const struct walk_dir *dir, struct walk_entry *entry)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	struct snapshot_item *item = add_item(lister->list, dir, entry);

	lister->list->files++;
	if (tree_link_leads_out(snapshot_item_path(item, &path), entry->target))
		notice_add(
			&lister->notices[NOTICE_LINK_OUT], dir->path, entry->name, entry->target);
}

static void list_file(struct lister *lister, const struct walk_dir *dir, struct walk_entry *entry)
{
	struct snapshot_list *list = lister->list;

	add_item(list, dir, entry);
	list->files++;
	if (__builtin_add_overflow(list->bytes, entry->stamp.size, &list->bytes))
		list->bytes = UINT64_MAX;
}

static void list_dir(struct lister *lister, const struct walk_dir *dir);

static void list_folder(struct lister *lister, const struct walk_dir *dir, struct walk_entry *entry)
{
	if (!entry->dir || entry->dir->vanished)
		return;
	add_item(lister->list, dir, entry);
	lister->list->folders++;
	list_dir(lister, entry->dir);
}

/* At most WALK_DEPTH_MAX deep. */
static void list_dir(struct lister *lister, const struct walk_dir *dir)
{
	if (dir->rules_are_link)
		notice_add(
			&lister->notices[NOTICE_RULES], dir->path, lister->walk->rule_file, NULL);
	for (size_t i = 0; i < dir->count; i++) {
		struct walk_entry *entry = &dir->entries[i];

		if (S_ISREG(entry->stamp.mode))
			list_file(lister, dir, entry);
		else if (S_ISDIR(entry->stamp.mode))
			list_folder(lister, dir, entry);
		else if (S_ISLNK(entry->stamp.mode))
			list_link(lister, dir, entry);
		else
			notice_add(&lister->notices[NOTICE_SPECIAL], dir->path, entry->name, NULL);
	}
}

void snapshot_list_make(const struct walk *walk, struct snapshot_list *ret, char ***warnings)
{
	struct lister lister = { .walk = walk, .list = ret };

	*ret = (struct snapshot_list){ 0 };
	list_dir(&lister, walk->dirs[0]);
	if (walk->skipped)
		notice_add(&lister.notices[NOTICE_OWN_STATE], walk->skipped, "", NULL);
	notices_end(lister.notices, warnings);
}

void snapshot_list_release(struct snapshot_list *list)
{
	free(list->items);
	*list = (struct snapshot_list){ 0 };
}
