/* SPDX-License-Identifier: MIT */
/* check_state - is everything there that should be; see check_state.h and internal.h */
#include "check/check_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "check/internal.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "state_lock.h"

#define ATTEMPTS 3 /* daemons that come and go while we look */

static void checking_release(struct checking *c)
{
	history_check_close(c->history);
	store_check_close(c->store);
	check_report_release(&c->report);
	for (size_t i = 0; i < c->ailing_count; i++)
		free(c->ailing[i].user);
	free(c->ailing);
	strv_free(c->damaged);
	strv_free(c->live);
}

/* ---- the folder ---- */

static int look_at_folder(struct checking *c)
{
	const char *dir = c->options->state_dir;
	struct stat st;

	if (stat(dir, &st) < 0 && errno == ENOENT)
		return 0;
	if (access(dir, R_OK | X_OK) < 0)
		return error_errno(
			&c->err, -errno, dir, "cannot look into the state folder %s", dir);
	if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode))
		return error_set(&c->err, -ENOTDIR, dir, "%s is not a folder", dir);
	c->report.exists = true;
	c->report.in_use = state_lock_is_held(dir);
	return 0;
}

/* ---- the database ---- */

static int open_history(struct checking *c)
{
	_cleanup_(freep) char *path = path_join(c->options->state_dir, "history.db");
	struct error err = ERROR_INIT;
	int r = history_check_open(path, c->report.in_use, &c->history, &err);

	c->report.has_history = r != -ENOENT;
	if (r == -EBADMSG || r == -EIO)
		check_problem(c, CHECK_DATABASE, mem_strdup(err.message), CHECK_ADVICE_DATABASE);
	else if (r < 0 && r != -ENOENT)
		c->err = err;
	return r == -EBADMSG || r == -EIO || r == -ENOENT ? 0 : r;
}

static void judge_format(struct checking *c)
{
	int format = c->report.format = history_check_format(c->history);

	if (format > history_format())
		check_problem(c, CHECK_DATABASE,
			mem_printf("made by a newer version: format %d, this one knows %d", format,
				history_format()),
			"install that version again, or use another --state-dir");
	else if (format > 0 && format < history_format())
		check_note(c, CHECK_DATABASE,
			mem_printf(
				"made by an older version: format %d; the next daemon makes %d of it",
				format, history_format()),
			"keep a copy if you may want to go back to the older version");
}

/* "*** in database main ***" is a line of its own before the first fault. */
static const char *without_heading(const char *fault)
{
	const char *end = strchr(fault, '\n');

	return end && !strncmp(fault, "*** ", 4) ? end + 1 : fault;
}

static int judge_integrity(struct checking *c)
{
	_cleanup_(strv_freep) char **faults = NULL;
	int r = history_check_integrity(c->history, &faults);

	if (r == -EIO)
		strv_add(&faults, "it cannot be read (I/O error)");
	else if (r < 0)
		return error_errno(&c->err, r, NULL, "cannot check the database");
	for (size_t i = 0; faults && faults[i]; i++) {
		const char *fault = without_heading(faults[i]);
		char *line = mem_strndup(fault, strcspn(fault, "\n"));

		check_problem(c, CHECK_DATABASE, line, i ? NULL : CHECK_ADVICE_DATABASE);
	}
	return 0;
}

static int check_database(struct checking *c)
{
	int r = open_history(c);

	if (r < 0 || !c->history)
		return r;
	judge_format(c);
	return judge_integrity(c);
}

/* ---- what history refers to ---- */

static void on_run(void *data, const struct history_check_run *run)
{
	struct checking *c = data;

	c->report.runs++;
	if (run->created_us > c->report.newest_us)
		c->report.newest_us = run->created_us;
	if (!run->run_id)
		return; /* the integrity check has told */
	if (!run->state_known)
		check_problem(c, CHECK_DATABASE,
			mem_printf("run %s is in a state that this version does not know",
				run->run_id),
			CHECK_ADVICE_DATABASE);
	else if (!run_state_is_terminal(run->state))
		strv_add(&c->live, run->run_id);
	c->report.live_runs += run->state_known && !run_state_is_terminal(run->state);
	check_blobs_of_run(c, run);
}

