/* SPDX-License-Identifier: MIT */
/* finish - the blocking part of a run's end; see finish.h */
#include "runs/finish.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/collect.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "runs/submission.h"

#define TAIL_MAX 4096

static char *read_log_tail(int dirfd)
{
	_cleanup_(closep) int fd =
		openat(dirfd, RUN_DIR_LOG, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char data[TAIL_MAX];
	struct stat st;
	ssize_t size;

	if (fd < 0 || fstat(fd, &st) < 0)
		return NULL;
	size = pread(fd, data, sizeof(data), st.st_size > TAIL_MAX ? st.st_size - TAIL_MAX : 0);
	return size > 0 ? verdict_log_tail(data, (size_t)size) : NULL;
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

void finish_carry_out(struct finish *finish)
{
	_cleanup_(closep) int dirfd = open(finish->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(freep) char *tail = dirfd < 0 ? NULL : read_log_tail(dirfd);
	struct error err = ERROR_INIT;
	struct collect_options options = { .run_dirfd = dirfd, .snapshot_id = finish->snapshot_id };
	int r;

	finish->facts.log_tail = tail;
	verdict_of(&finish->facts, &finish->verdict);
	finish->facts.log_tail = NULL;
	if (dirfd < 0) {
		error_errno(&err, -errno, NULL, "cannot open the run's folder");
		without_outputs(finish, &err);
		return;
	}
	options.move = finish->verdict.cause == RUN_CAUSE_NONE;
	r = collect_outputs(finish->store, &options, &finish->artifacts, &finish->warnings, &err);
	if (r < 0) {
		error_default(&err, r, "cannot collect the outputs");
		without_outputs(finish, &err);
	}
}

void finish_release(struct finish *finish)
{
	free(finish->verdict.message);
	finish->verdict.message = NULL;
	artifacts_release(&finish->artifacts);
	strv_free(finish->warnings);
	finish->warnings = NULL;
}

void finish_clean_up(const char *run_dir, bool keep_work)
{
	/* `exit` goes last: while it is there, the run is over and the rest can be done again. */
	static const char *const spent[] = { SUBMISSION_ENVIRONMENT, RUN_DIR_LAUNCH, RUN_DIR_STOP,
		RUN_DIR_CONTROL, RUN_DIR_STATUS, RUN_DIR_LOCK, RUN_DIR_EXIT };
	_cleanup_(closep) int dirfd = -EBADF;

	if (!keep_work) {
		tree_remove(AT_FDCWD, run_dir);
		return;
	}
	dirfd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; dirfd >= 0 && i < ARRAY_SIZE(spent); i++)
		unlinkat(dirfd, spent[i], 0);
}
