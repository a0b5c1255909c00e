/* SPDX-License-Identifier: MIT */
/* main - amlagent-supervisor RUN_DIR, or --hold; see supervise.h and hold.h */
#include <string.h>
#include <unistd.h>

#include "supervisor/hold.h"
#include "supervisor/supervise.h"

#define EXIT_USAGE 2

static const char usage[] =
	"usage: amlagent-supervisor RUN_DIR\n"
	"       amlagent-supervisor --hold\n"
	"Runs what RUN_DIR/launch says; amlagentd starts it. With --hold, as\n"
	"amlagent-runs.service, it keeps the cgroup below which runs have theirs.\n";
static const char version[] = "amlagent-supervisor " AMLAGENT_VERSION "\n";

static int say(int fd, const char *text, int status)
{
	return write(fd, text, strlen(text)) < 0 ? 1 : status;
}

int main(int argc, char **argv)
{
	const char *argument = argc == 2 ? argv[1] : "";

	if (!strcmp(argument, "--help"))
		return say(STDOUT_FILENO, usage, 0);
	if (!strcmp(argument, "--version"))
		return say(STDOUT_FILENO, version, 0);
	if (!strcmp(argument, "--hold"))
		return hold();
	if (argument[0] == '-' || argument[0] == '\0')
		return say(STDERR_FILENO, usage, EXIT_USAGE);
	return supervise(argument);
}
