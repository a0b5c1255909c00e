/* SPDX-License-Identifier: MIT */
/*
 * ignore - which paths of a tree the rules of its .gitignore files leave out
 *
 * The syntax and the meaning are git's, gitignore(5), so that a snapshot takes what `git status`
 * shows. Only the matching is here: no file is read, and the name of the rule files, .git itself
 * and what else a snapshot never takes are the walker's business. libgit2 is not used because it
 * wants a repository; a plain directory must do.
 *
 * A walker parses the rule file of each directory that it enters and links it to the directory
 * above; deeper rules come first, within a file the last one that matches decides:
 *
 *	static void walk(const struct ignore_level *parent, const char *dir, size_t dir_len)
 *	{
 *		_cleanup_(ignore_rules_freep) struct ignore_rules *rules = (NULL when no file);
 *		struct ignore_level level = { parent, rules, dir_len };
 *
 *		(for each entry of dir: path = dir + name)
 *			if (ignore_match(&level, path, path_len, is_dir))
 *				continue;
 *			if (is_dir)
 *				walk(&level, path + "/", path_len + 1);
 *	}
 *
 * Not entering a directory that is left out is part of the contract: that is why git's rules
 * cannot bring back anything below it. A symbolic link is never a directory here, and git reads
 * no rule file that is one.
 *
 * Paths and rules are bytes, compared with case; no encoding is assumed.
 *
 * Where gits differ, the manual decides: an anchored foo** before a '/' is foo* to us and to git
 * since 2.52; earlier ones contradict their manual and take the stars for any depth there.
 *
 * Owns:    struct ignore_rules owns what it holds; a level owns nothing and is often on the stack.
 * Threads: any; parsed rules and levels are only read, so threads may share them.
 * Errors:  none; as in git a malformed line matches nothing. Out of memory ends the program.
 * Cost:    a match is polynomial in pattern and path, whatever the pattern; rules take up to 30
 *          times the memory of their text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

/* A larger text has no rules, as in git; do not read such a file. */
#define IGNORE_RULES_SIZE_MAX ((size_t)100 * 1024 * 1024)

/* The rules of one file, parsed. */
struct ignore_rules;

/* Parse the content of one rule file; text may be freed afterwards. */
struct ignore_rules *ignore_rules_parse(const char *text, size_t size)
	__attribute__((returns_nonnull));
/* NULL is fine. */
void ignore_rules_free(struct ignore_rules *rules);
DEFINE_CLEANUP(struct ignore_rules *, ignore_rules_free);

/* A directory on the way from the root to the path at hand. */
struct ignore_level {
	const struct ignore_level *parent; /* NULL at the root */
	const struct ignore_rules *rules;  /* of this directory; NULL when it has none */
	size_t base_len; /* of its path from the root, with the last '/'; 0 at the root */
};

/*
 * Do the rules leave path out? It is relative to the root, has no '/' at its ends, need not end
 * in a NUL and lies directly in the directory of level, which is not left out itself.
 */
bool ignore_match(const struct ignore_level *level, const char *path, size_t path_len, bool is_dir);
