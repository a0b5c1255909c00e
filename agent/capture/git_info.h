/* SPDX-License-Identifier: MIT */
/*
 * git_info - which commit a source directory is at
 *
 * libgit2 is linked by one small program, amlagent-git-info, and not by the daemon: initialising it
 * costs four megabytes and a hostile repository is then parsed outside the daemon (docs: "git").
 * git_info_read() looks for a `.git` above the directory; where there is none it costs a few stats,
 * else it runs the helper (with a time limit) and reads its answer. For another user (`as`) the helper
 * is always run, as him (child_process.h): nothing of his is looked at with other rights.
 *
 * Values that do not exist (detached head, no remote, no commit) have no property. Credentials are
 * stripped from the URL (git_url.h). The overrides AZUREML_GIT_REPOSITORY_URI, AZUREML_GIT_BRANCH,
 * AZUREML_GIT_COMMIT and AZUREML_GIT_DIRTY in env win, also outside a repository; an empty one is
 * none. Of the rest of env the helper sees HOME and XDG_CONFIG_HOME alone: where git's
 * configuration is, and no GIT_DIR.
 *
 * A source directory that is a folder of a repository is looked at alone, as with `git status .`:
 * what is dirty elsewhere does not count and is not in the patch. `git apply` of the patch, at the
 * root of the commit's tree, makes the work tree: staged, unstaged and untracked changes, but none
 * of a submodule's files and none that a filter program (Git LFS) converts; a warning names those.
 * A patch is kept only while it is one against azureml.git.commit and dirty is True.
 *
 * Threads: any; blocks. Errors: none that fail a run: what could not be read is missing, and a
 * warning says so.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/identity.h"
#include "common/strv.h"

#define GIT_PATCH_MAX (16u << 20)
#define GIT_PATCH_ARTIFACT "git/uncommitted.patch"

struct git_info {
	struct pairs properties; /* the azureml.git.* and mlflow.source.git.* of the contract */
	char *patch; /* NULL: clean or unknown; else the patch against the commit, bytes */
	size_t patch_size;
	char **warnings; /* strv */
};

/* helper: the program's path; NULL: no repository can be read, overrides alone count. */
void git_info_read(const char *helper, const struct identity *as, const char *source_dir,
	char *const *env, struct git_info *ret);
void git_info_release(struct git_info *info);
