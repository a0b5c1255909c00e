/* SPDX-License-Identifier: MIT */
/* stray_user - could a user signal a process himself? see stray_user.h */
#include "runs/stray_user.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/file.h"

/* It lists all groups of a process. */
#define STATUS_MAX (1u << 20)

int stray_user_owns(int processfd, uid_t uid)
{
	static const char key[] = "\nUid:";
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	unsigned real, effective, saved;
	int r = file_read(processfd, "status", STATUS_MAX, &text);
	const char *line = r < 0 || !text.size ? NULL : strstr(text.data, key);

	if (r < 0)
		return r == -ENOENT || r == -ESRCH ? 0 : r;
	if (!line || sscanf(line + sizeof(key) - 1, "%u %u %u", &real, &effective, &saved) != 3)
		return 0;
	return real == uid || saved == uid;
}

int stray_user_still_owns(int proc_fd, const struct process *process, uid_t uid)
{
	_cleanup_(closep) int fd = -EBADF;
	struct process now;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%d", (int)process->pid);
	fd = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	r = stray_user_owns(fd, uid);
	return r > 0 && process_read(proc_fd, process->pid, &now) == 0 &&
			       now.start == process->start
		       ? 1
		       : (r < 0 ? r : 0);
}

struct group_look {
	int proc_fd;
	pid_t group;
	uid_t uid;
	int result;
};

static bool look_at_member(void *data, pid_t pid)
{
	struct group_look *look = data;
	struct process process;

	if (process_read(look->proc_fd, pid, &process) < 0 || !process.alive ||
		process.group != look->group)
		return true;
	look->result = stray_user_still_owns(look->proc_fd, &process, look->uid);
	return look->result > 0;
}

int stray_user_owns_group(pid_t group, uid_t uid)
{
	_cleanup_(closep) int proc_fd = process_open_list();
	struct group_look look = { proc_fd, group, uid, 1 };
	int r = proc_fd < 0 ? proc_fd : process_each(proc_fd, look_at_member, &look);

	return r < 0 ? r : look.result;
}
