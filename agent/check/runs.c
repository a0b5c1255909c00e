/* SPDX-License-Identifier: MIT */
/* runs - the run folders, and the runs that should have one; see internal.h */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "check/internal.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/run_request.h"
#include "common/strv.h"

/* How long a folder may take to be removed. */
#define GOING_MS 3000
#define GOING_STEP_MS 20

static bool is_there(int runs_fd, const char *name)
{
	struct stat st;

	return runs_fd >= 0 && fstatat(runs_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool may_have_run(int runs_fd, const char *run_id)
{
	_cleanup_(freep) char *launch = path_join(run_id, RUN_DIR_LAUNCH);

	return is_there(runs_fd, launch);
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

/* A daemon deletes a run from history first and its folder then. */
static bool goes_away(const struct checking *c, int runs_fd, const char *run_id)
{
	const struct timespec pause = { .tv_nsec = GOING_STEP_MS * 1000000 };

	for (int waited = 0; may_have_run(runs_fd, run_id); waited += GOING_STEP_MS) {
		if (!c->report.in_use || waited >= GOING_MS)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

/* A folder is made before history hears of its run, and `launch` only after that: with `launch`,
 * and not in history when asked afterwards, it is nobody's. */
static int check_folder(struct checking *c, int runs_fd, const char *run_id)
{
	bool launched = may_have_run(runs_fd, run_id);
	enum run_state state;
	int r = state_now(c, run_id, &state);

	if (r != -ENOENT)
		return r;
	if (!launched || goes_away(c, runs_fd, run_id)) {
		c->report.folders_left++;
		return 0;
	}
	check_problem(c, CHECK_RUNS,
		mem_printf("runs/%s is of a run that is not in history", run_id),
		"the database may be of another time than the folder; when you have taken from it "
		"what you need, remove it");
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
	if (r == -EBADMSG)
		return 0; /* the damage has been told */
	if (c->report.folders_left && !c->report.in_use)
		check_note(c, CHECK_RUNS,
			mem_printf("%lld folders of submissions that were not accepted",
				(long long)c->report.folders_left),
			"the next daemon removes them");
	return r < 0 ? error_errno(&c->err, r, path, "cannot check the run folders %s", path) : 0;
}
