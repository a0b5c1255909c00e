/* SPDX-License-Identifier: MIT */
/* trap - ends well when it is asked to: writes, then exits 5 */
#include "zoo.h"

static void on_term(int number)
{
	(void)number;
	if (write(STDOUT_FILENO, "saved\n", 6) < 0)
		_exit(1);
	_exit(5);
}

int main(void)
{
	signal(SIGTERM, on_term);
	zoo_ready();
	zoo_stay();
}
