/* SPDX-License-Identifier: MIT */
/*
 * git_read - a repository's commit, branch, remote, and what is not committed
 *
 * Part of the program amlagent-git-info and not of the daemon; git_read.c and git_patch.c are the
 * only files that see libgit2. Nothing is changed, neither in the work tree nor in .git, and
 * nothing is executed: libgit2 runs no hook, no fsmonitor and no filter program. So whose the
 * repository is does not matter, and git's own check of that is off.
 *
 * All but the origin looks at the source directory alone, when that is a folder in the work tree:
 * like `git status .` there. What a submodule's files look like counts as git's configuration says.
 *
 * Threads: one. Errors: negative errno with err set, in words of libgit2.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"

struct git_read;

/* NULL in ret, and 0, when dir is not in a work tree: no repository, a bare one, inside of .git. */
int git_read_open(const char *dir, struct git_read **ret, struct error *err);
/* NULL is fine. */
void git_read_close(struct git_read *read);
DEFINE_CLEANUP(struct git_read *, git_read_close);

/* Each malloc'ed, NULL when there is none. */

/* The hash of HEAD; none before the first commit. */
char *git_read_commit(struct git_read *read);
/* The branch's short name, also before its first commit; none with a detached HEAD. */
char *git_read_branch(struct git_read *read);
/* What `git ls-remote --get-url` says (credentials included): the URL of the remote that the branch
 * follows, else of origin, else of the only one; url.*.insteadOf applied. */
char *git_read_repository_uri(struct git_read *read);

/* Would `git status --porcelain .` print anything? */
int git_read_is_dirty(struct git_read *read, bool *ret, struct error *err);

/*
 * The patch that `git apply`, at the root of the commit's tree, makes the work tree from: what
 * `git add -A . && git diff --cached --binary HEAD` would print. Staged or not does not matter, and
 * untracked files are in it; ignored ones are not. ret is empty when there is no commit, when there
 * is nothing to say, or when it would be larger than max; warnings (a strv) is added to where
 * something is left out: that, changes inside of submodules, and files that a filter program (Git
 * LFS) would have to convert.
 */
int git_read_patch(
	struct git_read *read, size_t max, struct strbuf *ret, char ***warnings, struct error *err);
