/* SPDX-License-Identifier: MIT */
/* hold - keep the place for the cgroups of runs; see hold.h */
#include "supervisor/hold.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/cgroup.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"

#define EXIT_NO_PLACE 1

/* sd_notify(3): a datagram to the socket that the service manager names. */
static void notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t size = path ? strlen(path) : 0;
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || !size || size >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, size);
	if (path[0] == '@') /* an abstract one */
		to.sun_path[0] = '\0';
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&to,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
}

static int move_into(const char *path)
{
	_cleanup_(closep) int fd = -EBADF;

	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = cgroup_open(path);
	return fd < 0 ? fd : cgroup_write(fd, "cgroup.procs", "0");
}

static int take_place(const char *path)
{
	_cleanup_(freep) char *holder = path_join(path, CGROUP_HOLDER_NAME);
	_cleanup_(closep) int fd = cgroup_open(path);
	int r = fd < 0 ? fd : move_into(holder);

	if (r < 0)
		return r;
	cgroup_enable_controllers(fd);
	return 0;
}

int hold(void)
{
	_cleanup_(freep) char *path = cgroup_own();
	int r = path ? take_place(path) : -ENOENT;

	if (r < 0) {
		dprintf(STDERR_FILENO,
			"amlagent-supervisor --hold: cannot take %s: %s; start it as a service with "
			"Delegate=yes, on a machine with cgroup v2\n",
			path ? path : "a cgroup of its own", strerror(-r));
		return EXIT_NO_PLACE;
	}
	notify("READY=1\nSTATUS=Keeping the place for the cgroups of runs\n");
	for (;;)
		pause();
}
