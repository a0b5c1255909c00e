/* SPDX-License-Identifier: MIT */
/* process - the processes of a chaos run; see process.h */
#include "cli/chaos/process.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "cli/chaos/job.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"

#define TEXT_MAX (4u << 20) /* of an environment or a command line */
#define END_SECONDS 10
#define PAUSE_MS 2

void chaos_processes_release(struct chaos_processes *processes)
{
	free(processes->items);
	*processes = (struct chaos_processes){ 0 };
}

static bool holds(const struct strbuf *text, const char *needle)
{
	return text->size && memmem(text->data, text->size, needle, strlen(needle));
}

/* Of whom? The mark ends with the job's number. */
static int64_t job_number(const struct strbuf *environment, const char *folder)
{
	_cleanup_(freep) char *mark = mem_printf("%s=%s#", CHAOS_VARIABLE, folder);
	const char *at = environment->size
				 ? memmem(environment->data, environment->size, mark, strlen(mark))
				 : NULL;

	return at ? strtoll(at + strlen(mark), NULL, 10) : -1;
}

static void describe(struct chaos_process *process, struct strbuf *command)
{
	size_t size = command->size;

	for (size_t i = 0; i < size; i++)
		if (!isprint((unsigned char)command->data[i]))
			command->data[i] = ' ';
	snprintf(process->what, sizeof(process->what), "%.*s", (int)size,
		size ? command->data : "?");
}

/* By the daemon's or the run's mark, or by the supervisor's. Somebody who only looks into the folder
 * (an editor, tail -f) is none of ours. */
static bool is_marked(const struct strbuf *environment, const char *folder)
{
	_cleanup_(freep) char *mark = mem_printf("%s=%s", CHAOS_VARIABLE, folder);
	_cleanup_(freep) char *dir = mem_printf("%s=%s/", RUN_DIR_VARIABLE, folder);

	return holds(environment, mark) || holds(environment, dir);
}

/* One that ends meanwhile is none: a zombie has neither. */
static void look_at(
	int proc, const char *name, const char *folder, struct chaos_processes *processes)
{
	_cleanup_(strbuf_release) struct strbuf environment = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf command = STRBUF_INIT;
	struct chaos_process process = { .pid = (pid_t)atol(name) };
	_cleanup_(closep) int fd = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || process.pid == getpid() ||
		file_read(fd, "environ", TEXT_MAX, &environment) < 0 || !environment.size ||
		file_read(fd, "cmdline", TEXT_MAX, &command) < 0)
		return;
	if (!is_marked(&environment, folder))
		return;
	process.number = job_number(&environment, folder);
	describe(&process, &command);
	GROW(processes->items, processes->count, processes->room);
	processes->items[processes->count++] = process;
}

int chaos_processes_look(const char *folder, struct chaos_processes *ret, struct error *err)
{
	_cleanup_(closedirp) DIR *dir = opendir("/proc");
	struct dirent *entry;

	*ret = (struct chaos_processes){ 0 };
	if (!dir)
		return error_errno(err, -errno, "/proc", "cannot look at the processes in /proc");
	while ((entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]))
			look_at(dirfd(dir), entry->d_name, folder, ret);
	return 0;
}

int chaos_process_open(pid_t pid, const char *path)
{
	_cleanup_(strbuf_release) struct strbuf command = STRBUF_INIT;
	_cleanup_(freep) char *name = mem_printf("/proc/%d/cmdline", (int)pid);
	_cleanup_(closep) int fd = pidfd_open(pid, 0);

	if (fd < 0)
		return -errno;
	if (file_read(AT_FDCWD, name, TEXT_MAX, &command) < 0 || !holds(&command, path))
		return -ESRCH;
	return TAKE_FD(fd);
}

/* The letter of /proc/PID/stat; 'X' when it is gone. */
static char state_of(pid_t pid)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *name = mem_printf("/proc/%d/stat", (int)pid);
	const char *at;

	if (file_read(AT_FDCWD, name, TEXT_MAX, &text) < 0 || !text.size)
		return 'X';
	at = strrchr(text.data, ')');
	return at && at[1] == ' ' ? at[2] : 'X';
}

bool chaos_process_freeze(pid_t pid, int pidfd)
{
	struct pollfd wait = { pidfd, POLLIN, 0 };

	if (pidfd_send_signal(pidfd, SIGSTOP, NULL, 0) < 0)
		return false;
	while (state_of(pid) != 'T')
		if (poll(&wait, 1, 1) > 0)
			return false;
	return true;
}

/* Through a descriptor that was opened before the second look at it: numbers are given again. */
static void kill_one(pid_t pid, const char *folder)
{
	_cleanup_(chaos_processes_release) struct chaos_processes again = { 0 };
	_cleanup_(closep) int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closep) int fd = pidfd_open(pid, 0);
	char name[16];

	snprintf(name, sizeof(name), "%d", (int)pid);
	if (fd < 0 || proc < 0)
		return;
	look_at(proc, name, folder, &again);
	if (again.count)
		pidfd_send_signal(fd, SIGKILL, NULL, 0);
}

static int kill_seen(const char *folder, struct error *err)
{
	_cleanup_(chaos_processes_release) struct chaos_processes seen = { 0 };
	int r = chaos_processes_look(folder, &seen, err);

	for (size_t i = 0; r >= 0 && i < seen.count; i++)
		kill_one(seen.items[i].pid, folder);
	return r < 0 ? r : (int)seen.count;
}

/* A child that has not been waited for keeps its number. */
static void kill_children(void)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *name = mem_printf("/proc/self/task/%d/children", (int)getpid());
	char *at;
	long pid;

	if (file_read(AT_FDCWD, name, TEXT_MAX, &text) < 0 || !text.size)
		return;
	at = text.data;
	while ((pid = strtol(at, &at, 10)) > 0)
		kill((pid_t)pid, SIGKILL);
}

/* False: there is no child any more. */
static bool bury(void)
{
	pid_t pid;

	do
		pid = waitpid(-1, NULL, WNOHANG);
	while (pid > 0 || (pid < 0 && errno == EINTR));
	return pid == 0;
}

int chaos_processes_end(const char *folder, bool alone, struct error *err)
{
	int64_t end = clock_boot() + END_SECONDS * USEC_PER_SEC;
	int most = 0;

	for (;;) {
		bool children;
		int seen = kill_seen(folder, err);

		if (seen < 0)
			return seen;
		if (alone)
			kill_children();
		children = bury() && alone;
		most = seen > most ? seen : most;
		if (!seen && !children)
			return most;
		if (clock_boot() > end)
			return error_set(err, -EBUSY, folder,
				"%d processes of %s do not end on SIGKILL", seen, folder);
		poll(NULL, 0, PAUSE_MS);
	}
}
