/* SPDX-License-Identifier: MIT */
/* begin - from the name of a run directory to all that is needed to start; see begin.h */
#include "supervisor/begin.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/strv.h"
#include "supervisor/record.h"
#include "supervisor/tree.h"

/* 0, 1 and 2 are something: no file of ours gets such a number. */
static int open_standard_files(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int enter(struct beginning *begin)
{
	_cleanup_(freep) char *path = path_absolute(begin->run_dir);
	int r = open_standard_files();

	if (r < 0)
		return r;
	if (!path || chdir(path) < 0)
		return path ? -errno : -ENOENT;
	begin->run_dir = TAKE(path);
	return 0;
}

static bool is_lock(int fd)
{
	struct stat ours, there;

	return fstat(fd, &ours) == 0 && stat(RUN_DIR_LOCK, &there) == 0 &&
	       ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

/* The daemon may have locked it for us: there is then no moment without an owner. Locking it again
 * through the same open file is fine. */
static int take_lock(struct beginning *begin)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (is_lock(RUN_DIR_LOCK_FD))
		begin->lock_fd = fcntl(RUN_DIR_LOCK_FD, F_DUPFD_CLOEXEC, RUN_DIR_LOCK_FD + 1);
	else
		begin->lock_fd =
			open(RUN_DIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (begin->lock_fd < 0)
		return -errno;
	if (fcntl(begin->lock_fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EALREADY : -errno;
}

static int refuse_second_start(struct beginning *begin)
{
	static const char *const marks[] = { RUN_DIR_EXIT, RUN_DIR_STATUS };

	(void)begin;
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
		if (faccessat(AT_FDCWD, marks[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return -EALREADY;
		if (errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* Nothing of whoever started us is kept open. */
static int leave_caller(struct beginning *begin)
{
	setsid(); /* fails where we lead a session already */
	if (begin->lock_fd > 3 && close_range(3, (unsigned)begin->lock_fd - 1, 0) < 0)
		return -errno;
	if (close_range((unsigned)begin->lock_fd + 1, ~0u, 0) < 0)
		return -errno;
	return 0;
}

static int take_over(struct beginning *begin)
{
	return FAIL_POINT(FAIL_SUPERVISOR_BEGIN, leave_caller(begin));
}

static int read_launch(struct beginning *begin)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(AT_FDCWD, RUN_DIR_LAUNCH, RUN_DIR_FILE_MAX, &text);

	if (r >= 0)
		r = run_launch_parse(text.data, text.size, &begin->launch);
	if (r >= 0)
		env_set(&begin->launch.env, RUN_DIR_VARIABLE, begin->run_dir);
	return r;
}

static int open_files(struct beginning *begin)
{
	return child_open(&begin->launch, &begin->files);
}

static int open_sources(struct beginning *begin)
{
	return sources_open(&begin->sources);
}

static int open_tree(struct beginning *begin)
{
	(void)begin;
	return tree_open();
}

static int read_boot_id(struct beginning *begin)
{
	return clock_boot_id(begin->boot_id);
}

int begin(const char *run_dir, struct beginning *ret)
{
	static const struct {
		int (*take)(struct beginning *begin);
		const char *what;
	} steps[] = {
		{ take_lock, "lock the run directory" },
		{ take_over, "close the caller's descriptors" },
		{ refuse_second_start, "look for an earlier start" },
		{ open_sources, "take signals" },
		{ read_launch, "read launch" },
		{ open_files, "open the log or the working directory" },
		{ open_tree, "open /proc" },
		{ read_boot_id, "read the boot id" },
	};

	int r;

	*ret = (struct beginning){
		.run_dir = run_dir, .lock_fd = -EBADF, .files = CHILD_FILES_INIT
	};
	r = enter(ret);
	if (r < 0) {
		dprintf(STDERR_FILENO, "%s: %s\n", run_dir, strerror(-r));
		return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		r = steps[i].take(ret);
		if (r == -EALREADY)
			return r;
		if (r < 0) {
			record_note("cannot %s: %s", steps[i].what, strerror(-r));
			return r;
		}
	}
	return 0;
}
