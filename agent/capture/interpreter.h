/* SPDX-License-Identifier: MIT */
/*
 * interpreter - which Python runs the script, and what being "activated" means for it
 *
 * interpreter_find() takes what was asked for:
 *	an absolute path           that program; a folder means its bin/python (a venv, a conda
 *prefix) a path with '/'            relative to the source directory a name ("python3.11") looked
 *up on the submitter's PATH (its absolute parts) NULL                       `python`, else
 *`python3`, on the submitter's PATH
 *
 * and proves that it is a Python by asking it for version, executable and prefix. Programs that are
 * ELF files are asked once and remembered by device, inode, size, mtime and ctime (bounded cache in
 * memory); scripts (pyenv's shims) are asked each time, in the run's environment and from the
 *source directory: a shim costs 100 ms. A script found on PATH stands for the Python that it leads
 *to, and that is what is started; a script named by its path (a wrapper) is itself what is started.
 * Links are not resolved: a venv's python stays the venv's. With NULL, a `python` that does not
 * answer gives way to a `python3` that does.
 *
 * interpreter_activate() changes an environment list the way the environment's own activation
 *would: venv   (pyvenv.cfg): VIRTUAL_ENV, its bin first on PATH, PYTHONHOME removed conda
 *(conda-meta/): CONDA_PREFIX, CONDA_DEFAULT_ENV, CONDA_SHLVL, its bin first on PATH, the variables
 *of `conda env config vars`, and the effect of etc/conda/activate.d (activate_scripts.h) else
 *nothing, but that the interpreter's own folder is found first on PATH when it was named An
 *environment of the same kind that is active in env is left first, as conda and venv do it (with
 * conda's deactivate.d); the one that is asked for and active already stays as it is. No login
 *shell and no `conda activate`. env is unchanged on failure.
 *
 * Threads: any; blocks, but a program that does not answer in INTERPRETER_TIMEOUT_MS is killed.
 * Errors:  -ENOENT missing, -EACCES not executable, -ENOEXEC no Python, -ETIMEDOUT; err names the
 *          path and what to do.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"

#define INTERPRETER_TIMEOUT_MS 10000

struct interpreter {
	char *path;    /* what is executed; absolute */
	char *version; /* "3.11.2" */
	char *prefix;  /* sys.prefix */
	bool named;    /* asked for by name or path, not found on PATH by default */
};

int interpreter_find(const char *asked, const char *source_dir, char *const *env,
	struct interpreter *ret, struct error *err);
void interpreter_release(struct interpreter *interpreter);

int interpreter_activate(const struct interpreter *interpreter, char ***env, struct error *err);
