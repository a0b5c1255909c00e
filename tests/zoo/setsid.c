/* SPDX-License-Identifier: MIT */
/* setsid - a child in a session of its own, a grandchild in yet another; all stay */
#include "zoo.h"

int main(void)
{
	if (!zoo_fork())
		zoo_stay();
	setsid();
	if (!zoo_fork())
		zoo_stay();
	setsid();
	zoo_ignore_all();
	zoo_ready();
	zoo_stay();
}
