/* SPDX-License-Identifier: MIT */
/*
 * history - the memory of runs: SQLite, WAL, one writer thread
 *
 * The only folder that sees sqlite3. Writes are queued and carried out by one thread that groups
 * all that waits into one transaction: a hundred submits cost a few fsyncs. A write is told `done`
 * once it is committed: with HISTORY_DURABLE the commit was fsynced (synchronous=FULL), with
 * HISTORY_SOON it survives a crash of the process but a loss of power may take it back (used only
 * for states that the run directory can tell better). Writes are carried out in the order queued.
 *
 * `done` is called by history_dispatch(), on the thread that calls that: poll history_fd() for
 * reading and call it then. Reads use a second connection, on the caller's thread, and see what was
 * committed; they are short. No loop in here.
 *
 * Reads that answer a user take a `struct history_viewer`: what he may not see is not there for him,
 * in lists, counts, prefixes and "latest" alike. SQL leaves it out, by way of indexes: a viewer pays
 * for the rows that he sees, not for those of the others.
 *
 * The schema has a version (PRAGMA user_version); an older one is migrated at open, a newer one is
 * refused with -EPROTONOSUPPORT and left untouched.
 *
 * Threads: all calls from one thread (the loop's); the writer thread is inside.
 * Errors:  negative errno: -ENOENT, -EEXIST, -ENOSPC, -EIO, -EBADMSG (damaged database), -EAGAIN
 *          (another process has held its lock for five seconds)...
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/artifact.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/error.h"
#include "common/run_state.h"
#include "common/strv.h"

struct history;

/* What is known of a run: the record users see, plus what the daemon needs after a restart. */
struct run_record {
	char *run_id;
	char *experiment_name;
	char *display_name; /* NULL: none */
	char *target;
	char *submitted_by; /* user name */
	uid_t owner;
	enum run_state state;
	enum run_cause cause;
	char *error_message;                             /* NULL: no error */
	int64_t created_us, queued_us, start_us, end_us; /* UTC; 0: not known */
	int exit_code;                                   /* -1: none */
	int signal;                                      /* 0: none */
	char **warnings;                                 /* strv */
	char *snapshot_id;                               /* "sha256:..." */
	struct pairs tags;
	struct pairs properties;
	char *definition; /* JSON text of run_definition */
	bool used_known;  /* the four below are known */
	int64_t wall_us, user_us, system_us, peak_bytes;
	char *interpreter_path; /* NULL: not known (yet) */
	char *interpreter_version;
	char *parent_run_id; /* NULL: none */
	char *boot_id;       /* of the boot in which it was prepared; NULL: never was */
	char *canceled_by;   /* who asked for its end first; NULL: nobody */
	/* What it asked for, as its definition says it too. */
	int64_t cpus, gpus, memory_bytes, priority;
	bool shared;        /* every user may read it */
	int64_t shared_gid; /* members of this group may read it; 0: none */
	char *held_by;      /* who holds it back in the queue; NULL: nobody */
	char **after;       /* strv of "afterok:ID" and "afterany:ID": what it is to follow */
	char **gpu_ids;     /* strv: ids of the GPUs it was given; durable before its start */
};

void run_record_copy(const struct run_record *record, struct run_record *ret);
void run_record_release(struct run_record *record);
/* Held by somebody who is not its submitter: an admin. */
bool run_record_is_held_by_other(const struct run_record *record);

int history_open(const char *path, struct history **ret, struct error *err);
/* There was none, or an empty file: it was begun by history_open(). */
bool history_is_new(const struct history *history);
/* What a read has said (a negative errno), in words that say what to do. Returns it. */
int history_explain(const struct history *history, int r, struct error *err);
/* Carries out what is queued, tells nobody, closes. NULL is fine. */
void history_close(struct history *history);

int history_fd(const struct history *history);
void history_dispatch(struct history *history);

enum history_durability { HISTORY_SOON, HISTORY_DURABLE };

/* result: 0, or a negative errno; then nothing of this write was done. done may be NULL. */
typedef void (*history_done)(void *data, int result);

/* The record is copied, tags and properties included. -EEXIST when the id is taken. */
void history_insert(struct history *history, const struct run_record *record,
	enum history_durability durability, history_done done, void *data);
/* Replace all but tags, the display name and `shared` (those change through history_patch() alone);
 * properties are added, never changed. */
void history_update(struct history *history, const struct run_record *record,
	enum history_durability durability, history_done done, void *data);
/* The same and the run's artifacts, in one transaction: all or nothing. Artifacts that were there
 * under the same path are replaced, others stay. */
void history_finish(struct history *history, const struct run_record *record,
	const struct artifacts *artifacts, history_done done, void *data);
/* Set one artifact, durably (PUT, the git patch). */
void history_put_artifacts(struct history *history, const char *run_id,
	const struct artifacts *artifacts, history_done done, void *data);
/* Tags (may be NULL): a NULL value removes one. display_name: NULL leaves it, "" removes it. shared:
 * NULL leaves it. -E2BIG: with these it would have more tags than may be (run_tags_fit()). Durable. */
void history_patch(struct history *history, const char *run_id, const struct pairs *tags,
	const char *display_name, const bool *shared, history_done done, void *data);
/* The record, its tags, properties and artifacts (blobs stay). Durable. */
void history_delete(struct history *history, const char *run_id, history_done done, void *data);

/*
 * Who asks. He sees his own runs, those that are shared with everybody, and those that are shared
 * with one of his groups. `const struct history_viewer *` NULL sees all, as `all` does.
 */
