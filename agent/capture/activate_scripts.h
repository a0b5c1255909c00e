/* SPDX-License-Identifier: MIT */
/*
 * activate_scripts - what the *.sh files of a folder do to an environment, without a shell per run
 *
 * conda packages bring shell scripts that must be sourced when an environment is activated
 * (etc/conda/activate.d) or left (deactivate.d). They are sourced in one bash (sh where there is
 * none), in the order of their names, and what differs in the environment afterwards is applied.
 * The difference is remembered for as long as the files (inode, size, times) and the environment
 * that they start from are the same: the same submit again costs a few stats.
 *
 * As with `conda activate`, a script that returns an error does not end it; what scripts print goes
 * nowhere. Their working directory is "/", their stdin is empty, and processes that they leave
 * running are killed. The shell's own variables (_, PWD, OLDPWD, SHLVL, BASH_ENV, ENV) are kept.
 *
 * Threads: any; blocks, at most ACTIVATE_SCRIPTS_TIMEOUT_MS.
 * Errors:  -ETIMEDOUT, -E2BIG, -EPROTO (the scripts end the shell), and those of starting one; err
 *          names the folder. env is unchanged then. A folder that is not there is no error.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"

#define ACTIVATE_SCRIPTS_TIMEOUT_MS 10000

/* reverse: last name first, as deactivate.d wants it. env is a strv. */
int activate_scripts_apply(const char *dir, bool reverse, char ***env, struct error *err);