/* What has been committed since may refer to what has been stored since: that is looked for. */
static int check_references(struct checking *c)
{
	int r;

	if (!check_has_runs(c))
		return 0;
	r = history_check_renew(c->history);
	if (r >= 0)
		r = history_check_runs(c->history, on_run, c);
	if (r >= 0)
		r = check_blobs_of_artifacts(c);
	c->report.referred = r >= 0;
	if (r == -EBADMSG && !c->report.kept[CHECK_DATABASE])
		check_problem(c, CHECK_DATABASE, mem_strdup("not all rows can be read"),
			CHECK_ADVICE_DATABASE);
	if (r < 0 && r != -EBADMSG)
		return error_errno(&c->err, r, NULL, "cannot read the run history");
	return 0;
}

/* Of a format that this build reads, or a newer one, there is something in it. */
static int judge_absence(struct checking *c)
{
	const struct check_report *report = &c->report;
	bool is_empty = report->has_history && report->format == 0;

	if ((report->has_history && !is_empty) || (!report->store.blobs && !report->folders))
		return 0;
	check_problem(c, CHECK_DATABASE,
		mem_printf("history.db is %s, and there are %llu blobs and %lld run folders",
			is_empty ? "empty" : "missing", (unsigned long long)report->store.blobs,
			(long long)report->folders),
		"restore history.db from a copy before a daemon begins a new one; without one the "
		"runs are forgotten, and their folders and blobs stay");
	return 0;
}

/* ---- all of it ---- */

static int check_all(struct checking *c)
{
	static int (*const steps[])(struct checking * c) = { check_database, check_blobs_open,
		check_blobs_read, check_references, check_blobs_conclude, check_runs,
		judge_absence };
	int r = look_at_folder(c);

	for (size_t i = 0; r >= 0 && c->report.exists && i < ARRAY_SIZE(steps); i++)
		r = steps[i](c);
	return r;
}

struct stamp {
	struct stat database, log;
};

static void take_stamp(const char *state_dir, struct stamp *ret)
{
	_cleanup_(freep) char *database = path_join(state_dir, "history.db");
	_cleanup_(freep) char *log = path_join(state_dir, "history.db-wal");

	memset(ret, 0, sizeof(*ret));
	if (stat(database, &ret->database) < 0)
		memset(&ret->database, 0, sizeof(ret->database));
	if (stat(log, &ret->log) < 0)
		memset(&ret->log, 0, sizeof(ret->log));
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Nobody was there when we began, and somebody was since: what we read may be half of this and half
 * of that. */
static bool was_disturbed(const struct checking *c, const struct stamp *before)
{
	struct stamp now;

	if (c->report.in_use)
		return false;
	take_stamp(c->options->state_dir, &now);
	return state_lock_is_held(c->options->state_dir) ||
	       !is_same(&before->database, &now.database) || !is_same(&before->log, &now.log);
}

static enum check_state_result conclude(const struct checking *c, int r)
{
	if (r < 0) {
		if (c->options->json)
			check_report_print_error(&c->report, c->err.message);
		else
			fprintf(stderr, "amlagentd: %s\n", c->err.message);
		return CHECK_STATE_BLIND;
	}
	if (c->options->json)
		check_report_print_json(&c->report);
	else
		check_report_print(&c->report);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "amlagentd: cannot write what was found: %s\n", strerror(errno));
		return CHECK_STATE_BLIND;
	}
	return c->report.problems ? CHECK_STATE_PROBLEMS : CHECK_STATE_FINE;
}

enum check_state_result check_state(const struct check_state_options *options)
{
	for (int attempt = 1;; attempt++) {
		_cleanup_(checking_release) struct checking c = { .options = options };
		struct stamp before;
		int r;

		check_report_init(&c.report, options->state_dir);
		take_stamp(options->state_dir, &before);
		r = check_all(&c);
		if ((r < 0 || c.report.problems) && attempt < ATTEMPTS &&
			was_disturbed(&c, &before))
			continue;
		return conclude(&c, r);
	}
}
