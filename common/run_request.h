/* SPDX-License-Identifier: MIT */
/*
 * run_request - what a run is asked to do: ScriptRunConfig's names
 *
 * The body of POST /v1/runs as a struct. run_request_parse() checks all that can be checked without
 * looking at the disk and fills in the defaults; what needs the disk (the folder, the script) is
 * the snapshot's business. run_request_definition() is its inverse without submit_environment,
 * which is never kept.
 *
 * Errors: -EINVAL (-E2BIG for too many or too long arguments) with err naming the key and saying
 * what to do. Who frees: run_request_release(), also of a half-filled one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/json.h"
#include "common/strv.h"

#define RUN_NAME_MAX 256
#define RUN_DURATION_DEFAULT INT64_C(2592000) /* 30 days, as ScriptRunConfig has it */
/* Linux takes 128 KiB for one argument; more of them belong into a file of the source directory. */
#define RUN_ARGUMENT_BYTES_MAX (128u * 1024 - 1)
#define RUN_ARGUMENTS_BYTES_MAX (256u * 1024)
#define RUN_ARGUMENTS_MAX 16384
#define RUN_TAGS_MAX 200
/* What a record carries is shown in lists, to everybody who sees the run. Keys and values together,
 * in bytes: of the tags, of the properties, of the environment's variables. */
#define RUN_TAGS_BYTES_MAX (64u * 1024)
#define RUN_VARIABLES_BYTES_MAX (256u * 1024)
/* A name or a path that has no bound of its own, in bytes. */
#define RUN_TEXT_MAX 4096

#define RUN_AFTER_MAX 64

/* A run that must be over first. */
struct run_after {
	char *run_id;
	bool any; /* afterany: however it ended; else afterok: Completed, or this one ends too */
};

/* The conditions' names. The one that is not given is afterok. */
#define RUN_AFTER_OK "afterok"
#define RUN_AFTER_ANY "afterany"

struct run_request {
	char *experiment_name;  /* NULL in the request: derived from the source directory */
	char *display_name;     /* NULL: none */
	char *source_directory; /* absolute */
	char *script;           /* relative to source_directory and inside it; NULL with command */
	char **arguments;
	char *command;                    /* one shell command line; NULL with script */
	char *compute_target;             /* "local" */
	char *environment_name;           /* NULL: none */
	char **environment_variables;     /* "NAME=VALUE" */
	char *interpreter_path;           /* NULL: python or python3 on the submitter's PATH */
	int64_t max_run_duration_seconds; /* 0: no limit (null in JSON) */
	int64_t cpus;                     /* at least 1 */
	int64_t gpus;
	int64_t memory_bytes; /* 0: not asked for (null in JSON) */
	int64_t priority;
	bool share;              /* every user of the daemon may read it */
	bool hold;               /* it waits in the queue until it is released */
	struct run_after *after; /* runs it is to follow; array */
	size_t after_count;
	struct pairs tags;
	struct pairs properties;
	char **submit_environment; /* "NAME=VALUE"; NULL: a clean one */
};

int run_request_parse(const struct json *body, struct run_request *ret, struct error *err);
void run_request_release(struct run_request *request);

/*
 * run_bounds.c. -EINVAL: no object, or more of it than may be. Before they are read: who sends a
 * million of them is not to cost more than that.
 */
int run_request_check_tags(const struct json *value, const char *path, struct error *err);
int run_request_check_variables(const struct json *value, const char *path, struct error *err);
/* json_read_string() of RUN_TEXT_MAX bytes at most. */
int run_request_read_text(const struct json *value, const char *path, void *to, struct error *err);
/* May a run have so many tags, with so many bytes of keys and values? */
bool run_tags_fit(int64_t count, int64_t bytes);

/* The request as understood, defaults filled in, without submit_environment. The caller frees. */
struct json *run_request_definition(const struct run_request *request);
/* {"run_id", "condition"} */
struct json *run_after_json(const struct run_after *after);

/* 1 to 256 of letters, digits, '_', '-', the first a letter or digit. */
bool experiment_name_valid(const char *name);
/* A valid name made of a folder's: other characters become '-'; "experiment" when nothing is left.
 * malloc'ed. */
char *experiment_name_from(const char *directory);

/* "<experiment>_<unix seconds>_<8 hex>", from the clock and the kernel's random bytes. malloc'ed.
 */
char *run_id_make(const char *experiment_name);
/* Could this be a run id, and so a name of a folder? */
bool run_id_valid(const char *run_id);
