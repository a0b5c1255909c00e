/* SPDX-License-Identifier: MIT */
/* own_subreaper - adopts its own orphans, in sessions of their own, so that they never become ours */
#include <sys/prctl.h>

#include "zoo.h"

int main(void)
{
	zoo_ignore_all();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return 1;
	setsid();
	if (zoo_fork()) {
		setsid();
		if (!zoo_fork())
			_exit(0);
		setsid();
		zoo_ready();
	}
	zoo_stay();
}
