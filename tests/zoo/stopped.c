/* SPDX-License-Identifier: MIT */
/* stopped - stops itself, and its child too; SIGTERM is handled, which needs SIGCONT */
#include "zoo.h"

static void on_term(int number)
{
	(void)number;
	if (write(STDOUT_FILENO, "asked\n", 6) < 0)
		_exit(1);
	_exit(3);
}

int main(void)
{
	signal(SIGTERM, on_term);
	if (zoo_fork()) {
		raise(SIGSTOP);
		zoo_stay();
	}
	zoo_ready();
	raise(SIGSTOP);
	zoo_stay();
}
