/* SPDX-License-Identifier: MIT */
/* runs - the run folders, and the runs that should have one; see internal.h */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "check/internal.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/run_request.h"
#include "common/strv.h"
#include "common/unowed.h"

static bool is_there(int runs_fd, const char *name)
{
	struct stat st;

	return runs_fd >= 0 && fstatat(runs_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* As history has it now; -ENOENT when it has none. */
static int state_now(struct checking *c, const char *run_id, enum run_state *ret)
{
	int r = history_check_renew(c->history);

	return r < 0 ? r : history_check_run_state(c->history, run_id, ret);
}

/* A daemon removes the folder once it has written that the run is over: asked after it is gone,
 * history says so. */
static int check_live(struct checking *c, int runs_fd, const char *run_id)
{
	enum run_state state;
	int r;

	if (is_there(runs_fd, run_id))
		return 0;
	r = state_now(c, run_id, &state);
	if (r == 0 && !run_state_is_terminal(state))
		check_problem(c, CHECK_RUNS,
			mem_printf("run %s is %s and has no folder", run_id, run_state_name(state)),
			"it cannot go on: the next daemon says how it ended, else `amlctl cancel` it");
	return r == -ENOENT ? 0 : r;
}

/* The supervisor that holds the folder's lock; 0: nobody does, or it cannot be told who. */
static int64_t living_supervisor(int runs_fd, const char *run_id)
{
	_cleanup_(closep) int dirfd =
		openat(runs_fd, run_id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_(closep) int fd =
		dirfd < 0 ? -EBADF : openat(dirfd, RUN_DIR_LOCK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(run_status_release) struct run_status status = { 0 };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
		return 0;
	if (file_read(dirfd, RUN_DIR_STATUS, RUN_DIR_FILE_MAX, &text) < 0 ||
		run_status_parse(text.data, text.size, &status) < 0)
		return 0;
	return status.supervisor_pid;
}

static void tell_of_unknown(struct checking *c, int runs_fd, const char *run_id)
{
	int64_t supervisor = living_supervisor(runs_fd, run_id);

	if (supervisor)
		check_problem(c, CHECK_RUNS,
			mem_printf(
				"runs/%s is of a run that goes on and is not in history", run_id),
			"amlctl cannot stop it: `kill` the process amlagent-supervisor of this folder "
			"(supervisor_pid in its file status), which ends the run in order");
	else
		check_problem(c, CHECK_RUNS,
			mem_printf("runs/%s is of a run that is not in history", run_id),
			"the database may be of another time than the folder: restore the one that "
			"belongs to it, or, when you have taken from it what you need, remove it");
}

/* A submission unmarks its folder, and a delete marks it, where history tells the same. Once is not
 * enough: it may be in history when we look at the folder, and deleted when we ask again. */
static int check_folder(struct checking *c, int runs_fd, const char *run_id)
{
	for (int look = 0; look < 2; look++) {
		enum run_state state;
		int unowed, r = state_now(c, run_id, &state);

		if (r != -ENOENT)
			return r;
		unowed = unowed_look(runs_fd, run_id);
		c->report.folders_left += unowed > 0;
		if (unowed > 0 || unowed == -ENOENT)
			return 0;
	}
	tell_of_unknown(c, runs_fd, run_id);
	return 0;
}

static int check_folders(struct checking *c, DIR *dir)
{
	struct dirent *entry;
	int r = 0;

	while (r >= 0 && (errno = 0, entry = readdir(dir))) {
		if (!run_id_valid(entry->d_name))
			continue;
		c->report.folders++;
		if (check_has_runs(c))
			r = check_folder(c, dirfd(dir), entry->d_name);
	}
	return r < 0 ? r : -errno;
}

int check_runs(struct checking *c)
{
	_cleanup_(freep) char *path = path_join(c->options->state_dir, "runs");
	_cleanup_(closedirp) DIR *dir = opendir(path);
	int r = 0;

	if (!dir && errno != ENOENT)
		return error_errno(&c->err, -errno, path, "cannot look into %s", path);
	for (size_t i = 0; r >= 0 && c->live && c->live[i]; i++)
		r = check_live(c, dir ? dirfd(dir) : -EBADF, c->live[i]);
	if (r >= 0 && dir)
		r = check_folders(c, dir);
	if (r == -EBADMSG && !c->report.kept[CHECK_DATABASE])
		check_problem(c, CHECK_DATABASE, mem_strdup("not all rows can be read"),
			CHECK_ADVICE_DATABASE);
	if (r == -EBADMSG)
		return 0;
	if (c->report.folders_left && !c->report.in_use)
		check_note(c, CHECK_RUNS,
			mem_printf(
				"%lld folders of submissions that were not accepted, or of deleted runs",
				(long long)c->report.folders_left),
			"the next daemon removes them");
	return r < 0 ? error_errno(&c->err, r, path, "cannot check the run folders %s", path) : 0;
}
