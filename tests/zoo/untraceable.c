/* SPDX-License-Identifier: MIT */
/* untraceable - no environment, a session of its own, and no parent: only a cgroup still knows it */
#include "zoo.h"

static void vanish(char *program)
{
	char *stay[] = { program, "stay", NULL };
	char *nothing[] = { NULL };

	setsid();
	if (!zoo_fork())
		_exit(0);
	setsid();
	execve(program, stay, nothing);
	_exit(1);
}

int main(int argc, char **argv)
{
	zoo_ignore_all();
	if (argc > 1) {
		zoo_ready();
		zoo_stay();
	}
	if (zoo_fork())
		vanish(argv[0]);
	return 0;
}
