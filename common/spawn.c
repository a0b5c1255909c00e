/* SPDX-License-Identifier: MIT */
/* spawn - what every program we start has in common; see spawn.h */
#include "common/spawn.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int spawn_set_attributes(posix_spawnattr_t *attributes, short flags)
{
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	/* Not sigfillset(): it leaves out two that the C library keeps for itself, and
	 * posix_spawn() would have those ignored. */
	memset(&all, 0xff, sizeof(all));
	r = posix_spawnattr_setflags(
		attributes, (short)(flags | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
	if (!r)
		r = posix_spawnattr_setsigmask(attributes, &none);
	if (!r)
		r = posix_spawnattr_setsigdefault(attributes, &all);
	return r;
}

/* The kernel's own call and struct (handler, flags, restorer, mask: all 0 is the default action):
 * sigaction() refuses the two that the C library keeps for itself. */
void spawn_reset_signals(void)
{
	static const unsigned long standard[8];
	sigset_t none;

	for (int number = 1; number < _NSIG; number++)
		syscall(SYS_rt_sigaction, number, standard, NULL, _NSIG / 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
