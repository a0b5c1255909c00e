/* SPDX-License-Identifier: MIT */
/* cgroup_place - where the cgroups of runs are; see cgroup.h */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cgroup.h"
#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"

#define PROC_FILE_MAX (16u << 20)

/* Field number n (from 0) of a line of mountinfo, its \ooo undone. malloc'ed, NULL: none. */
static char *mount_field(const char *line, int n)
{
	char *field, *to;

	for (; n > 0 && line; n--) {
		line = strchr(line, ' ');
		line = line ? line + 1 : NULL;
	}
	if (!line)
		return NULL;
	field = to = mem_strndup(line, strcspn(line, " \n"));
	for (const char *from = field; *from; to++) {
		bool escaped = from[0] == '\\' && from[1] && from[2] && from[3];
		char digits[4] = { from[1], escaped ? from[2] : '\0', escaped ? from[3] : '\0' };

		*to = escaped ? (char)strtol(digits, NULL, 8) : *from;
		from += escaped ? 4 : 1;
	}
	*to = '\0';
	return field;
}

static bool is_cgroup2(const char *line)
{
	static const char mark[] = " - cgroup2 ";
	const char *end = strchrnul(line, '\n');
	const char *found = strstr(line, mark);

	return found && found < end;
}

/* The cgroup that we are in ("0::/a/b"), as it is named in the file system. malloc'ed. */
static char *own_path(const char *own)
{
	static const char gone[] = " (deleted)";
	const char *line = !strncmp(own, "0::", 3) ? own : strstr(own, "\n0::");
	_cleanup_(freep) char *path = NULL;
	size_t size;

	if (!line)
		return NULL;
	line = strchr(line, '/');
	path = line ? mem_strndup(line, strcspn(line, "\n")) : NULL;
	size = path ? strlen(path) : 0;
	if (size > sizeof(gone) && !strcmp(path + size - sizeof(gone) + 1, gone))
		return NULL;
	return TAKE(path);
}

/* Of a mount that shows the hierarchy from `root` on: where is the parent of our own cgroup? */
static char *beside_own(const char *mount_point, const char *root, const char *own)
{
	size_t size = strcmp(root, "/") ? strlen(root) : 0;
	const char *below, *last;

	if (!own || strncmp(own, root, size) != 0 || own[size] != '/' || strstr(own, "/.."))
		return NULL;
	below = own + size;
	last = strrchr(below, '/');
	if (!last[1]) /* we are in the topmost one: there is nothing beside it */
		return NULL;
	return mem_printf("%s%.*s/%s", mount_point, (int)(last - below), below, CGROUP_PARENT_NAME);
}

char *cgroup_choose_delegated(const char *mountinfo)
{
	for (const char *line = mountinfo; *line;) {
		_cleanup_(freep) char *point = is_cgroup2(line) ? mount_field(line, 4) : NULL;

		if (point)
			return path_join(point, CGROUP_DELEGATED);
		line = strchrnul(line, '\n');
		line += *line == '\n';
	}
	return NULL;
}

/* Of a mount that shows the hierarchy from `root` on: where is our own cgroup? */
static char *own_in_mount(const char *mount_point, const char *root, const char *own)
{
	size_t size = strcmp(root, "/") ? strlen(root) : 0;

	if (!own || strncmp(own, root, size) != 0 || own[size] != '/' || !own[size + 1] ||
		strstr(own, "/.."))
		return NULL;
	return path_join(mount_point, own + size + 1);
}

char *cgroup_locate_own(const char *mountinfo, const char *own)
{
	_cleanup_(freep) char *own_cgroup = own_path(own);

	for (const char *line = mountinfo; *line;) {
		_cleanup_(freep) char *top = is_cgroup2(line) ? mount_field(line, 3) : NULL;
		_cleanup_(freep) char *point = top ? mount_field(line, 4) : NULL;
		char *found = point ? own_in_mount(point, top, own_cgroup) : NULL;

		if (found)
			return found;
		line = strchrnul(line, '\n');
		line += *line == '\n';
	}
	return NULL;
}

