/* SPDX-License-Identifier: MIT */
/* no_environment - a child without environment, in a session of its own; its parent stays */
#include "zoo.h"

int main(int argc, char **argv)
{
	char *stay[] = { argv[0], "stay", NULL };
	char *nothing[] = { NULL };

	zoo_ignore_all();
	if (argc > 1) {
		zoo_ready();
		zoo_stay();
	}
	if (zoo_fork()) {
		setsid();
		execve(argv[0], stay, nothing);
		return 1;
	}
	zoo_stay();
}
