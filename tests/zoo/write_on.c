/* SPDX-License-Identifier: MIT */
/* write_on - a grandchild writes to the log, on and on, LINES_MAX lines; the command has ended */
#include <time.h>

#include "zoo.h"

#define LINES_MAX 60000

int main(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	if (!zoo_fork())
		return 0;
	setsid();
	if (!zoo_fork())
		return 0;
	zoo_ignore_all();
	zoo_ready();
	for (int i = 0; i < LINES_MAX; i++) {
		if (write(STDOUT_FILENO, "on\n", 3) < 0)
			return 1;
		nanosleep(&pause, NULL);
	}
	return 0;
}
