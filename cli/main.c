/* SPDX-License-Identifier: MIT */
/* main - amlctl: the table of commands, and the way from the command line to one of them */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/complete.h"
#include "cli/output.h"
#include "common/mem.h"
#include "common/strv.h"

static const struct command *const commands[] = {
	&cmd_run,
	&cmd_list,
	&cmd_show,
	&cmd_logs,
	&cmd_wait,
	&cmd_cancel,
	&cmd_hold,
	&cmd_release,
	&cmd_files,
	&cmd_download,
	&cmd_snapshot,
	&cmd_tag,
	&cmd_share,
	&cmd_delete,
	&cmd_status,
	&cmd_drain,
	&cmd_resume,
	&cmd_doctor,
	&cmd_version,
};

/* Named by the contract, not here yet. */
static const char *const later[] = { "metrics", "diff", "rerun", "gc", NULL };

static const struct option_spec global_options[] = {
	{ 0, "socket", "PATH", "the daemon's socket", option_text,
		offsetof(struct cli, endpoint.socket) },
	{ 0, "state-dir", "DIR", "use the daemon of this state folder", option_text,
		offsetof(struct cli, endpoint.state_dir) },
	{ 0, "config", "FILE", "configuration for a daemon that is started", option_text,
		offsetof(struct cli, endpoint.config) },
	{ 0, "no-autostart", NULL, "do not start a daemon when none answers", option_flag,
		offsetof(struct cli, endpoint.no_autostart) },
};

static const struct option_spec version_option[] = {
	{ 0, "version", NULL, "print the version of amlctl", option_flag,
		offsetof(struct cli, version) },
};

