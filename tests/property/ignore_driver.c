/* SPDX-License-Identifier: MIT */
/*
 * ignore_driver - what the ignore matcher says of described trees; for test_ignore_git.py
 *
 * Walks as the snapshot does, but a tree that stdin describes, in order of the walk:
 *
 *	d PATH_SIZE RULES_SIZE \n PATH RULES	enter a directory (the root's path is empty)
 *	f PATH_SIZE 0 \n PATH			anything that is no directory
 *	u 0 0 \n				leave the directory
 *
 * RULES_SIZE is -1 without a rule file. Prints '1' (left out) or '0' for each d and f below the
 * root, and a line end after each root.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/ignore.h"
#include "common/mem.h"

struct entry {
	char kind;
	char *path;
	char *rules;
	long path_size;
	long rules_size;
};

static void entry_release(struct entry *entry)
{
	free(entry->path);
	free(entry->rules);
}

static char *read_bytes(long size)
{
	char *bytes = mem_alloc(size > 0 ? (size_t)size : 0);

	if (size > 0 && fread(bytes, (size_t)size, 1, stdin) != 1)
		exit(2);
	return bytes;
}

static bool entry_read(struct entry *ret)
{
	struct entry entry = { 0 };
	int fields = scanf("%c %ld %ld", &entry.kind, &entry.path_size, &entry.rules_size);

	if (fields == EOF)
		return false;
	if (fields != 3 || getchar() != '\n')
		exit(2);
	entry.path = read_bytes(entry.path_size);
	entry.rules = read_bytes(entry.rules_size);
	*ret = entry;
	return true;
}

/* Below a directory that is left out, left_out is true: no rule is read there. */
static void walk(const struct ignore_level *parent, const struct entry *dir, bool left_out)
{
	_cleanup_(ignore_rules_freep) struct ignore_rules *rules = NULL;
	struct ignore_level level = { .parent = parent };

	if (!left_out && dir->rules_size >= 0)
		rules = ignore_rules_parse(dir->rules, (size_t)dir->rules_size);
	level.rules = rules;
	level.base_len = dir->path_size ? (size_t)dir->path_size + 1 : 0;

	for (;;) {
		_cleanup_(entry_release) struct entry entry = { 0 };
		bool out;

		if (!entry_read(&entry))
			exit(2);
		if (entry.kind == 'u')
			return;
		out = left_out ||
		      ignore_match(&level, entry.path, (size_t)entry.path_size, entry.kind == 'd');
		putchar(out ? '1' : '0');
		if (entry.kind == 'd')
			walk(&level, &entry, out);
	}
}

int main(void)
{
	for (;;) {
		_cleanup_(entry_release) struct entry root = { 0 };

		if (!entry_read(&root))
			return 0;
		walk(NULL, &root, false);
		putchar('\n');
	}
}
