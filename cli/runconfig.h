/* SPDX-License-Identifier: MIT */
/*
 * runconfig - Azure ML's run configuration files, `.azureml/NAME.runconfig`
 *
 * YAML or JSON (docs/azure-ml.md). Keys and enums in any case. What this version can do is taken
 * over; what it cannot do and would change the run (Docker, another target, environments to be
 * built) is an error; what is known and makes no difference here is skipped; unknown keys are
 * warnings.
 *
 * Errors: a negative errno, the text begins with "FILE:LINE:COLUMN: ".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define RUNCONFIG_SIZE_MAX (1u << 20)

struct runconfig {
	char *script;
	char **arguments;
	char *command;
	bool has_max_run_duration;        /* the key is there */
	int64_t max_run_duration_seconds; /* 0: no limit */
	char *environment_name;
	char **environment_variables; /* "NAME=VALUE" */
	char *interpreter_path;       /* NULL: the default one */
	char **warnings;
};

void runconfig_release(struct runconfig *config);
/* Find and read it: a name in .azureml/ or aml_config/ of the folder, with or without the suffix,
 * or a path. */
int runconfig_load(
	const char *source_directory, const char *name, struct runconfig *ret, struct error *err);
/* The same from memory; name is for messages. Pure: fuzzed. */
int runconfig_parse(
	const char *text, size_t size, const char *name, struct runconfig *ret, struct error *err);
