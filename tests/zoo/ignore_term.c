/* SPDX-License-Identifier: MIT */
/* ignore_term - SIGTERM and all else that can be ignored is ignored */
#include "zoo.h"

int main(void)
{
	zoo_ignore_all();
	zoo_ready();
	zoo_stay();
}
