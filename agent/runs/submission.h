/* SPDX-License-Identifier: MIT */
/*
 * submission - the blocking part of accepting a run: look, snapshot, write down what is owed
 *
 * submission_carry_out() checks folder and script, takes the snapshot, reads git (beside it, on a
 * thread of its own), and makes the run directory with the submitter's environment, fsynced: what a
 * daemon needs that starts after a loss of power. The environment is the folder's mark (unowed.h) until
 * whoever has written the run to history says submission_accept(). On failure nothing is left behind.
 *
 * Threads: any (a work thread). Errors: negative errno with err naming field or file.
 */
#pragma once

#include "capture/git_info.h"
#include "capture/snapshot.h"
#include "common/run_limits.h"
#include "common/run_request.h"

struct store;

/* The submitter's environment as NUL-ended "NAME=VALUE", in the run directory; absent: a clean one. */
#define SUBMISSION_ENVIRONMENT "environment"

struct submission {
	/* in */
	struct store *store;
	const char *index_dir;
	const char *runs_dir;
	const char *git_helper; /* NULL: none */
	const struct snapshot_limits *limits;
	const struct identity *as;    /* with whose rights it is looked at; NULL: ours */
	struct run_limits run_limits; /* the submitter's own, for the run */
	struct run_request request;
	char *run_id;
	/* out */
	struct snapshot snapshot;
	struct git_info git;
	struct digest patch_digest; /* of git.patch, when there is one */
};

int submission_carry_out(struct submission *submission, struct error *err);
/* History knows the run. Any number of times, until its folder is cleaned up. */
int submission_accept(const char *run_dir);
void submission_release(struct submission *submission);
