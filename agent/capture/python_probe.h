/* SPDX-License-Identifier: MIT */
/*
 * python_probe - prove that a program is a Python by asking it
 *
 * The program is run with a few lines that every Python since 2.6 understands and that import
 * nothing of the user's: no site, no PYTHON* variables, not the current directory. The same answer
 * comes from a shim (a script that in the end executes a Python), with that Python's own path.
 *
 * The answers of ELF files are remembered, by path, file and pyvenv.cfg (device, inode, size,
 * times); those of scripts never, since what they lead to depends on where and in which environment
 * they run.
 *
 * Threads: any; blocks for up to timeout_ms. Who frees: python_answer_release().
 * Errors:  -ENOENT a script whose `#!` program is missing, -EACCES, -ENOEXEC no Python, -ETIMEDOUT;
 *          err names the path, what it did instead, and what to do.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"

/* What a person is told to do about any of it. */
#define PYTHON_ADVICE "give --python the path of a python, for example /usr/bin/python3"
#define PYTHON_TARGET "environment.python.interpreter_path"

struct python_answer {
	char *version;    /* "3.11.2" */
	char *executable; /* sys.executable; "" when it does not know */
	char *prefix;     /* sys.prefix, or that of the venv it lies in: site is what knows venvs */
	bool is_script;   /* what was asked is not an ELF file itself */
};

int python_probe(const char *path, const char *cwd, char *const *env, int timeout_ms,
	struct python_answer *ret, struct error *err);
void python_answer_release(struct python_answer *answer);

/* The venv that this executable lies in, as Python finds it (PEP 405). malloc'ed; NULL: none. */
char *python_venv_of(const char *executable);
