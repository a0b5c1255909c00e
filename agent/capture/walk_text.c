/* SPDX-License-Identifier: MIT */
/*
 * walk_text - a walk as bytes; see walk_text.h
 *
 * A head, then the directories in the walk's order, level by level. A directory is its count of
 * entries and the entries, sorted; the n-th entry of all that has a directory below it has the n-th
 * directory after the root: so no directory needs a name or a parent of its own.
 */
#include "capture/walk_text.h"

#include <limits.h>
#include <string.h>

#include "common/mem.h"

#define MAGIC UINT32_C(0x314b4c57) /* "WLK1" */

enum head_flag { HEAD_AMLIGNORE = 1, HEAD_ADVISES_GIT = 2, HEAD_CUT = 4, HEAD_ALL = 7 };
enum dir_flag { DIR_VANISHED = 1, DIR_RULES_ARE_LINK = 2, DIR_ALL = 3 };

struct head {
	uint32_t magic;
	uint32_t flags;
	uint32_t dirs;
	uint32_t skipped_size; /* the path follows */
};

struct dir_record {
	uint32_t flags;
	uint32_t entries;
};

struct entry_record {
	struct file_stamp stamp;
	uint16_t name_size;
	uint16_t target_size;
	uint16_t has_dir;
	uint16_t padding;
	/* name and target follow */
};

/* ---- writing ---- */

static void format_entry(const struct walk_entry *entry, struct strbuf *ret)
{
	struct entry_record record;

	memset(&record, 0, sizeof(record));
	record.stamp = entry->stamp;
	record.name_size = (uint16_t)strlen(entry->name);
	record.target_size = (uint16_t)(entry->target ? strlen(entry->target) : 0);
	record.has_dir = entry->dir != NULL;
	strbuf_add(ret, &record, sizeof(record));
	strbuf_add(ret, entry->name, record.name_size);
	if (entry->target)
		strbuf_add(ret, entry->target, record.target_size);
}

static void format_dir(const struct walk_dir *dir, struct strbuf *ret)
{
	const struct dir_record record = {
		.flags = (dir->vanished ? DIR_VANISHED : 0u) |
			 (dir->rules_are_link ? DIR_RULES_ARE_LINK : 0u),
		.entries = (uint32_t)dir->count,
	};

	strbuf_add(ret, &record, sizeof(record));
	for (size_t i = 0; i < dir->count; i++)
		format_entry(&dir->entries[i], ret);
}

void walk_text_format(const struct walk *walk, struct strbuf *ret)
{
	bool aml = !strcmp(walk->rule_file, ".amlignore");
	const struct head head = {
		.magic = MAGIC,
		.flags = (aml ? HEAD_AMLIGNORE : 0u) | (walk->cut ? HEAD_CUT : 0u) |
			 (!aml && strcmp(walk->advice, ".amlignore") ? HEAD_ADVISES_GIT : 0u),
		.dirs = (uint32_t)walk->count,
		.skipped_size = (uint32_t)(walk->skipped ? strlen(walk->skipped) : 0),
	};

	strbuf_add(ret, &head, sizeof(head));
	strbuf_adds(ret, walk->skipped ? walk->skipped : "");
	for (size_t i = 0; i < walk->count; i++)
		format_dir(walk->dirs[i], ret);
}

/* ---- reading ---- */

struct reader {
	const char *at, *end;
	struct walk walk;
	size_t children; /* entries so far that have a directory: it is dirs[children] */
	uint32_t dirs;   /* how many there are to be */
};

static bool take(struct reader *reader, void *to, size_t size)
{
	if ((size_t)(reader->end - reader->at) < size)
		return false;
	memcpy(to, reader->at, size);
	reader->at += size;
	return true;
}

/* A string without NUL bytes. NULL when it is not there. */
static char *take_string(struct reader *reader, size_t size)
{
	char *text;

	if ((size_t)(reader->end - reader->at) < size || memchr(reader->at, '\0', size))
		return NULL;
	text = mem_strndup(reader->at, size);
	reader->at += size;
	return text;
}

static bool is_name(const char *name)
{
	return name[0] && strcmp(name, ".") && strcmp(name, "..") && !strchr(name, '/') &&
	       strlen(name) <= NAME_MAX;
}

static bool is_mode(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return !(mode & ~(mode_t)(S_IFMT | 07777));
	default:
		return false;
	}
}

