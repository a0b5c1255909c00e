/* SPDX-License-Identifier: MIT */
/*
 * report - what a look at the state folder found, for people and for programs
 *
 * Findings are problems (something is lost or will fail) or notes (worth knowing, nothing is
 *wrong). As many as CHECK_FINDINGS_MAX of each part are kept and the rest is counted, so that a
 *folder in which everything is wrong gives a report that can be read.
 *
 * As JSON (docs/man/amlagentd.8 describes it):
 *
 *	{ "state_directory", "exists", "in_use", "database": {...}, "blobs": {...}, "runs": {...},
 *	  "findings": [ {"part", "problem": bool, "found", "advice"} ], "problems": N, "notes": N }
 *
 * Who frees: check_report_release(). Threads: one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

#define CHECK_FINDINGS_MAX 50

enum check_part { CHECK_DATABASE, CHECK_BLOBS, CHECK_RUNS, CHECK_PART_COUNT };

struct check_finding {
	enum check_part part;
	bool problem;
	char *found;
	const char *advice; /* NULL: none; not owned */
};

struct check_report {
	const char *state_dir;
	bool exists;      /* there is a state folder */
	bool in_use;      /* a daemon holds its lock */
	bool has_history; /* there is a database */
	bool blobs_read;  /* and compared with their digests */
	bool referred;    /* all references to blobs are known */
	int format;       /* the database's; -1: cannot be told */
	int64_t runs, live_runs, newest_us, folders, folders_left;
	struct store_check_totals store;
	struct check_finding *findings;
	size_t count, room;
	uint64_t kept[CHECK_PART_COUNT];
	uint64_t problems, notes;
};

void check_report_init(struct check_report *report, const char *state_dir);
void check_report_release(struct check_report *report);

/* One line each. found is malloc'ed and taken over; advice says what to do and may be NULL. */
void check_report_add(struct check_report *report, enum check_part part, bool problem, char *found,
	const char *advice);

void check_report_print(const struct check_report *report);
void check_report_print_json(const struct check_report *report);
/* {"state_directory", "error"}: it could not be looked at. */
void check_report_print_error(const struct check_report *report, const char *message);

/* Say on a terminal's stderr how far it is, once it has taken a second, and how long it will take.
 */
void check_report_progress(const struct store_check_progress *progress);
/* Clear that line. */
void check_report_progress_end(void);
