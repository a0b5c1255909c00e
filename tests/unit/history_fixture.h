/* SPDX-License-Identifier: MIT */
/*
 * history_fixture - a history in a temporary folder, and what was told of its writes
 *
 * A write is given on_done() and ask(); wait_last() is its result. set_up() opens the history,
 * tear_down() closes it and removes the folder; a test may close it before (`history` is NULL
 * then). Failures abort the test (cmocka); one that takes two minutes ends the program.
 *
 * Threads: the test's; history has its own for writing.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "common/file.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "history/history.h"

#define RESULTS_MAX 4096

struct fixture {
	char dir[64];
	char *db;
	struct history *history;
	int results[RESULTS_MAX]; /* in the order told */
	int which[RESULTS_MAX];
	int told;
	int asked;
};

/* *state is the fixture. */
int set_up(void **state);
int tear_down(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

void close_history(struct fixture *f);
void reopen(struct fixture *f);

/* ---- writes ---- */

void on_done(void *data, int result);
/* The next write's `data`: its number. */
void *ask(void);
void wait_all(struct fixture *f);
/* The result of the last write. */
int wait_last(struct fixture *f);

/* ---- records ---- */

/* It owns nothing. */
struct run_record make(const char *run_id, const char *experiment, enum run_state state);
int insert(struct fixture *f, const char *run_id, const char *experiment, enum run_state state);
/* With a value in every field; released by free_made(). */
struct run_record full_record(void);
void free_made(struct run_record *record);
void assert_records(const struct run_record *a, const struct run_record *b);
/* The ids that the query finds, one after the other. */
void expect_list(struct fixture *f, struct history_query query, const char *ids);

/* ---- behind the history's back ---- */

/* A trigger stands in for a disk that fails in the middle of a write. */
void sabotage(struct fixture *f, const char *sql);
/* The first value of the answer, as text; malloc'ed. */
char *value_of(struct fixture *f, const char *sql);
