/* SPDX-License-Identifier: MIT */
/*
 * request - the body of POST /v1/runs, from the options of `amlctl run`, a run configuration and
 * the submitter's environment
 *
 * The command line wins over the run configuration. A script on the command line brings its own
 * arguments: those of the file belong to the file's script.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/json.h"

struct run_options {
	const char *experiment;
	const char *source_directory;
	const char *run_configuration;
	const char *python;
	const char *command;
	const char *display_name;
	char **set_env;
	char **tags;
	int64_t max_run_duration;
	int64_t cpus; /* 0: not given */
	int64_t gpus;
	int64_t memory;
	int64_t priority;
	char **after; /* as given: after.h */
	bool hold;
	bool share;
	bool clean_env;
	bool detach;
	bool not_yet; /* never set: options that this version refuses */
};

/*
 * operands: SCRIPT and its arguments, or empty. -EINVAL with target "usage" when the command line
 * is wrong, other errors otherwise. Warnings go to stderr.
 */
int request_make(const struct run_options *options, char *const *operands, char *const *environment,
	struct json **ret, struct error *err);
