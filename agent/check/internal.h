/* SPDX-License-Identifier: MIT */
/*
 * internal - what the files that look at the state folder share
 *
 *	check_state.c    the folder, the database, and the order of things
 *	blobs.c    the store, and what history refers to in it
 *	runs.c     the run folders
 *	report.c   what was found
 */
#pragma once

#include "check/report.h"
#include "check/check_state.h"
#include "common/error.h"
#include "history/history.h"
#include "store/store.h"

/* Blobs that are missing, damaged or of another size, with who needs them; more are counted. */
#define CHECK_AILING_MAX 1000

enum check_ailment { AILS_MISSING, AILS_DAMAGED, AILS_SIZE };

struct check_ailing {
	struct digest digest;
	enum check_ailment ailment;
	char *user; /* the first who needs it */
	uint64_t users;
};

struct checking {
	const struct check_state_options *options;
	struct check_report report;
	struct history_check *history; /* NULL: none, or it cannot be read */
	struct store_check *store;     /* NULL: none */
	struct check_ailing *ailing;
	size_t ailing_count, ailing_room;
	uint64_t ailing_more; /* references to others */
	char **damaged;       /* strv: names of blobs below sha256/ */
	char **live;          /* strv: runs that are not over */
	struct error err;     /* why it cannot be looked at */
};

#define CHECK_ADVICE_DATABASE \
	"end the daemon, keep a copy of the folder, and restore history.db from a backup (runs that " \
	"came after it keep their folders and are named here then), or save what can be read with " \
	"`sqlite3 history.db .recover`"

/* found: malloc'ed, taken over; advice: NULL, or it stays. */
static inline void check_problem(
	struct checking *c, enum check_part part, char *found, const char *advice)
{
	check_report_add(&c->report, part, true, found, advice);
}

static inline void check_note(
	struct checking *c, enum check_part part, char *found, const char *advice)
{
	check_report_add(&c->report, part, false, found, advice);
}

/* Of a format that this build reads: runs and artifacts can be asked for. */
static inline bool check_has_runs(const struct checking *c)
{
	return c->history && c->report.format > 0 && c->report.format <= history_format();
}

/* blobs.c; each 0, or a negative errno with c->err set. */
int check_blobs_open(struct checking *c);
int check_blobs_read(struct checking *c);
/* A run that history names, and all artifacts. */
void check_blobs_of_run(struct checking *c, const struct history_check_run *run);
int check_blobs_of_artifacts(struct checking *c);
/* When all references are known. */
int check_blobs_conclude(struct checking *c);

/* runs.c */
int check_runs(struct checking *c);
