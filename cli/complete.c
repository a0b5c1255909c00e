/* SPDX-License-Identifier: MIT */
/* complete - what the shells' completion asks for; see complete.h */
#include "cli/complete.h"

#include <stdio.h>

#include "common/run_state.h"

static void print_option(const struct option_spec *spec)
{
	const char *value = spec->value ? spec->value : "-";

	if (!spec->help)
		return;
	if (spec->letter)
		printf("option\t-%c\t%s\t%s\n", spec->letter, value, spec->help);
	printf("option\t--%s\t%s\t%s\n", spec->name, value, spec->help);
}

static void print_options(const struct option_spec *specs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		print_option(&specs[i]);
}

static void print_global(const struct option_set *global)
{
	puts("option\t-h\t-\tshow help\noption\t--help\t-\tshow help");
	print_options(global->specs, global->count);
}

void complete_commands(
	const struct command *const *commands, size_t count, const struct option_set *global)
{
	for (size_t i = 0; i < count; i++)
		printf("command\t%s\t%s\n", commands[i]->name, commands[i]->summary);
	puts("command\thelp\tShow help about a command");
	print_global(global);
	puts("option\t--version\t-\tprint the version of amlctl");
}

void complete_command(const struct command *command, const struct option_set *global)
{
	printf("operands\t%s\n", command->synopsis[0] ? command->synopsis : "-");
	print_options(command->options, command->option_count);
	print_global(global);
	for (int i = 0; i < RUN_STATE_COUNT; i++)
		printf("state\t%s\t%s\n", run_state_name((enum run_state)i),
			run_state_is_terminal((enum run_state)i) ? "over" : "live");
}
