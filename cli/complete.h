/* SPDX-License-Identifier: MIT */
/*
 * complete - what the shells' completion asks for: `amlctl help --complete [COMMAND]`
 *
 * Lines of words between tabs, made from the same tables as --help, so that completions/ holds no
 * list of its own:
 *
 *	command  NAME  SUMMARY            without COMMAND, one for each
 *	operands SYNOPSIS                 with COMMAND; "-": none
 *	option   WORD  VALUE  HELP        WORD is "-o" or "--output"; VALUE "-" for a flag; the global
 *	                                  ones last
 *	state    NAME  live|over          with COMMAND: what --status takes
 */
#pragma once

#include <stddef.h>

#include "cli/command.h"

void complete_commands(
	const struct command *const *commands, size_t count, const struct option_set *global);
void complete_command(const struct command *command, const struct option_set *global);
