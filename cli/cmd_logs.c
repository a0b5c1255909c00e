/* SPDX-License-Identifier: MIT */
/* cmd_logs - amlctl logs: what a run printed, so far or as it comes */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/log_stream.h"
#include "cli/output.h"
#include "cli/record.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strbuf.h"

#define TAIL_KEPT (1u << 20) /* how much more than the lines asked for is kept at most */

struct logs_options {
	int64_t tail;
	bool follow;
	bool json;
};

#define FIELD(name) offsetof(struct logs_options, name)

static const struct option_spec options_table[] = {
	{ 'f', "follow", NULL, "go on until the run has ended", option_flag, FIELD(follow) },
	{ 0, "tail", "N", "begin with the last N lines of what is there", option_count,
		FIELD(tail) },
	{ 'o', "output", "json|table", "json: the names of the run's logs and their routes",
		option_json, FIELD(json) },
};

typedef int (*writer)(const void *bytes, size_t size, struct error *err);

/* What another user's script printed is not to talk to our terminal. */
static writer writer_for(const struct json *record)
{
	const char *user = json_string(json_get(record, "submitted_by"));
	const struct passwd *self = getpwuid(geteuid());
	bool own = user && self && !strcmp(user, self->pw_name);

	return own || !isatty(STDOUT_FILENO) ? write_output : write_foreign_output;
}

static int write_log(void *data, const char *bytes, size_t size, struct error *err)
{
	const writer *write = data;

	return (*write)(bytes, size, err);
}

/* The last lines of a stream. */
struct tail {
	struct strbuf text;
	size_t whole; /* the size of what the last cut left */
	int64_t lines;
};

static void cut_tail(struct tail *tail)
{
	size_t at = tail->text.size;
	int64_t lines = tail->lines;

	/* A newline at the very end ends the last line, it does not begin another. */
	if (at && tail->text.data[at - 1] == '\n')
		at--;
	while (at && (tail->text.data[at - 1] != '\n' || --lines))
		at--;
	tail->whole = tail->text.size - at;
	memmove(tail->text.data, tail->text.data + at, tail->whole);
	tail->text.size = tail->whole;
}

static int keep_tail(void *data, const char *bytes, size_t size, struct error *err)
{
	struct tail *tail = data;

	(void)err;
	strbuf_add(&tail->text, bytes, size);
	/* Not at every piece: what is searched has at least doubled since the last time. */
	if (tail->text.size > 2 * tail->whole + TAIL_KEPT)
		cut_tail(tail);
	return 0;
}

static int print_tail(struct log_stream *log, int64_t lines, struct error *err)
{
	struct tail tail = { .lines = lines };
	writer *write = log->data;
	bool follow = log->follow;
	int r;

	log->sink = keep_tail;
	/* cppcheck-suppress autoVariables ; taken back below */
	log->data = &tail;
	log->follow = false;
	r = log_stream_run(log, err);
	if (r >= 0 && tail.text.size) {
		cut_tail(&tail);
		r = (*write)(tail.text.data, tail.text.size, err);
	}
	strbuf_release(&tail.text);
	log->follow = follow;
	log->sink = write_log;
	log->data = write;
	return r;
}

static int print_log(struct cli *cli, const struct logs_options *options, const struct json *record,
	const char *name)
{
	writer write = writer_for(record);
	struct log_stream log = {
		.client = &cli->client,
		.run = record_id(record),
		.name = name ? name : RUN_LOG_ARTIFACT,
		.follow = options->follow,
		.sink = write_log,
		.data = &write,
	};
	int r = 0;

	if (options->follow)
		interrupt_say_and_leave("\namlctl: no longer following; the run goes on\n");
	if (options->tail)
		r = print_tail(&log, options->tail, &cli->err);
	if (r >= 0 && (options->follow || !options->tail))
		r = log_stream_run(&log, &cli->err);
	return r;
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct logs_options *options = data;
	_cleanup_(freep) char *target = run_target(operands[0], "%s", "");
	_cleanup_(json_freep) struct json *record = NULL;
	int r = client_get(&cli->client, target, &record, &cli->err);

	if (r < 0)
		return r;
	/* By its id from here on: after a broken connection `latest` may be another run. */
	if (!options->json)
		return print_log(cli, options, record, operands[1]);
	if (json_get(record, "log_files"))
		print_json(json_get(record, "log_files"));
	return finish_output();
}

const struct command cmd_logs = {
	.name = "logs",
	.synopsis = "RUN [NAME]",
	.summary = "Print what a run printed",
	.details =
		"NAME is a log of the run (default: user_logs/std_log.txt, the script's stdout and\n"
		"stderr). With -f, a broken connection is mended without losing or repeating a\n"
		"byte; Ctrl-C leaves, the run goes on.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct logs_options),
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
