/* SPDX-License-Identifier: MIT */
/* double_fork - a daemon by the book: fork, setsid, fork, all signals ignored, the parents gone */
#include "zoo.h"

int main(void)
{
	if (!zoo_fork())
		return 0;
	setsid();
	if (!zoo_fork())
		return 0;
	if (chdir("/") < 0)
		return 1;
	zoo_ignore_all();
	zoo_ready();
	zoo_stay();
}
