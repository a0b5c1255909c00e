/* SPDX-License-Identifier: MIT */
/* state - the state folder: where, whose, on what, how much room; see doctor.h */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "cli/doctor/doctor.h"
#include "cli/table.h"
#include "common/mem.h"
#include "common/quantity.h"

#define SPACE_MIN (INT64_C(1) << 30)
#define SHARE_MIN 100 /* one part of so many */

#define ADVICE_SUDO "the system's: `sudo amlctl doctor` can look"

/* What is different about a file system. */
static const struct {
	const char *type;
	enum doctor_result result;
	const char *found, *advice;
} kinds[] = {
#define REMOTE(type) \
	{ \
		type, DOCTOR_NOTE, \
			"a network file system: locks and fsync are as good as the server", \
			"a local disk is safer and faster: --state-dir or XDG_STATE_HOME" \
	}
#define VOLATILE(type) \
	{ \
		type, DOCTOR_PROBLEM, "in memory: all runs are lost at the next reboot", \
			"put it on a disk: --state-dir or XDG_STATE_HOME" \
	}
	REMOTE("nfs"),
	REMOTE("nfs4"),
	REMOTE("cifs"),
	REMOTE("smb3"),
	REMOTE("9p"),
	REMOTE("afs"),
	REMOTE("ceph"),
	REMOTE("lustre"),
	REMOTE("fuse.sshfs"),
	REMOTE("fuse.glusterfs"),
	VOLATILE("tmpfs"),
	VOLATILE("ramfs"),
	{ "overlay", DOCTOR_NOTE, "a container's own layer: it goes when the container does",
		"put it on a volume, if runs are to stay" },
};

/* The nearest folder that is there: the one below it would be made in. malloc'ed. */
static char *nearest_existing(const char *path)
{
	char *dir = mem_strdup(path);
	char *slash;

	while (access(dir, F_OK) < 0 && (slash = strrchr(dir, '/'))) {
		if (slash == dir) {
			dir[1] = '\0';
			break;
		}
		*slash = '\0';
	}
	return dir;
}

static void judge_absent(const char *path, struct doctor_finding *ret)
{
	_cleanup_(freep) char *dir = nearest_existing(path);

	if (access(dir, W_OK | X_OK) < 0)
		doctor_problem(ret, "choose another with --state-dir or XDG_STATE_HOME",
			"%s is not there and cannot be made: %s: %s", path, dir, strerror(errno));
	else
		doctor_ok(ret, "%s is not there yet: the first daemon makes it", path);
}

/* The file system alone; `found` begins with the path and its type. */
static void judge_kind(const char *path, struct doctor_finding *ret)
{
	_cleanup_(doctor_mount_release) struct doctor_mount mount = { 0 };

	if (doctor_mount_of(path, &mount) < 0) {
		doctor_ok(ret, "%s", path);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].type, mount.type) != 0)
			continue;
		if (kinds[i].result == DOCTOR_PROBLEM)
			doctor_problem(ret, kinds[i].advice, "%s is on %s, %s", path, mount.type,
				kinds[i].found);
		else
			doctor_note(ret, kinds[i].advice, "%s is on %s, %s", path, mount.type,
				kinds[i].found);
		return;
	}
	doctor_ok(ret, "%s, yours alone, on %s", path, mount.type);
}

static void judge_existing(const struct doctor *doctor, const char *path, const struct stat *st,
	struct doctor_finding *ret)
{
	/* Users pass through the system's on the way to what is theirs. */
	mode_t closed = doctor->system ? 066 : 077;

	if (!S_ISDIR(st->st_mode))
		doctor_problem(ret, "move it away, or choose another with --state-dir",
			"%s is not a folder", path);
	else if (st->st_uid != geteuid() && geteuid() == 0)
		doctor_note(ret, "run this, and the daemon, as that user",
			"%s belongs to uid %u, and you are root", path, (unsigned)st->st_uid);
	else if (st->st_uid != geteuid())
		doctor_problem(ret, "chown it, or run this as that user",
			"%s belongs to uid %u, not to you", path, (unsigned)st->st_uid);
	else if (st->st_mode & closed)
		doctor_problem(ret,
			doctor->system
				? "chmod 711 it: whose runs there are is nobody else's affair"
				: "chmod 700 it: runs keep the environment of who submitted them",
			"others may look into %s (mode %04o)", path, st->st_mode & 07777);
	else if (access(path, R_OK | W_OK | X_OK) < 0)
		doctor_problem(ret,
			errno == EROFS ? "the file system is mounted read-only: `dmesg` may say why"
				       : "chmod 700 it",
			"%s cannot be written to: %s", path, strerror(errno));
	else
		judge_kind(path, ret);
}

void doctor_check_state_folder(struct doctor *doctor, struct doctor_finding *ret)
{
	const char *path = doctor->state_dir;
	struct stat st;

	if (doctor->system && geteuid() != 0)
		doctor_note(ret, ADVICE_SUDO, "%s is the system service's", path);
	else if (stat(path, &st) == 0)
		judge_existing(doctor, path, &st, ret);
	else if (errno == ENOENT)
		judge_absent(path, ret);
	else
		doctor_problem(ret, "choose another with --state-dir or XDG_STATE_HOME",
			"%s cannot be reached: %s", path, strerror(errno));
}

void doctor_check_space(struct doctor *doctor, struct doctor_finding *ret)
{
	static const char advice[] = "make room; a daemon that runs goes on by itself then";
	_cleanup_(freep) char *dir = nearest_existing(doctor->state_dir);
	_cleanup_(freep) char *text = NULL;
	struct statvfs fs;
	int64_t free_bytes;

	if (statvfs(dir, &fs) < 0) {
		doctor_problem(
			ret, NULL, "cannot ask for the free space of %s: %s", dir, strerror(errno));
		return;
	}
	free_bytes = (int64_t)(fs.f_bavail * fs.f_frsize);
	text = size_text(free_bytes);
	if (free_bytes < SPACE_MIN || fs.f_bavail < fs.f_blocks / SHARE_MIN)
		doctor_problem(ret, advice, "only %s (%.1f %%) free for %s", text,
			fs.f_blocks ? 100.0 * (double)fs.f_bavail / (double)fs.f_blocks : 0,
			doctor->state_dir);
	else if (fs.f_files && fs.f_favail < fs.f_files / SHARE_MIN)
		doctor_problem(ret, advice, "only %llu of %llu inodes free for %s",
			(unsigned long long)fs.f_favail, (unsigned long long)fs.f_files,
			doctor->state_dir);
	else
		doctor_ok(ret, "%s", text);
}
