/* SPDX-License-Identifier: MIT */
/* endpoint - which daemon; see endpoint.h */
#include "cli/endpoint.h"

#include <string.h>

#include "cli/autostart.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/strv.h"

void endpoint_release(struct endpoint *endpoint)
{
	free(endpoint->answered);
	endpoint->answered = NULL;
}

static void add_path(char ***list, const char *path)
{
	char *absolute = path_absolute(path);

	strv_take(list, absolute ? absolute : mem_strdup(path));
}

/* The sockets to try, in order. */
static char **candidates(const struct endpoint *endpoint)
{
	const char *from_env = getenv("AMLAGENT_SOCKET");
	char **list = NULL;

	if (endpoint->answered) {
		strv_add(&list, endpoint->answered);
	} else if (endpoint->socket) {
		add_path(&list, endpoint->socket);
	} else if (endpoint->state_dir) {
		_cleanup_(freep)
		char *socket = paths_state_socket(endpoint->state_dir);

		add_path(&list, socket);
	} else if (from_env && from_env[0]) {
		add_path(&list, from_env);
	} else {
		strv_take(&list, paths_user_socket());
		strv_add(&list, PATHS_SYSTEM_SOCKET);
	}
	return list;
}

static int try_all(struct endpoint *endpoint, char *const *list, struct error *err)
{
	for (size_t i = 0; list[i]; i++) {
		int fd = unix_socket_connect(list[i]);

		if (fd >= 0) {
			mem_replace(&endpoint->answered, list[i]);
			return fd;
		}
		if (fd != -ENOENT && fd != -ECONNREFUSED && fd != -ENOTDIR)
			return error_errno(
				err, fd, list[i], "cannot connect to amlagentd at %s", list[i]);
	}
	return -ENOENT;
}

int endpoint_connect_existing(struct endpoint *endpoint, struct error *err)
{
	_cleanup_(strv_freep)
	char **list = candidates(endpoint);
	int fd = try_all(endpoint, list, err);

	if (fd == -ENOENT)
		error_set(err, fd, list[0],
			"no amlagentd answers at %s; start one with `amlagentd --user`, or leave out "
			"--no-autostart",
			list[0]);
	return fd;
}

int endpoint_connect(struct endpoint *endpoint, struct error *err)
{
	_cleanup_(strv_freep)
	char **list = candidates(endpoint);
	int fd = try_all(endpoint, list, err);

	if (fd != -ENOENT)
		return fd;
	if (!strcmp(list[0], PATHS_SYSTEM_SOCKET))
		return error_set(err, -ENOENT, list[0],
			"the system's amlagentd does not answer at %s; `systemctl status amlagentd` says why",
			list[0]);
	if (endpoint->no_autostart)
		return endpoint_connect_existing(endpoint, err);
	fd = autostart(list[0], endpoint->state_dir, endpoint->config, err);
	if (fd >= 0)
		mem_replace(&endpoint->answered, list[0]);
	return fd;
}
