/* SPDX-License-Identifier: MIT */
/*
 * collect - what a run left in outputs/, logs/ and user_logs/, into the store
 *
 * Every regular file below the three folders that the run made or changed (against the snapshot it
 * started from) becomes an artifact under its path. Links, sockets, pipes and devices are not
 * followed, not opened, and named in a warning; so is a directory nested deeper than 200. Names are
 * bytes. The run's log is collected as user_logs/std_log.txt from the run directory, whatever the
 * script did to its name in work/.
 *
 * Called when no process of the run is left.
 *
 * Threads: any; blocks. Errors: negative errno with err naming the file; nothing is stored then and
 * all files are where they were.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/artifact.h"
#include "common/digest.h"
#include "common/error.h"
#include "common/identity.h"

struct store;

struct collect_options {
	int run_dirfd;             /* the run directory: std_log.txt and work/ */
	const char *run_dir;       /* its absolute path; for `as` */
	const struct identity *as; /* whose run it is: all below work/ is looked at and opened by a
				      process of his (user_files.h), and copied, never moved. NULL:
				      ours */
	const struct digest *snapshot_id; /* NULL: none; everything counts as made by the run */
	bool move; /* the run directory goes afterwards: link files into the store, do not copy */
};

/* Adds to list; warnings (strv) are added to. */
int collect_outputs(struct store *store, const struct collect_options *options,
	struct artifacts *list, char ***warnings, struct error *err);

/*
 * What is there now under logs/ and user_logs/ of a run that still goes on: paths and sizes,
 * digests zero. Never blocks on a pipe or follows a link.
 */
int collect_list_live(const struct collect_options *options, struct artifacts *list);

/* Open one file of those: a regular file below logs/, user_logs/ or outputs/, found without
 * following links; user_logs/std_log.txt is the run directory's own log. -ENOENT else. */
int collect_open_live(const struct collect_options *options, const char *path, int *ret_fd);
