/* SPDX-License-Identifier: MIT */
/* user_helper - where amlagent-user-helper is; see user_helper.h */
#include "capture/user_helper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>

#include "common/mem.h"
#include "common/paths.h"

/* Tenths of a millisecond that one which was killed is waited for. */
#define END_MOMENTS 1000

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char *helper;

static void look_up(void)
{
	if (!helper)
		helper = paths_program(USER_HELPER);
}

const char *user_helper_path(void)
{
	pthread_once(&once, look_up);
	return helper;
}

void user_helper_use(const char *path)
{
	mem_replace(&helper, path);
}

/* ---- the end ---- */

/* Those that were killed and have not ended. */
static pthread_mutex_t undead_lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t *undead;
static size_t undead_count, undead_room;

static bool is_reaped(pid_t pid)
{
	pid_t found;

	do
		found = waitpid(pid, NULL, WNOHANG);
	while (found < 0 && errno == EINTR);
	return found != 0;
}

static void reap_undead(void)
{
	size_t left = 0;

	pthread_mutex_lock(&undead_lock);
	for (size_t i = 0; i < undead_count; i++)
		if (!is_reaped(undead[i]))
			undead[left++] = undead[i];
	undead_count = left;
	pthread_mutex_unlock(&undead_lock);
}

static void wait_later(pid_t pid)
{
	pthread_mutex_lock(&undead_lock);
	GROW(undead, undead_count, undead_room);
	undead[undead_count++] = pid;
	pthread_mutex_unlock(&undead_lock);
}

/* Our child until it is waited for: the pid is its. */
void user_helper_end(pid_t pid)
{
	static const struct timespec moment = { .tv_nsec = 100000 };

	kill(pid, SIGKILL);
	for (int i = 0; i < END_MOMENTS; i++) {
		if (is_reaped(pid)) {
			reap_undead();
			return;
		}
		nanosleep(&moment, NULL);
	}
	wait_later(pid);
}
