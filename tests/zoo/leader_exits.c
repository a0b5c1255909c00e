/* SPDX-License-Identifier: MIT */
/* leader_exits - the first thread ends, another goes on: a zombie that works */
#include <pthread.h>

#include "zoo.h"

static void *go_on(void *data)
{
	(void)data;
	zoo_ready();
	zoo_stay();
	return NULL;
}

int main(void)
{
	pthread_t thread;

	if (!zoo_fork())
		return 0;
	setsid();
	zoo_ignore_all();
	if (pthread_create(&thread, NULL, go_on, NULL) != 0)
		return 1;
	pthread_exit(NULL);
}
