/* SPDX-License-Identifier: MIT */
/* process - what /proc/PID/stat says, and the list of processes; see process.h */
#include "common/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

/* Fields after the name in brackets, from "state" on; proc(5). */
enum {
	FIELD_STATE,
	FIELD_PARENT,
	FIELD_GROUP,
	FIELD_SESSION,
	FIELD_THREADS = 17,
	FIELD_START = 19,
	FIELD_COUNT
};

int process_open_list(void)
{
	int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int process_parse(const char *line, struct process *ret)
{
	const char *at = strrchr(line, ')'); /* the name itself may hold anything */
	long long fields[FIELD_COUNT];
	char state;
	pid_t pid;

	if (!at || at[1] != ' ' || !at[2])
		return -EBADMSG;
	pid = (pid_t)strtol(line, NULL, 10);
	state = at[2];
	at += 3;
	for (int i = FIELD_PARENT; i < FIELD_COUNT; i++) {
		char *end;

		fields[i] = strtoll(at, &end, 10);
		if (end == at)
			return -EBADMSG;
		at = end;
	}
	*ret = (struct process){
		.pid = pid,
		.parent = (pid_t)fields[FIELD_PARENT],
		.group = (pid_t)fields[FIELD_GROUP],
		.session = (pid_t)fields[FIELD_SESSION],
		.alive = (state != 'Z' && state != 'X') || fields[FIELD_THREADS] > 1,
		.stopped = state == 'T',
		.start = (uint64_t)fields[FIELD_START],
	};
	return 0;
}

static int read_text(int proc_fd, const char *name, char *to, size_t room)
{
	_cleanup_(closep) int fd = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t size;

	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	size = read(fd, to, room - 1);
	if (size < 0)
		return -errno;
	to[size] = '\0';
	return 0;
}

int process_read(int proc_fd, pid_t pid, struct process *ret)
{
	char name[32];
	char text[1024];
	int r;

	snprintf(name, sizeof(name), "%d/stat", (int)pid);
	r = read_text(proc_fd, name, text, sizeof(text));
	return r < 0 ? r : process_parse(text, ret);
}

int process_newest(int proc_fd, pid_t *ret)
{
	char text[128];
	int r = read_text(proc_fd, "loadavg", text, sizeof(text)); /* "0.1 0.2 0.3 1/234 5678" */
	const char *last = r < 0 ? NULL : strrchr(text, ' ');

	if (!last)
		return r < 0 ? r : -EBADMSG;
	*ret = (pid_t)strtol(last, NULL, 10);
	return 0;
}

static bool pid_of(const char *name, pid_t *ret)
{
	char *end;
	long value = strtol(name, &end, 10);

	if (*end || value <= 0)
		return false;
	*ret = (pid_t)value;
	return true;
}

/* Not opendir(), which allocates. The buffer is small so that a name is looked at soon after it was
 * listed. */
int process_each(int proc_fd, bool (*found)(void *data, pid_t pid), void *data)
{
	char buffer[2048] __attribute__((aligned(__alignof__(struct dirent64))));
	ssize_t size;

	if (lseek(proc_fd, 0, SEEK_SET) < 0)
		return -errno;
	while ((size = getdents64(proc_fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t at = 0; at < size;) {
			const struct dirent64 *entry = (const void *)(buffer + at);
			pid_t pid;

			if (pid_of(entry->d_name, &pid) && !found(data, pid))
				return 0;
			at += entry->d_reclen;
		}
	}
	return size < 0 ? -errno : 0;
}
