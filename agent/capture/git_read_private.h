/* SPDX-License-Identifier: MIT */
/*
 * git_read_private - what git_read.c and git_patch.c share: the only files that see libgit2
 */
#pragma once

#include <git2.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"

struct git_read {
	git_repository *repo;
	git_config *config; /* a snapshot; NULL when it cannot be read */
	char *root;         /* of the work tree, with a '/' at the end */
	char *scope; /* the source directory, relative to root, no '/' at its ends; "" for root */
};

DEFINE_CLEANUP(git_status_list *, git_status_list_free);
DEFINE_CLEANUP(git_reference *, git_reference_free);
DEFINE_CLEANUP(git_submodule *, git_submodule_free);
DEFINE_CLEANUP(git_remote *, git_remote_free);
DEFINE_CLEANUP(git_commit *, git_commit_free);
DEFINE_CLEANUP(git_index *, git_index_free);
DEFINE_CLEANUP(git_tree *, git_tree_free);
DEFINE_CLEANUP(git_diff *, git_diff_free);
DEFINE_CLEANUP(git_odb *, git_odb_free);

/* -EIO, with libgit2's own words behind `what`. */
int git_read_fault(struct error *err, const char *what);

/* What `git status` would look at in the source directory; flags are GIT_STATUS_OPT_*. libgit2's
 * result. */
int git_read_changes(struct git_read *read, unsigned flags, git_status_list **ret);
/* Would `git status` print this one? */
bool git_read_counts(const struct git_read *read, git_index *index, const git_status_entry *entry);
/* Relative to the root of the work tree. */
const char *git_read_path(const git_status_entry *entry);

/* GIT_SUBMODULE_STATUS_*, as the user's configuration wants it; false when path is no submodule. */
bool git_read_submodule_state(const struct git_read *read, const char *path, unsigned *ret);
