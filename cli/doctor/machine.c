/* SPDX-License-Identifier: MIT */
/* machine - kernel, limits, cgroups, clock; see doctor.h */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "cli/doctor/doctor.h"
#include "common/cgroup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"

#define TEXT_MAX 65536
#define FILES_FEW 4096
#define PROCESSES_FEW 512
#define WATCHES_FEW 8192
#define CLOCK_SLACK_US (60 * USEC_PER_SEC)

/* The first line; NULL when it cannot be read. */
static char *read_line(const char *path)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	if (file_read(AT_FDCWD, path, TEXT_MAX, &text) < 0)
		return NULL;
	return mem_strndup(text.data ? text.data : "", text.data ? strcspn(text.data, "\n") : 0);
}

/* ---- kernel ---- */

static bool has_pidfd(void)
{
	_cleanup_(closep) int fd = pidfd_open(getpid(), 0);

	return fd >= 0;
}

/* No arguments: refused as such where the call exists and is allowed. */
static bool has_clone3(void)
{
	return syscall(SYS_clone3, NULL, 0) < 0 && errno == EINVAL;
}

static bool has_inotify(void)
{
	_cleanup_(closep) int fd = inotify_init1(IN_CLOEXEC);

	return fd >= 0 || errno == EMFILE; /* the limits are another check's */
}

static bool has_boot_id(void)
{
	char id[37];

	return clock_boot_id(id) == 0;
}

void doctor_check_kernel(struct doctor *doctor, struct doctor_finding *ret)
{
	static const struct {
		const char *name;
		bool (*there)(void);
		const char *advice;
	} parts[] = {
		{ "pidfd_open", has_pidfd,
			"Linux 5.4 or newer is needed; a container may forbid it" },
		{ "inotify", has_inotify, "a kernel that has it is needed" },
		{ "the boot id", has_boot_id, "mount /proc: /proc/sys/kernel/random/boot_id" },
	};
	struct utsname name;

	(void)doctor;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (!parts[i].there()) {
			doctor_problem(ret, parts[i].advice, "%s is not there", parts[i].name);
			return;
		}
	uname(&name);
	if (has_clone3())
		doctor_ok(ret, "Linux %s: pidfd, clone3, inotify, boot id", name.release);
	else
		doctor_note(ret, "nothing: processes are put into their cgroup after their start",
			"Linux %s: no clone3 (a container may forbid it)", name.release);
}

/* ---- limits ---- */

static long long number_in(const char *path)
{
	_cleanup_(freep) char *line = read_line(path);

	return line ? strtoll(line, NULL, 10) : -1;
}

static rlim_t limit_of(__rlimit_resource_t resource, bool hard)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return RLIM_INFINITY;
	return hard ? limit.rlim_max : limit.rlim_cur;
}

/* 0: one more can be had. */
static int try_inotify(void)
{
	_cleanup_(closep) int fd = inotify_init1(IN_CLOEXEC);

	return fd < 0 ? -errno : 0;
}

void doctor_check_limits(struct doctor *doctor, struct doctor_finding *ret)
{
	rlim_t files = limit_of(RLIMIT_NOFILE, true);
	rlim_t processes = limit_of(RLIMIT_NPROC, false);
	long long watches = number_in("/proc/sys/fs/inotify/max_user_watches");
	long long instances = number_in("/proc/sys/fs/inotify/max_user_instances");

	(void)doctor;
	if (try_inotify() == -EMFILE)
		doctor_problem(ret,
			"raise fs.inotify.max_user_instances (sysctl), or end what uses them",
			"no inotify instance is left of %lld: no daemon can start", instances);
	else if (files < FILES_FEW)
		doctor_note(ret, "raise the hard limit (limits.conf, LimitNOFILE=)",
			"%llu open files at most: enough for some %llu runs at once",
			(unsigned long long)files, (unsigned long long)files / 8);
	else if (processes < PROCESSES_FEW)
		doctor_note(ret, "raise the limit (limits.conf, TasksMax=)",
			"%llu processes at most for you", (unsigned long long)processes);
	else if (watches >= 0 && watches < WATCHES_FEW)
		doctor_note(ret, "raise fs.inotify.max_user_watches (sysctl)",
			"%lld inotify watches at most", watches);
	else
		doctor_ok(ret,
			"%lld open files, %lld processes, %lld inotify instances, %lld watches",
			(long long)files, (long long)processes, instances, watches);
}

/* ---- cgroups ---- */

#define ADVICE_MEMORY \
	"all works; of a run's memory only its largest process is known, and no limit holds: have " \
	"the memory controller handed on (systemd: Delegate=memory) if you want them"
#define ADVICE_CGROUPS \
	"all works without but memory limits, and the certainty about processes that hide after " \
	"their supervisor itself was killed"

/* Ours, in the unified hierarchy: "0::/user.slice/..."; NULL: we are in none. */
static char *own_group(const char *root)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *line;

	if (file_read(AT_FDCWD, "/proc/self/cgroup", TEXT_MAX, &text) < 0 || !text.data)
		return NULL;
	line = !strncmp(text.data, "0::", 3) ? text.data : strstr(text.data, "\n0::");
	if (!line)
		return NULL;
	line += strcspn(line, "/");
	return mem_printf("%s%.*s", root, (int)strcspn(line, "\n"), line);
}

