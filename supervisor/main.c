/* SPDX-License-Identifier: MIT */
/* main - amlagent-supervisor RUN_DIR; see supervise.h */
#include <unistd.h>

#include "supervisor/supervise.h"

#define EXIT_USAGE 2

int main(int argc, char **argv)
{
	static const char usage[] = "usage: amlagent-supervisor RUN_DIR\n"
				    "Runs what RUN_DIR/launch says; amlagentd starts it.\n";

	if (argc != 2 || argv[1][0] == '-' || argv[1][0] == '\0') {
		(void)!write(STDERR_FILENO, usage, sizeof(usage) - 1);
		return EXIT_USAGE;
	}
	return supervise(argv[1]);
}
