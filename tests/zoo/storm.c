/* SPDX-License-Identifier: MIT */
/* storm - COUNT processes, each of which forks a successor and ends, for ever: storm COUNT [own-sessions] */
#include <time.h>

#include "zoo.h"

/* One at a time a process: the number of them stays what it is, no pid stays for long. */
static void hop(time_t until, int own_session)
{
	while (time(NULL) < until) {
		pid_t pid = fork();

		if (pid > 0)
			_exit(0);
		if (pid < 0)
			continue; /* no room just now */
		if (own_session)
			setsid();
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1;
	time_t until = time(NULL) + ZOO_SECONDS;

	zoo_ignore_all();
	signal(SIGCHLD, SIG_DFL);
	for (int i = 0; i < count; i++)
		if (zoo_fork())
			hop(until, argc > 2);
	zoo_ready();
	zoo_stay();
}
