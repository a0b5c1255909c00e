/* SPDX-License-Identifier: MIT */
/* cmd_hold - amlctl hold, release: keep runs in the queue, and let them go */
#include "cli/change.h"
#include "cli/command.h"
#include "common/mem.h"

struct hold_options {
	bool json;
};

static const struct option_spec options_table[] = {
	OPTION_OUTPUT(struct hold_options, json),
};

static int hold(struct cli *cli, void *data, char **operands)
{
	static const struct change change = { "POST", "/hold", NULL, "is held" };
	const struct hold_options *options = data;

	return change_all(cli, &change, operands, options->json);
}

static int release(struct cli *cli, void *data, char **operands)
{
	static const struct change change = { "POST", "/release", NULL, "is released" };
	const struct hold_options *options = data;

	return change_all(cli, &change, operands, options->json);
}

const struct command cmd_hold = {
	.name = "hold",
	.synopsis = "RUN...",
	.summary = "Keep runs in the queue until they are released",
	.details =
		"Only a run that waits in the queue can be held; it keeps its place. One that is\n"
		"held already stays so, which is no error.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct hold_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = hold,
};

const struct command cmd_release = {
	.name = "release",
	.synopsis = "RUN...",
	.summary = "Let runs go that were held",
	.details =
		"For runs of `amlctl hold` and of `amlctl run --hold`. One that is not held is left\n"
		"as it is, which is no error. What an admin holds, only an admin releases.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct hold_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = release,
};
