/* SPDX-License-Identifier: MIT */
/* daemon3 - daemon(3), with the standard files closed and every signal ignored */
#include "zoo.h"

int main(void)
{
	int log = dup(STDOUT_FILENO);

	if (log < 0 || daemon(0, 0) < 0)
		return 1;
	zoo_ignore_all();
	if (dup2(log, STDOUT_FILENO) < 0)
		return 1;
	zoo_ready();
	close(log);
	zoo_stay();
}
