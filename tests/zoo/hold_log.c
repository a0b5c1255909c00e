/* SPDX-License-Identifier: MIT */
/* hold_log - a grandchild ignores everything and holds the log open; the command exits 7 */
#include "zoo.h"

int main(void)
{
	int ready[2];
	char byte;

	if (pipe(ready) < 0)
		return 1;
	if (!zoo_fork()) {
		close(ready[1]);
		return read(ready[0], &byte, 1) == 1 ? 7 : 1;
	}
	if (!zoo_fork())
		return 0;
	setsid();
	zoo_ignore_all();
	zoo_ready();
	if (write(ready[1], "", 1) != 1)
		return 1;
	zoo_stay();
}
