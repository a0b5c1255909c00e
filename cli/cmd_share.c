/* SPDX-License-Identifier: MIT */
/* cmd_share - amlctl share: let others read runs */
#include "cli/change.h"
#include "cli/command.h"
#include "common/mem.h"

struct share_options {
	bool off;
	bool json;
};

#define FIELD(name) offsetof(struct share_options, name)

static const struct option_spec options_table[] = {
	{ 0, "off", NULL, "take it back: only you and the admins", option_flag, FIELD(off) },
	OPTION_OUTPUT(struct share_options, json),
};

static int run(struct cli *cli, void *data, char **operands)
{
	const struct share_options *options = data;
	_cleanup_(json_freep) struct json *body = json_new_object();
	struct change change = { "PATCH", "", body,
		options->off ? "is not shared" : "is shared with every user of this daemon" };

	json_set_bool(body, "shared", !options->off);
	return change_all(cli, &change, operands, options->json);
}

const struct command cmd_share = {
	.name = "share",
	.synopsis = "RUN...",
	.summary = "Let every user of the daemon read runs",
	.details =
		"What is shared is the record, the logs, the artifacts and the snapshot; the values\n"
		"of environment variables are not. Nobody else can change, cancel or delete the run.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct share_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = run,
};
