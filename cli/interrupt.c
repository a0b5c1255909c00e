/* SPDX-License-Identifier: MIT */
/* interrupt - what Ctrl-C does while amlctl is at work; see interrupt.h */
#include "cli/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mem.h"

/* Signal handlers reach nothing but globals. */
static char *farewell;
static size_t farewell_size;
static volatile sig_atomic_t caught;

static void leave(int number)
{
	(void)number;
	if (write(STDERR_FILENO, farewell, farewell_size) < 0)
		_exit(0); /* nobody reads it: the run goes on all the same */
	_exit(0);
}

static void note(int number)
{
	(void)number;
	caught = 1;
}

static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

static void handle(void (*handler)(int), int flags)
{
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
		struct sigaction old;

		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
	}
}

void interrupt_say_and_leave(const char *text)
{
	handle(SIG_DFL, 0);
	free(farewell);
	farewell = mem_strdup(text);
	farewell_size = strlen(text);
	handle(leave, 0);
}

void interrupt_default(void)
{
	handle(SIG_DFL, 0);
}

void interrupt_catch(void)
{
	handle(note, (int)SA_RESETHAND);
}

bool interrupt_caught(void)
{
	return caught;
}

int interrupt_poll(struct pollfd *wait, int ms)
{
	const struct timespec time = { ms / 1000, ms % 1000 * 1000000L };
	sigset_t ours, before;
	int n;

	sigemptyset(&ours);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&ours, signals[i]);
	sigprocmask(SIG_BLOCK, &ours, &before);
	n = caught ? 0 : ppoll(wait, 1, &time, &before);
	n = n < 0 ? -errno : n;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return caught ? -EINTR : n;
}
