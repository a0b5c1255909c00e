/* SPDX-License-Identifier: MIT */
/*
 * option - command line options, declared once: parsing and --help come from the same table
 *
 * A set is a table of specs and the struct that they fill, by offset. Parsing is getopt_long's:
 * long names may be shortened, values follow "=" or stand alone, "--" ends the options.
 *
 * Errors: -EINVAL with err saying what is wrong, and what was perhaps meant.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/error.h"

struct option_spec {
	char letter; /* 0: none */
	const char *name;
	const char *value; /* how --help calls it; NULL: a flag */
	const char *help;  /* NULL: not shown */
	int (*set)(const char *text, const char *name, void *to, struct error *err);
	size_t offset;
};

struct option_set {
	const struct option_spec *specs;
	size_t count;
	void *to;
};

/* Setters, by the type that the offset points to. */
int option_flag(const char *text, const char *name, void *to, struct error *err); /* bool: true */
int option_flag_off(
	const char *text, const char *name, void *to, struct error *err);         /* bool: false */
int option_text(const char *text, const char *name, void *to, struct error *err); /* const char * */
int option_list(
	const char *text, const char *name, void *to, struct error *err); /* char **: appended */
int option_pair(
	const char *text, const char *name, void *to, struct error *err); /* char **: KEY=VALUE */
int option_count(
	const char *text, const char *name, void *to, struct error *err); /* int64_t, from 1 */
int option_number(
	const char *text, const char *name, void *to, struct error *err);         /* int64_t, any */
int option_size(const char *text, const char *name, void *to, struct error *err); /* int64_t */
int option_duration(const char *text, const char *name, void *to, struct error *err); /* int64_t */
int option_json(const char *text, const char *name, void *to, struct error *err); /* bool: json? */
/* The contract has it, this version does not. */
int option_not_yet(const char *text, const char *name, void *to, struct error *err);

#define OPTION_OUTPUT(type, field) \
	{ \
		'o', "output", "json|table", \
			"how to print it: a table for people (default) or JSON", option_json, \
			offsetof(type, field) \
	}

/*
 * Read argv[1..]; argv may be reordered. stop: end at the first operand. *ret_operands points into
 * argv. *ret_help: -h or --help was there (the rest is not looked at).
 */
int options_parse(char **argv, bool stop, const struct option_set *sets, size_t count,
	char ***ret_operands, bool *ret_help, struct error *err);
/* Free the lists that the setters made. */
void options_release(const struct option_set *set);
/* "  -e, --experiment NAME   ...", wrapped to 80 columns. */
void options_print(FILE *to, const struct option_spec *specs, size_t count);

/* The name nearest to text, NULL when none is near. names ends with NULL. */
const char *nearest_name(const char *text, const char *const *names);
