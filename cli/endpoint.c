/* SPDX-License-Identifier: MIT */
/* endpoint - which daemon; see endpoint.h */
#include "cli/endpoint.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/autostart.h"
#include "cli/output.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/strv.h"

#define RETRY_MS 100
#define QUIET_MS 500 /* a restart that is over by then is not worth a word */
#define JUST_CHANGED_SECONDS 60

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
		_cleanup_(freep) char *socket = paths_state_socket(endpoint->state_dir);

		add_path(&list, socket);
	} else if (from_env && from_env[0]) {
		add_path(&list, from_env);
	} else {
		strv_take(&list, paths_user_socket());
		strv_add(&list, PATHS_SYSTEM_SOCKET);
	}
	return list;
}

/* In a folder that others can write to the socket may be anybody's, and what we send holds our
 * whole environment: only our own daemon's and root's are talked to. */
static int check_owner(uid_t uid, const char *path, struct error *err)
{
	if (uid == geteuid() || uid == 0)
		return 0;
	return error_set(err, -EPERM, path,
		"%s belongs to another user (uid %u): not talking to it; name another with --socket",
		path, (unsigned)uid);
}

/* The file may be ours and the listener another's who got hold of its name: asked of the kernel. */
static int check_listener(int fd, const char *path, uid_t *ret_uid, struct error *err)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return error_errno(err, -errno, path, "cannot tell who listens at %s", path);
	*ret_uid = peer.uid;
	return check_owner(peer.uid, path, err);
}

/* A connected descriptor. */
static int connect_checked(const char *path, uid_t *ret_uid, struct error *err)
{
	struct stat st;
	int fd, r;

	if (stat(path, &st) == 0 && (r = check_owner(st.st_uid, path, err)) < 0)
		return r;
	fd = unix_socket_connect(path);
	if (fd < 0)
		return fd;
	r = check_listener(fd, path, ret_uid, err);
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

static int try_all(struct endpoint *endpoint, char *const *list, struct error *err)
{
	for (size_t i = 0; list[i]; i++) {
		int fd = connect_checked(list[i], &endpoint->uid, err);

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
	_cleanup_(strv_freep) char **list = candidates(endpoint);
	int fd = try_all(endpoint, list, err);

	if (fd == -ENOENT)
		error_set(err, fd, list[0],
			"no amlagentd answers at %s; start one with `amlagentd --user`, or leave out "
			"--no-autostart",
			list[0]);
	return fd;
}

/* A daemon that answered at a socket somebody named may have any state folder: one that we started
 * in its place would know nothing of the run. */
static bool is_somebody_elses(const struct endpoint *endpoint)
{
	const char *from_env = getenv("AMLAGENT_SOCKET");

	return endpoint->answered && !endpoint->state_dir &&
	       (endpoint->socket || (from_env && from_env[0]));
}

bool endpoint_is_shared(const struct endpoint *endpoint)
{
	return endpoint->answered && endpoint->uid == 0 && geteuid() != 0;
}

/* The system service's own socket, whoever listened there last: nobody but root could make it. */
static bool is_service_socket(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid == 0 &&
	       (geteuid() != 0 || !strcmp(path, PATHS_SYSTEM_SOCKET));
}

/* The service takes its socket away when it ends, and the folder's time tells when that was. */
static bool is_service_gone_a_moment_ago(const char *path)
{
	_cleanup_(freep) char *folder = mem_strdup(path);
	char *end = strrchr(folder, '/');
	struct stat st;

	if (strcmp(path, PATHS_SYSTEM_SOCKET) || !end)
		return false;
	*end = '\0';
	return stat(folder, &st) == 0 && st.st_uid == 0 &&
	       clock_utc() / USEC_PER_SEC - st.st_mtime < JUST_CHANGED_SECONDS;
}

/* The one of the sockets at which the system service should answer; NULL: none. */
static const char *service_socket(char *const *list)
{
	for (size_t i = 0; list[i]; i++)
		if (is_service_socket(list[i]) || is_service_gone_a_moment_ago(list[i]))
			return list[i];
	return NULL;
}

/* A descriptor, or -ENOENT when nobody has answered in time. */
static int await_service(
	struct endpoint *endpoint, char *const *list, const char *service, struct error *err)
{
	const struct timespec pause = { 0, RETRY_MS * 1000000L };
	int64_t start = clock_boot();
	int64_t waited = 0;
	bool said = false;
	int fd = -ENOENT;

	while (fd == -ENOENT && waited < ENDPOINT_WAIT_SECONDS * USEC_PER_SEC) {
		if (waited > QUIET_MS * 1000 && !said) {
			say("the system's amlagentd does not answer at %s (is it restarting?); "
			    "waiting up to %d s",
				service, ENDPOINT_WAIT_SECONDS);
			said = true;
		}
		nanosleep(&pause, NULL);
		fd = try_all(endpoint, list, err);
		waited = clock_boot() - start;
	}
	return fd;
}

static int start_own(struct endpoint *endpoint, const char *socket, struct error *err)
{
	int fd;

	if (endpoint->no_autostart || is_somebody_elses(endpoint))
		return endpoint_connect_existing(endpoint, err);
	fd = autostart(socket, endpoint->state_dir, endpoint->config, err);
	if (fd >= 0) {
		mem_replace(&endpoint->answered, socket);
		endpoint->uid = geteuid();
	}
	return fd;
}

int endpoint_connect(struct endpoint *endpoint, struct error *err)
{
	_cleanup_(strv_freep) char **list = candidates(endpoint);
	const char *service;
	int fd = try_all(endpoint, list, err);

	if (fd != -ENOENT)
		return fd;
	service = service_socket(list);
	/* One that has answered before is waited for by client_reconnect(). */
	if (service && !endpoint->answered)
		fd = await_service(endpoint, list, service, err);
	if (fd != -ENOENT)
		return fd;
	if (!strcmp(list[0], PATHS_SYSTEM_SOCKET) || (service && is_service_socket(service)))
		return error_set(err, -ENOENT, service ? service : list[0],
			"the system's amlagentd does not answer at %s; `systemctl status amlagentd` says "
			"why",
			service ? service : list[0]);
	return start_own(endpoint, list[0], err);
}
