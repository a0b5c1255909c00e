/* SPDX-License-Identifier: MIT */
/* finish - the blocking part of a run's end; see finish.h */
#include "runs/finish.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/collect.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "common/unowed.h"
#include "runs/run_folder.h"

/* The working directory as the run's own getcwd() says it. */
static char *work_dir_of(const char *run_dir)
{
	_cleanup_(freep) char *real = realpath(run_dir, NULL);

	return path_join(real ? real : run_dir, RUN_DIR_WORK);
}

static int read_log_tail(int dirfd, const char *run_dir, struct log_tail *ret)
{
	_cleanup_(closep) int fd =
		openat(dirfd, RUN_DIR_LOG, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_(freep) char *data = mem_alloc(LOG_TAIL_BYTES);
	_cleanup_(freep) char *work_dir = work_dir_of(run_dir);
	struct stat st;
	off_t from;
	ssize_t size;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	from = st.st_size > LOG_TAIL_BYTES ? st.st_size - LOG_TAIL_BYTES : 0;
	do
		size = pread(fd, data, LOG_TAIL_BYTES, from);
	while (size < 0 && errno == EINTR);
	if (size < 0)
		return -errno;
	log_tail_read(data, (size_t)size, work_dir, ret);
	return 0;
}

/* Why nobody knows how it ended. A damaged record is kept for a look. */
static void look_for_loss(struct finish *finish, int dirfd)
{
	finish->facts.folder_gone = dirfd == -ENOENT;
	if (dirfd < 0)
		return;
	finish->damaged = run_folder_damaged_exit(dirfd);
	finish->facts.damaged = finish->damaged;
	if (finish->damaged)
		(void)renameat(dirfd, RUN_DIR_EXIT, dirfd, RUN_DIR_EXIT_DAMAGED);
}

static void give_verdict(struct finish *finish, int dirfd)
{
	struct log_tail tail = { 0 };
	int r = dirfd < 0 ? -EBADF : read_log_tail(dirfd, finish->run_dir, &tail);

	if (!finish->facts.exit)
		look_for_loss(finish, dirfd);
	finish->facts.log_tail = r < 0 ? NULL : &tail;
	verdict_of(&finish->facts, &finish->verdict);
	finish->facts.log_tail = NULL;
	finish->warnings = TAKE(finish->verdict.warnings);
	if (finish->facts.rebooted && finish->facts.exit)
		strv_add(&finish->warnings,
			"the machine was restarted before the log and the outputs were stored: if it "
			"lost power, what the run had just written may be missing; check them");
	log_tail_release(&tail);
}

static void without_outputs(struct finish *finish, const struct error *err)
{
	char *text = mem_printf("the outputs could not be stored: %s; the files are in %s/%s",
		err->message, finish->run_dir, RUN_DIR_WORK);

	artifacts_release(&finish->artifacts);
	if (finish->verdict.cause != RUN_CAUSE_NONE) {
		strv_take(&finish->warnings, text);
		return;
	}
	finish->verdict.cause = RUN_CAUSE_OUTPUT_ERROR;
	finish->verdict.message = text;
}

int finish_carry_out(struct finish *finish)
{
	_cleanup_(closep) int dirfd = open(finish->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = dirfd < 0 ? -errno : 0;
	struct error err = ERROR_INIT;
	struct collect_options options = {
		.run_dirfd = dirfd,
		.run_dir = finish->run_dir,
		.as = finish->as,
		.snapshot_id = finish->snapshot_id,
	};

	give_verdict(finish, r < 0 ? r : dirfd);
	if (r < 0) {
		error_errno(&err, r, NULL, "cannot open the run's folder");
		without_outputs(finish, &err);
		return r;
	}
	options.move = finish->verdict.cause == RUN_CAUSE_NONE && !finish->as;
	r = FAIL_POINT(FAIL_FINISH_COLLECT, collect_outputs(finish->store, &options,
						    &finish->artifacts, &finish->warnings, &err));
	if (r < 0) {
		error_default(&err, r, "cannot collect the outputs");
		without_outputs(finish, &err);
	}
	return r;
}

void finish_release(struct finish *finish)
{
	verdict_release(&finish->verdict);
	artifacts_release(&finish->artifacts);
	strv_free(finish->warnings);
	finish->warnings = NULL;
	free(finish->damaged);
	finish->damaged = NULL;
}

/* All else goes, half-written files too, which may hold the submitter's environment. The mark is that
 * of a delete, which may be under way: recovery removes one that counts no more. */
static bool is_for_a_look(const char *name)
{
	static const char *const kept[] = { ".", "..", RUN_DIR_WORK, RUN_DIR_LOG,
		RUN_DIR_SUPERVISOR_LOG, RUN_DIR_EXIT, RUN_DIR_EXIT_DAMAGED, UNOWED_MARK };

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (!strcmp(name, kept[i]))
			return true;
	return false;
}

/* `exit` goes last: while it is there, the run is over and the rest can be done again. */
static int remove_spent(const char *run_dir)
{
	_cleanup_(closedirp) DIR *dir = opendir(run_dir);
	int r = 0;

	if (!dir)
		return -errno;
	for (struct dirent *entry; (entry = readdir(dir));)
		if (!is_for_a_look(entry->d_name) && unlinkat(dirfd(dir), entry->d_name, 0) < 0)
			r = -errno;
	if (r == 0 && unlinkat(dirfd(dir), RUN_DIR_EXIT, 0) < 0 && errno != ENOENT)
		r = -errno;
	/* The environment does not come back with a loss of power. */
	return r < 0 ? r : file_fsync(dirfd(dir));
}

int finish_clean_up(const char *run_dir, bool keep_work)
{
	return FAIL_POINT(
		FAIL_FINISH_CLEAN_UP, keep_work ? remove_spent(run_dir) : unowed_remove(run_dir));
}