char *cgroup_choose(const char *mountinfo, const char *own, bool root)
{
	_cleanup_(freep) char *own_cgroup = own_path(own);

	for (const char *line = mountinfo; *line;) {
		_cleanup_(freep) char *top = is_cgroup2(line) ? mount_field(line, 3) : NULL;
		_cleanup_(freep) char *point = top ? mount_field(line, 4) : NULL;
		char *chosen = NULL;

		if (point && root)
			chosen = path_join(point, CGROUP_PARENT_NAME);
		else if (point)
			chosen = beside_own(point, top, own_cgroup);
		if (chosen)
			return chosen;
		line = strchrnul(line, '\n');
		line += *line == '\n';
	}
	return NULL;
}

static char *path_above(const char *path)
{
	const char *slash = strrchr(path, '/');

	return mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Is it ours to make others in? */
static int take_parent(const char *path)
{
	_cleanup_(closep) int fd = cgroup_open(path);

	if (fd < 0)
		return fd;
	if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return -errno;
	cgroup_enable_controllers(fd);
	return 0;
}

/* The one above must be a cgroup already: no folder is left on another file system. */
static int make_parent(const char *path)
{
	_cleanup_(freep) char *above = path_above(path);
	_cleanup_(closep) int above_fd = cgroup_open(above);

	if (above_fd < 0)
		return above_fd;
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	return take_parent(path);
}

static int read_own(struct strbuf *mounts, struct strbuf *own)
{
	int r = file_read(AT_FDCWD, "/proc/self/mountinfo", PROC_FILE_MAX, mounts);

	if (r >= 0)
		r = file_read(AT_FDCWD, "/proc/self/cgroup", PROC_FILE_MAX, own);
	return r < 0 ? r : mounts->size && own->size ? 0 : -ENOENT;
}

char *cgroup_own(void)
{
	_cleanup_(strbuf_release) struct strbuf mounts = STRBUF_INIT, own = STRBUF_INIT;

	return read_own(&mounts, &own) < 0 ? NULL : cgroup_locate_own(mounts.data, own.data);
}

/* To start a process in a cgroup one must be allowed to write to the nearest that holds both. */
static bool may_start_below(const char *parent)
{
	_cleanup_(freep) char *above = path_above(parent);
	_cleanup_(freep) char *procs = path_join(above, "cgroup.procs");

	return faccessat(AT_FDCWD, procs, W_OK, AT_EACCESS) == 0;
}

/* It is there while amlagent-runs.service is; nobody else makes it. */
static char *find_delegated(const char *mounts)
{
	_cleanup_(freep) char *path = cgroup_choose_delegated(mounts);
	_cleanup_(freep) char *supervisors = NULL;

	if (!path || take_parent(path) < 0)
		return NULL;
	supervisors = path_join(path, CGROUP_SUPERVISORS_NAME);
	(void)mkdir(supervisors, 0755);
	return TAKE(path);
}

static char *find_auto(void)
{
	_cleanup_(strbuf_release) struct strbuf mounts = STRBUF_INIT, own = STRBUF_INIT;
	bool root = geteuid() == 0;
	char *path;

	if (read_own(&mounts, &own) < 0)
		return NULL;
	path = root ? find_delegated(mounts.data) : NULL;
	if (path)
		return path;
	path = cgroup_choose(mounts.data, own.data, root);
	if (path && may_start_below(path) && make_parent(path) >= 0)
		return path;
	free(path);
	return NULL;
}

int cgroup_find_parent(const char *setting, char **ret)
{
	bool is_auto = !strcmp(setting, CGROUP_PARENT_AUTO);
	_cleanup_(freep) char *path = is_auto ? find_auto() : NULL;

	if (!is_auto && strcmp(setting, CGROUP_PARENT_NONE)) {
		int r = setting[0] == '/' ? 0 : -EINVAL;

		path = r < 0 ? NULL : path_absolute(setting);
		r = r < 0 ? r : make_parent(path);
		if (r < 0)
			return r;
	}
	*ret = TAKE(path);
	return 0;
}
