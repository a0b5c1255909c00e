/* SPDX-License-Identifier: MIT */
/* exec_storm - executes itself again and again, with a child by vfork() each time: EXECS_MAX times */
#include "zoo.h"

#define EXECS_MAX 3000

int main(int argc, char **argv)
{
	int round = argc > 1 ? atoi(argv[1]) : 0;
	char number[16];
	char *again[] = { argv[0], number, NULL };
	char *once[] = { argv[0], "-1", NULL };

	if (round < 0)
		return 0;
	zoo_ignore_all();
	if (round == 10)
		zoo_ready();
	if (round >= EXECS_MAX)
		zoo_stay();
	snprintf(number, sizeof(number), "%d", round + 1);
	if (vfork() == 0) {
		execv(argv[0], once);
		_exit(1);
	}
	execv(argv[0], again);
	return 1;
}
