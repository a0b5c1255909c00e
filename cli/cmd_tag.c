/* SPDX-License-Identifier: MIT */
/* cmd_tag - amlctl tag: set and remove the tags of a run */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/record.h"
#include "common/mem.h"
#include "common/utf8.h"

struct tag_options {
	char **remove;
	bool json;
};

#define FIELD(name) offsetof(struct tag_options, name)

static const struct option_spec options_table[] = {
	{ 0, "remove", "KEY", "remove this tag; any number of times", option_list, FIELD(remove) },
	OPTION_OUTPUT(struct tag_options, json),
};

static int set_tags(struct cli *cli, struct json *tags, char *const *settings)
{
	for (size_t i = 0; settings[i]; i++) {
		const char *equals = strchr(settings[i], '=');
		_cleanup_(freep) char *key = NULL;

		if (!equals || equals == settings[i])
			return usage_error(cli, "\"%s\" must be KEY=VALUE", settings[i]);
		if (!utf8_valid(settings[i], strlen(settings[i])))
			return usage_error(cli, "tag %zu is not UTF-8", i + 1);
		key = mem_strndup(settings[i], (size_t)(equals - settings[i]));
		json_set_string(tags, key, equals + 1);
	}
	return 0;
}

static int run(struct cli *cli, void *data, char **operands)
{
	const struct tag_options *options = data;
	_cleanup_(json_freep) struct json *body = json_new_object();
	_cleanup_(json_freep) struct json *record = NULL;
	_cleanup_(freep) char *target = run_target(operands[0], "%s", "");
	struct json *tags = json_new_object();
	int r;

	json_set(body, "tags", tags);
	for (size_t i = 0; options->remove && options->remove[i]; i++)
		json_set_null(tags, options->remove[i]);
	r = set_tags(cli, tags, operands + 1);
	if (r < 0)
		return r;
	if (json_size(tags) == 0)
		return usage_error(cli, "which KEY=VALUE? (or --remove KEY)");
	r = client_call(&cli->client, "PATCH", target, body, &record, &cli->err);
	if (r < 0)
		return r;
	if (options->json)
		print_json(record);
	return finish_output();
}

const struct command cmd_tag = {
	.name = "tag",
	.synopsis = "RUN KEY=VALUE...",
	.summary = "Set and remove tags of a run",
	.details = "`KEY=` sets an empty value. Prints nothing; -o json prints the run's record.\n",
	.options = options_table,
	.option_count = ARRAY_SIZE(options_table),
	.options_size = sizeof(struct tag_options),
	.operands_min = 1,
	.operands_max = -1,
	.run = run,
};
