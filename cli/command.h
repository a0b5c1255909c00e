/* SPDX-License-Identifier: MIT */
/*
 * command - what a command of amlctl is: a descriptor in a cmd_*.c, listed in main.c
 *
 * main.c reads the options by the descriptor's table, calls `run`, and says what went wrong. --help
 * is made from the descriptor, so that it cannot say something else than the program does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cli/client.h"
#include "cli/option.h"
#include "common/error.h"

/* What amlctl exits with besides a script's own status (and git's 128+N for signals). */
enum exit_status {
	EXIT_OK = 0,
	EXIT_USAGE = 2,
	EXIT_TIME_LIMIT = 124,
	EXIT_TROUBLE = 125, /* amlctl's or the daemon's, or the run could not be set up */
	EXIT_CANCELED = 130,
	EXIT_PIPE = 141, /* the reader of standard output has gone */
};

/* What every command is given. */
struct cli {
	struct endpoint endpoint;
	struct client client;
	bool version;
	struct error err;
};

struct command {
	const char *name;
	const char *synopsis; /* the operands, as usage shows them */
	const char *summary;  /* one line */
	const char *details;  /* for --help, after the options */
	const struct option_spec *options;
	size_t option_count;
	size_t options_size; /* of the struct they fill, zeroed */
	int operands_min;
	int operands_max;     /* -1: any number */
	bool stop_at_operand; /* what follows the first operand is not for us */
	/*
	 * The exit status; or a negative errno with cli->err set, which main shows: EXIT_TROUBLE,
	 * or EXIT_USAGE after usage_error().
	 */
	int (*run)(struct cli *cli, void *options, char **operands);
};

/* Wrong usage found by a command: `return usage_error(cli, ...)`. */
int usage_error(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

extern const struct command cmd_run;
extern const struct command cmd_list;
extern const struct command cmd_show;
extern const struct command cmd_logs;
extern const struct command cmd_wait;
extern const struct command cmd_cancel;
extern const struct command cmd_files;
extern const struct command cmd_download;
extern const struct command cmd_snapshot;
extern const struct command cmd_tag;
extern const struct command cmd_hold;
extern const struct command cmd_release;
extern const struct command cmd_share;
extern const struct command cmd_drain;
extern const struct command cmd_resume;
extern const struct command cmd_delete;
extern const struct command cmd_doctor;
extern const struct command cmd_status;
extern const struct command cmd_version;
