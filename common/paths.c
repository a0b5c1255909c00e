/* SPDX-License-Identifier: MIT */
/* paths - where the socket, the state and the configuration are; see paths.h */
#include "common/paths.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"

#ifndef AMLAGENT_LIBEXECDIR
#define AMLAGENT_LIBEXECDIR "/usr/libexec/amlagent"
#endif
#ifndef AMLAGENT_DATADIR
#define AMLAGENT_DATADIR "/usr/share/amlagent"
#endif

/* XDG: a value that is not absolute is to be ignored. */
static const char *absolute_env(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] == '/' ? value : NULL;
}

static char *below_home(const char *variable, const char *fallback, const char *rest)
{
	const char *base = absolute_env(variable);
	const char *home = absolute_env("HOME");
	const struct passwd *user;

	if (base)
		return mem_printf("%s/%s", base, rest);
	user = home ? NULL : getpwuid(geteuid());
	if (user)
		home = user->pw_dir;
	return mem_printf("%s/%s/%s", home ? home : "", fallback, rest);
}

char *paths_user_socket(void)
{
	const char *base = absolute_env("XDG_RUNTIME_DIR");

	if (base)
		return mem_printf("%s/amlagent/%s", base, PATHS_SOCKET_NAME);
	return mem_printf("/tmp/amlagent-%u/%s", (unsigned)geteuid(), PATHS_SOCKET_NAME);
}

char *paths_user_state(void)
{
	return below_home("XDG_STATE_HOME", ".local/state", "amlagent");
}

char *paths_user_config(void)
{
	return below_home("XDG_CONFIG_HOME", ".config", "amlagent/amlagentd.conf");
}

char *paths_state_socket(const char *state_dir)
{
	return path_join(state_dir, PATHS_SOCKET_NAME);
}

static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return mem_strdup(".");
	return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

/* In /tmp a link may have been put there by anybody, whoever it says it belongs to now. */
static bool others_can_write_beside(const char *path)
{
	_cleanup_(freep) char *dir = parent_of(path);
	struct stat st;

	return stat(dir, &st) < 0 || (st.st_mode & 022);
}

int paths_prepare_socket_dir(const char *socket_path, struct error *err)
{
	_cleanup_(freep) char *dir = parent_of(socket_path);
	struct stat st;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		int r = dir_make(dir, 0700);

		if (r < 0)
			return error_errno(
				err, r, dir, "cannot make the folder of the socket, %s", dir);
	}
	if (lstat(dir, &st) < 0)
		return error_errno(err, -errno, dir, "cannot look at %s", dir);
	if (S_ISLNK(st.st_mode) && others_can_write_beside(dir))
		return error_set(err, -EPERM, dir,
			"%s is a symbolic link in a folder that others can write to: refusing to put a "
			"socket there; remove it or set XDG_RUNTIME_DIR",
			dir);
	if (S_ISLNK(st.st_mode) && stat(dir, &st) < 0)
		return error_errno(err, -errno, dir, "cannot look at %s", dir);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return error_set(err, -EPERM, dir,
			"%s belongs to another user (uid %u): refusing to put a socket there; remove it or "
			"set XDG_RUNTIME_DIR",
			dir, (unsigned)st.st_uid);
	if ((st.st_mode & 022) && !(st.st_mode & S_ISVTX))
		return error_set(err, -EPERM, dir,
			"others can write to %s: refusing to put a socket there; chmod 700 it",
			dir);
	return 0;
}

static char *own_folder(void)
{
	char exe[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (size <= 0)
		return NULL;
	exe[size] = '\0';
	return parent_of(exe);
}

static char *find(const char *const *places, size_t count, const char *name, int mode)
{
	_cleanup_(freep) char *folder = own_folder();

	for (size_t i = 0; folder && i < count; i++) {
		_cleanup_(freep) char *place = path_join(folder, places[i]);
		_cleanup_(freep) char *joined = path_join(place, name);
		_cleanup_(freep) char *path = path_absolute(joined);

		if (path && access(path, mode) == 0)
			return TAKE(path);
	}
	return NULL;
}

char *paths_program(const char *name)
{
	static const char *const places[] = { ".", "../libexec/amlagent", AMLAGENT_LIBEXECDIR,
		"../bin" };

	return find(places, ARRAY_SIZE(places), name, X_OK);
}

char *paths_data(const char *name)
{
	static const char *const places[] = { "../docs", "../share/amlagent", AMLAGENT_DATADIR };

	return find(places, ARRAY_SIZE(places), name, R_OK);
}

/* The address of a socket by way of its folder's descriptor, which the caller closes. */
static int make_address(
	const char *path, struct sockaddr_un *ret, socklen_t *ret_size, int *ret_dir)
{
	_cleanup_(freep) char *dir = parent_of(path);
	_cleanup_(closep) int fd = -EBADF;
	const char *slash = strrchr(path, '/');

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*ret_size = sizeof(*ret);
	if (strlen(path) < sizeof(ret->sun_path)) {
		strcpy(ret->sun_path, path);
		*ret_dir = -EBADF;
		return 0;
	}
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if ((size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", fd,
		    slash ? slash + 1 : path) >= sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	*ret_dir = TAKE_FD(fd);
	return 0;
}

int unix_socket_connect(const char *path)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_(closep) int dir = -EBADF;
	struct sockaddr_un address;
	socklen_t size;
	int r;

	if (fd < 0)
		return -errno;
	r = make_address(path, &address, &size, &dir);
	if (r < 0)
		return r;
	while (connect(fd, (struct sockaddr *)&address, size) < 0)
		if (errno != EINTR)
			return -errno;
	return TAKE_FD(fd);
}

int unix_socket_listen(const char *path, unsigned mode)
{
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	_cleanup_(closep) int dir = -EBADF;
	struct sockaddr_un address;
	struct stat st;
	socklen_t size;
	int other;
	int r;

	if (fd < 0)
		return -errno;
	other = unix_socket_connect(path);
	if (other >= 0) {
		close(other);
		return -EADDRINUSE;
	}
	/* Only a socket that nobody listens on is replaced; any other file is somebody's. */
	if (other == -ECONNREFUSED && (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode)))
		return -EEXIST;
	if (other == -ECONNREFUSED && unlink(path) < 0)
		return -errno;
	r = make_address(path, &address, &size, &dir);
	if (r < 0)
		return r;
	/* The mode is set on the descriptor before bind: nobody can connect in between. */
	if (fchmod(fd, mode) < 0 || bind(fd, (struct sockaddr *)&address, size) < 0)
		return -errno;
	if (chmod(path, mode) < 0 || listen(fd, 511) < 0)
		return -errno;
	return TAKE_FD(fd);
}