struct history_viewer {
	uid_t uid;
	const gid_t *groups; /* all of his; the caller's */
	size_t group_count;
	bool all;        /* he sees every run */
	bool own_latest; /* "latest" is the newest of his own, not of all that he sees */
};

/* Pure. */
bool history_viewer_sees(const struct history_viewer *viewer, const struct run_record *record);

/* Reads. -ENOENT when there is none. */
int history_get(struct history *history, const char *run_id, struct run_record *ret);
/* Of the runs that the viewer sees: the one whose id is this, or the only one whose id begins so, or
 * the newest for "latest" (of his own, with own_latest). -ENOTUNIQ when several begin so. */
int history_resolve(struct history *history, const struct history_viewer *viewer, const char *name,
	char **ret_run_id);

struct history_query {
	const struct history_viewer *viewer; /* NULL: sees all */
	const char *user; /* whose runs: name, or number; NULL: anybody's. See history_user() */
	const char *experiment_name; /* NULL: any */
	char *const *states;         /* names, strv; NULL: any */
	const char *tag_key;         /* NULL: any */
	const char *tag_value;       /* NULL: any value of that key */
	const char *before;          /* run id: only older ones; NULL: from the newest */
	int64_t limit;               /* at least 1 */
};

struct run_record_list {
	struct run_record *items;
	size_t count;
	size_t room;
};

/* Their ids, newest first (by the order of insertion); a strv, NULL when there is none. -ENOENT when the
 * viewer knows no such `before`. */
int history_list(struct history *history, const struct history_query *query, char ***ret_run_ids);
/* All that are not over, oldest first: for recovery. */
int history_list_live(struct history *history, struct run_record_list *ret);
void run_record_list_release(struct run_record_list *list);

/* Of a list that is read in pages: those after the path or name at which the last one ended, at most
 * so many. NULL: from its begin, all that there is. */
struct history_page {
	const char *after;
	int64_t limit; /* at least 1 */
};

/* By path, sorted as bytes; prefix NULL: any. */
int history_artifacts_list(struct history *history, const char *run_id, const char *prefix,
	const struct history_page *page, struct artifacts *ret);
int history_artifact_get(struct history *history, const char *run_id, const char *path,
	struct artifact *ret); /* the caller frees ret->path */

struct history_experiment {
	char *name;
	int64_t runs;
	int64_t last_created_us;
};

struct history_experiments {
	struct history_experiment *items;
	size_t count;
	size_t room;
};

/* By name. */
int history_experiments_list(struct history *history, const struct history_viewer *viewer,
	const struct history_page *page, struct history_experiments *ret);
void history_experiments_release(struct history_experiments *list);

/* How many runs are in each state. */
int history_count_states(struct history *history, const struct history_viewer *viewer,
	int64_t ret[static RUN_STATE_COUNT]);

/* The user whose runs bear this name (submitted_by of the newest of them), or this number when no
 * run does. It is history that is asked, not the name service: that may block, and forgets users.
 * -ENOENT: neither. */
int history_user(struct history *history, const char *name, uid_t *ret);

/* What a run that has ended has used, for fair share. It ran from start_us to end_us, UTC. */
struct history_usage {
	uid_t owner;
	int64_t start_us, end_us;
	int64_t cpus, gpus; /* it asked for so many */
};

/* Of all runs that started and ended, at since_us or later, in the order in which they ended. */
int history_each_usage(struct history *history, int64_t since_us,
	void (*tell)(void *data, const struct history_usage *usage), void *data);

/*
 * A look at the database that changes nothing: no byte of the folder, whether a daemon has it open
 * (in_use) or not. What in_use is must hold while the check is open; a daemon that starts meanwhile
 * may make damage seem where there is none, so ask again then. Short transactions only: between
 * history_check_open() or history_check_renew() and the next of them all answers are of one moment.
 */
struct history_check;

/* -ENOENT: there is none. -EBADMSG: it is damaged to the core, or something else. -EAGAIN: only a
 * daemon can make it readable. Others: it cannot be read. */
int history_check_open(
	const char *path, bool in_use, struct history_check **ret, struct error *err);
void history_check_close(struct history_check *check);
DEFINE_CLEANUP(struct history_check *, history_check_close);

/* The version of the schema that this build makes. */
int history_format(void);
/* The database's: 0 is an empty one, an older one is migrated by the next daemon. The runs and
 * artifacts of a newer one cannot be asked for. */
int history_check_format(const struct history_check *check);
/* From here on, what is committed now. */
int history_check_renew(struct history_check *check);
/* *ret: a strv of what is wrong, NULL when nothing is; the first hundred. */
int history_check_integrity(struct history_check *check, char ***ret);

struct history_check_run {
	char *run_id;
	char *snapshot_id; /* NULL: none */
	enum run_state state;
	bool state_known; /* by this build */
	int64_t created_us;
};

/* In the order of insertion, each valid until `tell` returns. -EBADMSG: damaged, and what was read
 * before has been told. */
int history_check_runs(struct history_check *check,
	void (*tell)(void *data, const struct history_check_run *run), void *data);
/* The same; a digest of zeroes is not known yet. modified_us is not read. */
int history_check_artifacts(struct history_check *check,
	void (*tell)(void *data, const char *run_id, const struct artifact *artifact), void *data);
/* -ENOENT */
int history_check_run_state(struct history_check *check, const char *run_id, enum run_state *ret);