int usage_error(struct cli *cli, const char *fmt, ...)
{
	char text[sizeof(cli->err.message)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	cli->err = (struct error)ERROR_INIT;
	return error_set(&cli->err, -EINVAL, "usage", "%s", text);
}

static void print_usage(FILE *to, const struct command *command)
{
	fprintf(to, "usage: amlctl %s [OPTIONS]%s%s\n", command->name,
		command->synopsis[0] ? " " : "", command->synopsis);
}

static int print_help(const struct command *command)
{
	print_usage(stdout, command);
	printf("\n%s.\n\nOptions:\n", command->summary);
	options_print(stdout, command->options, command->option_count);
	printf("  -h, --help                   show this\n\nWhich daemon:\n");
	options_print(stdout, global_options, ARRAY_SIZE(global_options));
	if (command->details)
		printf("\n%s", command->details);
	return finish_output();
}

static int print_overview(void)
{
	puts("usage: amlctl [OPTIONS] COMMAND [ARGS...]\n\n"
	     "Run training scripts under amlagentd's care, and look at what became of them.\n\n"
	     "Commands:");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	puts("\nOptions, before or after the command:");
	options_print(stdout, global_options, ARRAY_SIZE(global_options));
	options_print(stdout, version_option, ARRAY_SIZE(version_option));
	puts("\nA RUN is a run id, a unique beginning of one, or `latest`, the newest of your own.\n"
	     "The socket is --socket, that of --state-dir, $AMLAGENT_SOCKET, the user's or the\n"
	     "system's, the first that is there.\n\n"
	     "`amlctl help COMMAND` tells more.");
	return finish_output();
}

static int wrong_usage(const struct command *command, const char *message)
{
	say("%s", message);
	if (command)
		print_usage(stderr, command);
	if (command)
		fprintf(stderr, "`amlctl help %s` tells more\n", command->name);
	else
		fprintf(stderr,
			"usage: amlctl [OPTIONS] COMMAND [ARGS...]\n`amlctl help` tells more\n");
	return EXIT_USAGE;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	_cleanup_(freep) char *message = NULL;
	const char *names[ARRAY_SIZE(commands) + 2];
	const char *nearest;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		names[i] = commands[i]->name;
	names[ARRAY_SIZE(commands)] = "help";
	names[ARRAY_SIZE(commands) + 1] = NULL;
	nearest = nearest_name(name, names);
	if (strv_contains((char **)later, name))
		message = mem_printf("\"%s\" is not in this version of amlctl", name);
	else if (nearest)
		message = mem_printf("unknown command \"%s\"; did you mean \"%s\"?", name, nearest);
	else
		message = mem_printf("unknown command \"%s\"", name);
	return wrong_usage(NULL, message);
}

/* `help --complete [COMMAND]`, for the shells' completion: all that there is, or one command. */
static int print_completion(const char *name)
{
	static const struct option_set global = { global_options, ARRAY_SIZE(global_options),
		NULL };
	const struct command *command = name ? find_command(name) : NULL;

	if (name && !command)
		return EXIT_USAGE;
	if (command)
		complete_command(command, &global);
	else
		complete_commands(commands, ARRAY_SIZE(commands), &global);
	return finish_output();
}

static int help(const char *name)
{
	const struct command *command = name ? find_command(name) : NULL;

	if (!name)
		return print_overview();
	return command ? print_help(command) : unknown_command(name);
}

static int check_operands(struct cli *cli, const struct command *command, char **operands)
{
	int count = (int)strv_length(operands);

	if (count < command->operands_min)
		return usage_error(cli, "%s needs %s", command->name, command->synopsis);
	if (command->operands_max >= 0 && count > command->operands_max)
		return usage_error(cli, "amlctl %s: \"%s\" is one too many", command->name,
			operands[command->operands_max]);
	return 0;
}

/* What r of a command means for the shell. */
static int conclude(struct cli *cli, const struct command *command, int r)
{
	if (r >= 0)
		return r;
	if (!strcmp(cli->err.target, "usage") && r == -EINVAL)
		return wrong_usage(command, cli->err.message);
	error_default(&cli->err, r, "failed");
	say("%s", cli->err.message);
	return r == -EINTR ? EXIT_CANCELED : EXIT_TROUBLE;
}

static int run_command(struct cli *cli, const struct command *command, char **argv)
{
	_cleanup_(freep) void *options = mem_alloc(command->options_size + 1);
	const struct option_set sets[] = {
		{ command->options, command->option_count, options },
		{ global_options, ARRAY_SIZE(global_options), cli },
	};
	char **operands = NULL;
	bool wants_help = false;
	int r = options_parse(argv, command->stop_at_operand, sets, ARRAY_SIZE(sets), &operands,
		&wants_help, &cli->err);

	if (r < 0)
		r = wrong_usage(command, cli->err.message);
	else if (wants_help)
		r = print_help(command);
	else if (check_operands(cli, command, operands) < 0)
		r = wrong_usage(command, cli->err.message);
	else
		r = conclude(cli, command, command->run(cli, options, operands));
	options_release(&sets[0]);
	return r;
}

static int dispatch(struct cli *cli, char **argv)
{
	const struct option_set sets[] = {
		{ global_options, ARRAY_SIZE(global_options), cli },
		{ version_option, ARRAY_SIZE(version_option), cli },
	};
	const struct command *command;
	char **rest = NULL;
	bool wants_help = false;
	int r = options_parse(argv, true, sets, ARRAY_SIZE(sets), &rest, &wants_help, &cli->err);

	if (r < 0)
		return wrong_usage(NULL, cli->err.message);
	if (wants_help)
		return help(NULL);
	if (cli->version) {
		puts("amlctl " AMLAGENT_VERSION);
		return finish_output();
	}
	if (!rest[0])
		return wrong_usage(NULL, "which command?");
	if (!strcmp(rest[0], "help"))
		return rest[1] && !strcmp(rest[1], "--complete") ? print_completion(rest[2])
								 : help(rest[1]);
	command = find_command(rest[0]);
	return command ? run_command(cli, command, rest) : unknown_command(rest[0]);
}

/* A descriptor 0 to 2 that is closed would be given to the next file we open. */
static void keep_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct cli cli = { 0 };
	int status;

	if (argc < 1)
		return EXIT_USAGE;
	keep_standard_descriptors();
	client_init(&cli.client, &cli.endpoint);
	status = dispatch(&cli, argv);
	client_release(&cli.client);
	endpoint_release(&cli.endpoint);
	return status;
}
