/* SPDX-License-Identifier: MIT */
/* sub_cgroup - makes cgroups below the one it is in, and moves into the deepest: sub_cgroup [CGROUP] */
#include <fcntl.h>
#include <sys/stat.h>

#include "zoo.h"

static void move_to(const char *cgroup)
{
	char path[4096];
	int fd;

	if (chdir(cgroup) < 0 || mkdir(".sub", 0755) < 0 || mkdir(".sub/sub", 0755) < 0)
		_exit(1);
	snprintf(path, sizeof(path), "%s/.sub/sub/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(1);
	close(fd);
}

int main(int argc, char **argv)
{
	zoo_ignore_all();
	if (argc > 1)
		move_to(argv[1]);
	setsid();
	if (zoo_fork()) {
		setsid();
		zoo_ready();
	}
	zoo_stay();
}
