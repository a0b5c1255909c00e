/* SPDX-License-Identifier: MIT */
/*
 * zoo - programs that try to outlive their run
 *
 * Each says "ready" on stdout once it is what it wants to be, and then stays (for ZOO_SECONDS at
 * most: a test that fails leaves nothing behind for long).
 */
#pragma once

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ZOO_SECONDS 60

static inline void zoo_ready(void)
{
	static const char text[] = "ready\n";

	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
}

static inline void zoo_stay(void)
{
	alarm(ZOO_SECONDS);
	for (;;)
		pause();
}

/* In the child: true. */
static inline int zoo_fork(void)
{
	pid_t pid = fork();

	if (pid < 0) {
		perror("fork");
		_exit(1);
	}
	return pid == 0;
}

static inline void zoo_ignore_all(void)
{
	for (int i = 1; i < 32; i++)
		if (i != SIGALRM)
			signal(i, SIG_IGN);
}
