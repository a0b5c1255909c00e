/* SPDX-License-Identifier: MIT */
/*
 * tree_link - symbolic links that lead out of the tree they are in
 *
 * Decided by the text alone: nothing is opened, what a link leads to need not exist. Absolute
 * targets lead out, also those that lead back into the tree's place: a copy of the tree would still
 * lead to the original. Pure.
 */
#pragma once

#include <stdbool.h>

/* path: of the link, relative to the tree's root. */
bool tree_link_leads_out(const char *path, const char *target);

/*
 * The absolute form of a relative target, for a tree at `root` (absolute). Only leading ".." parts
 * are taken away, and only against folders of the tree: those are no links, others may be.
 * malloc'ed.
 */
char *tree_link_absolute(const char *root, const char *path, const char *target);
