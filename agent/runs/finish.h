/* SPDX-License-Identifier: MIT */
/*
 * finish - the blocking part of a run's end: verdict, outputs, and afterwards the folder
 *
 * finish_carry_out() puts an exit record that is damaged aside, reads the log's end, gives the verdict and collects the outputs into the
 * store. 0, or the negative errno of what could not be stored: the verdict stands then, and it may
 * be carried out again after finish_release(). Outputs that cannot be stored turn a success into OutputError and leave the files where
 * they are; another cause stays and a warning tells. finish_clean_up() comes after history has
 * committed: it removes the run directory of a run that needs it no more, else all of it but work/.
 *
 * Threads: any (a work thread).
 */
#pragma once

#include <stdbool.h>

#include "common/artifact.h"
#include "common/error.h"
#include "runs/verdict.h"

struct store;

struct finish {
	/* in; of a lost one its folder tells folder_gone and damaged */
	struct store *store;
	const char *run_dir;
	const struct digest *snapshot_id;
	const struct identity *as;  /* whose run it is; NULL: ours */
	struct verdict_facts facts; /* log_tail is filled in here */
	/* out */
	int result; /* of collecting: 0, or a negative errno; it can be carried out again then */
	struct verdict verdict;
	struct artifacts artifacts;
	char **warnings; /* strv */
	char *damaged;   /* the exit record, as facts.damaged; NULL: it is not, or there is none */
};

int finish_carry_out(struct finish *finish);
void finish_release(struct finish *finish);

/* keep_work: leave work/ and the log for a look. */
int finish_clean_up(const char *run_dir, bool keep_work);
