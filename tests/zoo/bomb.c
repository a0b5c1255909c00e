/* SPDX-License-Identifier: MIT */
/* bomb - a fork bomb, of PROCESSES_MAX: every one forks as fast as it can, in sessions of their own */
#include <stdatomic.h>
#include <sys/mman.h>

#include "zoo.h"

#define PROCESSES_MAX 600

int main(void)
{
	atomic_int *made = mmap(
		NULL, sizeof(*made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int mine = 0;

	if (made == MAP_FAILED)
		return 1;
	zoo_ignore_all();
	while ((mine = atomic_fetch_add(made, 1)) < PROCESSES_MAX) {
		if (mine == PROCESSES_MAX / 2)
			zoo_ready();
		if (fork() == 0)
			setsid();
	}
	zoo_stay();
}
