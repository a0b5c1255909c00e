/* SPDX-License-Identifier: MIT */
/*
 * check_state - amlagentd --check-state: is everything in the state folder that should be there?
 *
 * Looks, with a daemon running or not, and changes no byte. The database: its format, SQLite's own
 * checks. The store: every blob against its digest, every artifact, snapshot and file of a snapshot
 * that history names. The run folders: live runs that have none, and folders that nobody owns.
 *
 * A daemon goes on meanwhile, so what seems wrong and may only be under way is looked at again. One
 * that starts or ends while we look has the whole look begin anew.
 *
 * Threads: one. Errors: told on stderr.
 */
#pragma once

#include <stdbool.h>

struct check_state_options {
	const char *state_dir; /* absolute */
	bool quick;            /* do not read the blobs */
	bool json;
};

enum check_state_result {
	CHECK_STATE_FINE = 0,
	CHECK_STATE_PROBLEMS = 1,
	CHECK_STATE_BLIND = 125, /* could not look */
};

/* An exit status. */
enum check_state_result check_state(const struct check_state_options *options);
