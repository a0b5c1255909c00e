/* SPDX-License-Identifier: MIT */
/*
 * storm - COUNT processes, each of which forks a successor and ends: storm COUNT [own-sessions]
 *
 * The number of processes stays what it is, no pid stays for long. FORKS_MAX in all, so that even a
 * supervisor that waits for nobody leaves the machine some pids.
 */
#include <stdatomic.h>
#include <sys/mman.h>

#include "zoo.h"

#define FORKS_MAX 15000

static atomic_int *forks;

static void hop(int own_session)
{
	while (atomic_fetch_add(forks, 1) < FORKS_MAX) {
		pid_t pid = fork();

		if (pid > 0)
			_exit(0);
		if (pid == 0 && own_session)
			setsid();
	}
	zoo_stay();
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1;

	forks = mmap(
		NULL, sizeof(*forks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (forks == MAP_FAILED)
		return 1;
	zoo_ignore_all();
	signal(SIGCHLD, SIG_DFL);
	for (int i = 0; i < count; i++)
		if (zoo_fork())
			hop(argc > 2);
	zoo_ready();
	zoo_stay();
}