struct group_trial {
	int r; /* 0: one can be made */
	bool has_kill;
	bool has_memory;
};

static void try_group(const char *group, struct group_trial *ret)
{
	_cleanup_(freep) char *made = mem_printf("%s/amlagent-doctor-%d", group, (int)getpid());
	_cleanup_(freep) char *kill_file = path_join(made, "cgroup.kill");
	_cleanup_(freep) char *controllers = path_join(made, "cgroup.controllers");
	_cleanup_(freep) char *line = NULL;

	ret->r = mkdir(made, 0700) < 0 ? -errno : 0;
	if (ret->r < 0)
		return;
	ret->has_kill = access(kill_file, W_OK) == 0;
	line = read_line(controllers);
	ret->has_memory = line && strstr(line, "memory");
	rmdir(made);
}

/* The system service's, when it is there (common/cgroup.h): as it is, it is what runs get. */
static char *place_of_runs(const struct doctor *doctor, const char *root)
{
	_cleanup_(freep) char *place = doctor->system ? path_join(root, CGROUP_DELEGATED) : NULL;

	return place && access(place, F_OK) == 0 ? TAKE(place) : NULL;
}

static void judge_place(const char *place, struct doctor_finding *ret)
{
	_cleanup_(freep) char *path = path_join(place, "cgroup.subtree_control");
	_cleanup_(freep) char *controllers = read_line(path);

	if (controllers && strstr(controllers, "memory"))
		doctor_ok(ret, "v2, runs have a place of their own; controllers: %s", controllers);
	else
		doctor_note(ret, ADVICE_MEMORY,
			"v2, runs have a place of their own, the memory controller is not handed "
			"on; controllers there: %s",
			controllers && controllers[0] ? controllers : "none");
}

static void judge_own(const char *group, struct doctor_finding *ret)
{
	_cleanup_(freep) char *path = path_join(group, "cgroup.controllers");
	_cleanup_(freep) char *controllers = read_line(path);
	struct group_trial trial = { 0 };

	try_group(group, &trial);
	if (trial.r < 0)
		doctor_note(ret, ADVICE_CGROUPS, "v2, but you may make none in %s: %s", group,
			strerror(-trial.r));
	else if (!trial.has_memory || !trial.has_kill)
		doctor_note(ret, ADVICE_MEMORY, "v2, you may make some%s%s; controllers here: %s",
			trial.has_kill ? "" : ", no cgroup.kill (Linux 5.14)",
			trial.has_memory ? "" : ", the memory controller is not handed on",
			controllers && controllers[0] ? controllers : "none");
	else
		doctor_ok(ret, "v2, you may make some; controllers: %s", controllers);
}

void doctor_check_cgroups(struct doctor *doctor, struct doctor_finding *ret)
{
	_cleanup_(freep) char *root = doctor_mount_point("cgroup2");
	_cleanup_(freep) char *place = root ? place_of_runs(doctor, root) : NULL;
	_cleanup_(freep) char *group = root ? own_group(root) : NULL;

	if (place)
		judge_place(place, ret);
	else if (group)
		judge_own(group, ret);
	else
		doctor_note(
			ret, ADVICE_CGROUPS, "cgroup v2 is not mounted, or we are in none of it");
}

/* ---- clock ---- */

/* "Nov 22 2026", which the compiler writes. */
static int build_year(void)
{
	static const char date[] = __DATE__;

	return atoi(date + sizeof(date) - 5);
}

static int year_of(int64_t utc_us)
{
	char text[CLOCK_TEXT_SIZE];

	clock_format(utc_us, text);
	return atoi(text);
}

void doctor_check_clock(struct doctor *doctor, struct doctor_finding *ret)
{
	static const char advice[] = "set the clock, best by NTP (timedatectl)";
	const struct json *record = doctor->system && geteuid() != 0 ? NULL : doctor_record(doctor);
	const char *newest = json_string(json_get(json_get(record, "database"), "newest_run_utc"));
	int64_t now_us = clock_utc();
	int64_t newest_us = 0;
	char text[CLOCK_TEXT_SIZE];
	struct timespec boot;

	clock_format(now_us, text);
	if (newest && clock_parse(newest, &newest_us) < 0)
		newest_us = 0;
	if (year_of(now_us) < build_year())
		doctor_problem(ret, advice, "it is %s, before this program was built", text);
	else if (now_us + CLOCK_SLACK_US < newest_us)
		doctor_problem(ret, advice, "it is %s, before the newest run (%s)", text, newest);
	else if (clock_gettime(CLOCK_BOOTTIME, &boot) < 0)
		doctor_problem(ret,
			"time limits need it: a newer kernel, or a container that "
			"allows it",
			"CLOCK_BOOTTIME does not work: %s", strerror(errno));
	else
		doctor_ok(ret, "%s", text);
}
