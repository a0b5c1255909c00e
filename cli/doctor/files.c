/* SPDX-License-Identifier: MIT */
/* files - what the file system of the state folder can do, tried for real; see doctor.h */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cli/doctor/doctor.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"

#define SLOW_FSYNC_US (200 * 1000)
#define ODD_NSEC 123456789

/* What a try is given: an empty folder for each, and where to leave a word about it. */
struct trial {
	int dirfd;
	int64_t fsync_us;
	int64_t grain_ns; /* of the times that files have */
};

static int make_file(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (write(fd, "x", 1) == 1)
		return fd;
	fd_close(fd);
	return errno ? -errno : -EIO;
}

static int result(int returned)
{
	return returned < 0 ? -errno : 0;
}

static int try_fsync(struct trial *trial)
{
	_cleanup_(closep) int fd = make_file(trial->dirfd, "a");
	int64_t began = clock_boot();
	int r = fd < 0 ? fd : file_fsync(fd);

	if (r >= 0)
		r = file_fsync(trial->dirfd);
	trial->fsync_us = clock_boot() - began;
	return r;
}

static int try_ofd_lock(struct trial *trial)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct flock ask = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_(closep) int fd = make_file(trial->dirfd, "a");
	_cleanup_(closep) int other = openat(trial->dirfd, "a", O_RDWR | O_CLOEXEC);

	if (fd < 0 || other < 0)
		return fd < 0 ? fd : -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0 || fcntl(other, F_OFD_GETLK, &ask) < 0)
		return -errno;
	return ask.l_type == F_UNLCK ? -ENOLCK : 0; /* else the other one sees it */
}

static int try_flock(struct trial *trial)
{
	_cleanup_(closep) int fd = make_file(trial->dirfd, "a");
	_cleanup_(closep) int other = openat(trial->dirfd, "a", O_RDWR | O_CLOEXEC);

	if (fd < 0 || other < 0)
		return fd < 0 ? fd : -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return flock(other, LOCK_EX | LOCK_NB) == 0 ? -ENOLCK : 0;
}

static int try_fifo(struct trial *trial)
{
	return result(mkfifoat(trial->dirfd, "a", 0600));
}

static int try_symlink(struct trial *trial)
{
	return result(symlinkat("nowhere", trial->dirfd, "a"));
}

/* SQLite's WAL index is shared by way of the file. */
static int try_mapping(struct trial *trial)
{
	_cleanup_(closep) int fd = make_file(trial->dirfd, "a");
	char *bytes;
	char seen = 0;

	if (fd < 0)
		return fd;
	bytes = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	bytes[0] = 'y';
	if (pread(fd, &seen, 1, 0) < 0)
		seen = 0;
	munmap(bytes, 1);
	return seen == 'y' ? 0 : -EIO;
}

static int try_mode(struct trial *trial)
{
	_cleanup_(closep) int fd = make_file(trial->dirfd, "a");
	struct stat st;

	if (fd < 0)
		return fd;
	if (fchmod(fd, 0444) < 0 || fstat(fd, &st) < 0)
		return -errno;
	return (st.st_mode & 07777) == 0444 ? 0 : -EOPNOTSUPP;
}

static int try_hard_link(struct trial *trial)
{
	_cleanup_(closep) int fd = make_file(trial->dirfd, "a");

	return fd < 0 ? fd : result(linkat(trial->dirfd, "a", trial->dirfd, "b", 0));
}

static int try_no_replace(struct trial *trial)
{
	_cleanup_(closep) int a = make_file(trial->dirfd, "a");
	_cleanup_(closep) int b = make_file(trial->dirfd, "b");

	if (a < 0 || b < 0)
		return a < 0 ? a : b;
	if (renameat2(trial->dirfd, "a", trial->dirfd, "b", RENAME_NOREPLACE) == 0)
		return -EOPNOTSUPP;
	if (errno != EEXIST)
		return -errno;
	return result(renameat2(trial->dirfd, "a", trial->dirfd, "c", RENAME_NOREPLACE));
}

