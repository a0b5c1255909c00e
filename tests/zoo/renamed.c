/* SPDX-License-Identifier: MIT */
/* renamed - another name, other arguments, another session, another folder */
#include <string.h>
#include <sys/prctl.h>

#include "zoo.h"

int main(int argc, char **argv)
{
	(void)argc;
	if (!zoo_fork())
		return 0;
	setsid();
	prctl(PR_SET_NAME, ") 1 (kthread", 0, 0, 0);
	memset(argv[0], 'x', strlen(argv[0]));
	zoo_ignore_all();
	zoo_ready();
	zoo_stay();
}