static bool fits(const struct walk_dir *dir, const struct entry_record *record,
	const struct walk_entry *entry, const char *before)
{
	return is_name(entry->name) && is_mode(record->stamp.mode) &&
	       (!before || strcmp(before, entry->name) < 0) && record->has_dir <= 1 &&
	       (!record->has_dir || (S_ISDIR(record->stamp.mode) && dir->depth < WALK_DEPTH_MAX)) &&
	       S_ISLNK(record->stamp.mode) == (record->target_size > 0) &&
	       record->target_size < PATH_MAX;
}

static int parse_entry(struct reader *reader, struct walk_dir *dir, struct strbuf *names,
	const char *before, char **ret_name)
{
	struct walk_entry *entry = &dir->entries[dir->count];
	_cleanup_(freep) char *name = NULL;
	struct entry_record record;

	if (!take(reader, &record, sizeof(record)))
		return -EBADMSG;
	name = take_string(reader, record.name_size);
	if (!name)
		return -EBADMSG;
	entry->name = name;
	if (!fits(dir, &record, entry, before))
		return -EBADMSG;
	if (record.target_size) {
		entry->target = take_string(reader, record.target_size);
		if (!entry->target)
			return -EBADMSG;
	}
	entry->stamp = record.stamp;
	dir->count++;
	if (record.has_dir) {
		if (++reader->children >= reader->dirs)
			return -EBADMSG;
		entry->dir = walk_add_dir(&reader->walk, dir, name);
	}
	strbuf_add(names, name, strlen(name) + 1);
	*ret_name = TAKE(name);
	return 0;
}

/* The names are the directory's, in one piece. */
static void adopt_names(struct walk_dir *dir, struct strbuf *names)
{
	const char *at = dir->names = strbuf_steal(names);

	for (size_t i = 0; i < dir->count; i++, at += strlen(at) + 1)
		dir->entries[i].name = at;
}

static int parse_dir(struct reader *reader, struct walk_dir *dir)
{
	_cleanup_(strbuf_release) struct strbuf names = STRBUF_INIT;
	_cleanup_(freep) char *before = NULL;
	struct dir_record record;
	int r = 0;

	if (!take(reader, &record, sizeof(record)) || record.flags & ~(uint32_t)DIR_ALL ||
		record.entries > (size_t)(reader->end - reader->at) / sizeof(struct entry_record))
		return -EBADMSG;
	dir->vanished = record.flags & DIR_VANISHED;
	dir->rules_are_link = record.flags & DIR_RULES_ARE_LINK;
	dir->entries = mem_alloc((record.entries + 1) * sizeof(*dir->entries));
	for (uint32_t i = 0; r >= 0 && i < record.entries; i++) {
		char *name = NULL;

		r = parse_entry(reader, dir, &names, before, &name);
		free(before);
		before = name;
	}
	adopt_names(dir, &names);
	return r;
}

static int parse_head(struct reader *reader)
{
	struct head head;

	if (!take(reader, &head, sizeof(head)) || head.magic != MAGIC ||
		head.flags & ~(uint32_t)HEAD_ALL || head.dirs == 0)
		return -EBADMSG;
	walk_name_rules(&reader->walk, head.flags & HEAD_AMLIGNORE, head.flags & HEAD_ADVISES_GIT);
	reader->walk.cut = head.flags & HEAD_CUT;
	reader->dirs = head.dirs;
	if (head.skipped_size) {
		reader->walk.skipped = take_string(reader, head.skipped_size);
		if (!reader->walk.skipped)
			return -EBADMSG;
	}
	walk_add_dir(&reader->walk, NULL, NULL);
	return 0;
}

int walk_text_parse(const char *data, size_t size, struct walk *ret)
{
	struct reader reader = { .at = data, .end = data + size };
	int r = parse_head(&reader);

	/* Directories are added as their entries are read: each is there when its turn comes. */
	for (size_t i = 0; r >= 0 && i < reader.walk.count; i++)
		r = parse_dir(&reader, reader.walk.dirs[i]);
	if (r >= 0 && (reader.walk.count != reader.dirs || reader.at != reader.end))
		r = -EBADMSG;
	if (r < 0) {
		walk_release(&reader.walk);
		return r;
	}
	*ret = reader.walk;
	return 0;
}