static int try_tmpfile(struct trial *trial)
{
	_cleanup_(closep) int fd = openat(trial->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : 0;
}

static int try_reflink(struct trial *trial)
{
	_cleanup_(closep) int a = make_file(trial->dirfd, "a");
	_cleanup_(closep) int b = make_file(trial->dirfd, "b");

	if (a < 0 || b < 0)
		return a < 0 ? a : b;
	return result(ioctl(b, FICLONE, a));
}

/* What is left of an odd time tells how finely times are kept. */
static int try_times(struct trial *trial)
{
	static const int64_t grains[] = { 1, 100, 1000, 1000000, 10000000, 1000000000 };
	const struct timespec odd = { .tv_sec = 1600000001, .tv_nsec = ODD_NSEC };
	const struct timespec times[] = { odd, odd };
	_cleanup_(closep) int fd = make_file(trial->dirfd, "a");
	struct stat st;

	if (fd < 0)
		return fd;
	if (futimens(fd, times) < 0 || fstat(fd, &st) < 0)
		return -errno;
	trial->grain_ns = 2000000000;
	for (size_t i = 0; i < ARRAY_SIZE(grains); i++)
		if (st.st_mtim.tv_sec == odd.tv_sec &&
			st.st_mtim.tv_nsec == ODD_NSEC / grains[i] * grains[i]) {
			trial->grain_ns = grains[i];
			break;
		}
	return trial->grain_ns < 1000000000 ? 0 : -ERANGE;
}

/* loses NULL: nothing works without it. */
static const struct feature {
	const char *name;
	int (*try)(struct trial *trial);
	const char *loses;
} features[] = {
	{ "fsync", try_fsync, NULL },
	{ "OFD locks", try_ofd_lock, NULL },
	{ "flock", try_flock, NULL },
	{ "FIFOs", try_fifo, NULL },
	{ "shared mappings", try_mapping, NULL },
	{ "symbolic links", try_symlink, "snapshots that hold links cannot be laid out" },
	{ "file modes", try_mode, "executable bits of a snapshot are lost" },
	{ "hard links", try_hard_link, "outputs are copied into the store" },
	{ "rename without replacing", try_no_replace, "nothing: looked at first" },
	{ "fine times", try_times, "a file that changes twice in a second is read again" },
	{ "O_TMPFILE", try_tmpfile, "nothing: not needed" },
	{ "reflinks", try_reflink, "runs get copies of their files, which takes room" },
};

struct outcome {
	struct trial trial;
	char **works;  /* strv of names */
	char **lacks;  /* strv of "name (what is lost)" */
	char **broken; /* strv of "name (why)" */
};

static void outcome_release(struct outcome *outcome)
{
	strv_free(outcome->works);
	strv_free(outcome->lacks);
	strv_free(outcome->broken);
}

static void try_feature(int topfd, const struct feature *feature, struct outcome *outcome)
{
	_cleanup_(closep) int dirfd = -EBADF;
	int r = result(mkdirat(topfd, "try", 0700));

	if (r >= 0) {
		dirfd = openat(topfd, "try", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = result(dirfd);
	}
	outcome->trial.dirfd = dirfd;
	if (r >= 0)
		r = feature->try(&outcome->trial);
	if (r >= 0)
		strv_add(&outcome->works, feature->name);
	else if (feature->loses && r != -ENOSPC && r != -EDQUOT && r != -EIO)
		strv_addf(&outcome->lacks, "%s (%s)", feature->name, feature->loses);
	else
		strv_addf(&outcome->broken, "%s (%s)", feature->name, strerror(-r));
	tree_remove(topfd, "try");
}

/* Nothing may stay behind: an interrupt waits for the end of it. */
static int try_all(const char *state_dir, struct outcome *outcome)
{
	_cleanup_(freep) char *path = path_join(state_dir, ".doctor.XXXXXX");
	_cleanup_(closep) int topfd = -EBADF;
	sigset_t all, before;
	int r;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	r = mkdtemp(path) ? 0 : -errno;
	if (r >= 0) {
		topfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		for (size_t i = 0; topfd >= 0 && i < ARRAY_SIZE(features); i++)
			try_feature(topfd, &features[i], outcome);
		tree_remove(AT_FDCWD, path);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

static char *join(char *const *list)
{
	struct strbuf text = STRBUF_INIT;

	for (size_t i = 0; list && list[i]; i++)
		strbuf_addf(&text, "%s%s", i ? ", " : "", list[i]);
	return strbuf_steal(&text);
}

static void judge(const struct outcome *outcome, struct doctor_finding *ret)
{
	_cleanup_(freep) char *works = join(outcome->works);
	_cleanup_(freep) char *lacks = join(outcome->lacks);
	_cleanup_(freep) char *broken = join(outcome->broken);
	long long fsync_ms = (long long)outcome->trial.fsync_us / 1000;

	if (outcome->broken)
		doctor_problem(ret,
			"put the state folder on a local disk that works: --state-dir or XDG_STATE_HOME",
			"does not work: %s", broken);
	else if (outcome->trial.fsync_us > SLOW_FSYNC_US)
		doctor_note(ret, "each submit waits for it: a faster disk helps",
			"writing one file through to the disk takes %lld ms", fsync_ms);
	else if (outcome->lacks)
		doctor_ok(ret, "all that is needed works; not there: %s", lacks);
	else
		doctor_ok(ret, "%s", works);
}

void doctor_check_file_system(struct doctor *doctor, struct doctor_finding *ret)
{
	_cleanup_(outcome_release) struct outcome outcome = { 0 };
	struct stat st;
	int r;

	/* Files that root makes in another's folder are no trial, and nobody asked for the folder.
	 */
	if (stat(doctor->state_dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) {
		doctor_ok(ret, "not tried: there is no state folder of yours yet");
		return;
	}
	r = try_all(doctor->state_dir, &outcome);
	if (r < 0)
		doctor_problem(ret,
			r == -ENOSPC || r == -EDQUOT ? "make room" : "see the state folder, above",
			"cannot make a folder in %s: %s", doctor->state_dir, strerror(-r));
	else
		judge(&outcome, ret);
}
