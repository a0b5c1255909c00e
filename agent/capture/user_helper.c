/* SPDX-License-Identifier: MIT */
/* user_helper - where amlagent-user-helper is; see user_helper.h */
#include "capture/user_helper.h"

#include <pthread.h>

#include "common/mem.h"
#include "common/paths.h"

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
