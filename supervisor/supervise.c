/* SPDX-License-Identifier: MIT */
/* supervise - one run: start its command, hold its limit, stop its tree; see supervise.h */
#include "supervisor/supervise.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/fail_point.h"
#include "supervisor/begin.h"
#include "supervisor/oom.h"
#include "supervisor/record.h"
#include "supervisor/run_cgroup.h"
#include "supervisor/tree.h"

#define EXIT_CANNOT_BEGIN 1 /* and nobody can say why */
#define EXIT_STARTED_BEFORE 3

/* A look costs about a millisecond. New groups after so many of them: others get their turn. */
#define LOOKS_MAX 64
/* The same for children that end as fast as they are waited for. */
#define COLLECT_MAX 4096
/* Between two rounds of looks at a tree that is being killed. */
#define LOOK_MIN_US 1000
#define LOOK_MAX_US 100000
/* A look that takes so many times longer is broken off, so that the newest have their turn again.
 */
#define LOOK_PATIENCE 64
#define WRITE_RETRY_SECONDS 1
#define OOM_LEAST_KIB (64 << 10)

enum state {
	RUNNING,  /* the command runs */
	STOPPING, /* SIGTERM was sent: the grace */
	KILLING,  /* the grace is over: until nothing is left */
	OVER,
	STATE_COUNT,
};

enum event {
	COMMAND_ENDED, /* and others of the tree go on */
	ALL_GONE,
	DEADLINE,
	STOP_ASKED, /* `stop` says so */
	TERMINATED, /* SIGTERM came */
	EVENT_COUNT,
};

struct supervision {
	struct beginning begin;
	struct run_cgroup cgroup;
	int64_t limit_us, grace_us;
	enum state state;
	pid_t child;           /* 0 when none, or when it was waited for */
	int64_t boot_start_us; /* just before it was started, by clock_boot() */
	int64_t deadline_us;   /* of clock_boot(), whatever it is for */
	int64_t look_us;       /* KILLING: until the next look */
	int64_t oom_kills;     /* of the whole machine, at the start */
	bool child_killed;     /* the SIGKILL is ours */
	bool uncollected;      /* more children may have ended */
	struct run_stop stop;  /* the latest one read */
	struct run_exit exit;
};

/* Records are made in static memory; it holds the longest one. */
static char record_bytes[RECORD_MAX];

static int64_t later(int64_t from_us, int64_t by_us)
{
	int64_t sum;

	return __builtin_add_overflow(from_us, by_us, &sum) ? SOURCES_NO_DEADLINE : sum;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When it would be stopped for the limit. */
static int64_t limit_end(const struct supervision *s)
{
	return s->limit_us ? later(s->boot_start_us, s->limit_us) : SOURCES_NO_DEADLINE;
}

static void set_deadline(struct supervision *s, int64_t at_us)
{
	s->deadline_us = at_us;
	sources_set_deadline(&s->begin.sources, at_us);
}

/* ---- the records ---- */

static int write_status(struct supervision *s)
{
	struct strbuf text = { record_bytes, 0, sizeof(record_bytes) };
	struct run_status status = {
		.supervisor_pid = getpid(),
		.child_pid = s->child,
		.child_start = s->child ? tree_child_start(s->child) : 0,
		.start_us = s->exit.start_us,
		.cgroup = s->cgroup.path[0] ? s->cgroup.path : NULL,
	};

	strcpy(status.boot_id, s->begin.boot_id);
	run_status_format(&status, &text);
	return record_replace(RUN_DIR_STATUS, text.data, text.size);
}

static bool run_dir_is_gone(void)
{
	struct stat st;

	return stat(".", &st) < 0 || st.st_nlink == 0;
}

/* A verdict is not dropped for want of room: until it is written, the run is not over. */
static void write_exit(const struct supervision *s)
{
	struct strbuf text = { record_bytes, 0, sizeof(record_bytes) };
	const struct timespec pause = { .tv_sec = WRITE_RETRY_SECONDS };
	int noted = 0;
	int r;

	run_exit_format(&s->exit, &text);
	while ((r = record_commit(RUN_DIR_EXIT, text.data, text.size)) < 0) {
		if (run_dir_is_gone())
			return;
		if (r != noted)
			record_note("cannot write exit: %s; trying again", strerror(-r));
		noted = r;
		nanosleep(&pause, NULL);
	}
}

static bool read_stop(struct supervision *s)
{
	char text[RECORD_MAX];
	ssize_t size = record_read(RUN_DIR_STOP, text);

	return size >= 0 && run_stop_parse(text, (size_t)size, &s->stop) >= 0;
}

/* ---- the processes ---- */

static int64_t disk_free_bytes(void)
{
	struct statvfs st;

	/* The log is a file of the run directory, which is where we are. */
	if (statvfs(".", &st) < 0)
		return -1;
	return (int64_t)(st.f_bavail * st.f_frsize);
}

/* Without a cgroup that counts, only the machine's own count is known: it is believed of a process
 * that was large enough to be chosen. */
static bool was_out_of_memory(const struct supervision *s)
{
	struct run_exit of_cgroup = { 0 };
	struct rusage usage;

	run_cgroup_take_evidence(&s->cgroup, &of_cgroup);
	if (of_cgroup.oom_kills >= 0)
		return of_cgroup.oom_kills > 0;
	return getrusage(RUSAGE_CHILDREN, &usage) == 0 && usage.ru_maxrss >= OOM_LEAST_KIB &&
	       s->oom_kills >= 0 && oom_kill_count() > s->oom_kills;
}

static void command_ended(struct supervision *s, const siginfo_t *info)
{
	struct run_exit *exit = &s->exit;
	bool by_signal = info->si_code != CLD_EXITED;

	s->child = 0;
	exit->end_us = clock_utc();
	exit->wall_us = clock_boot() - s->boot_start_us;
	exit->exit_code = by_signal ? -1 : info->si_status;
	exit->signal = by_signal ? info->si_status : 0;
	exit->oom = exit->signal == SIGKILL && !s->child_killed && was_out_of_memory(s);
	exit->disk_free_bytes = disk_free_bytes();
}

/* Wait for those that have ended. False when there are no children. */
static bool collect(struct supervision *s, int64_t until_us)
{
	int count = 0;

	s->uncollected = false;
	do {
		siginfo_t info = { 0 };

		/* __WALL: also children made by clone() without a signal for their end. */
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) < 0)
			return errno == EINTR;
		if (info.si_pid == 0)
			return true;
		if (info.si_pid == s->child)
			command_ended(s, &info);
	} while (++count < COLLECT_MAX && clock_boot() < until_us);
	s->uncollected = true;
	return true;
}

static int signal_tree(struct supervision *s, const int *signals, size_t count, int64_t until_us)
{
	tree_begin();
	if (s->child)
		tree_signal_child(s->child, signals, count);
	for (int look = 0; look < LOOKS_MAX && clock_boot() < until_us; look++)
		if (!collect(s, until_us) || tree_signal(signals, count, until_us) <= 0)
			break;
	return 0;
}

/* What was asked for and could not be done is done by the grace's end, and there again and again.
 */
static void terminate_tree(struct supervision *s)
{
	/* A stopped process gets the first when it gets the second. */
	static const int signals[] = { SIGTERM, SIGCONT };

	(void)FAIL_POINT(
		FAIL_TREE_TERM, signal_tree(s, signals, ARRAY_SIZE(signals), s->deadline_us));
	run_cgroup_signal_guests(&s->cgroup, signals, ARRAY_SIZE(signals));
}

/* Who is in the cgroup dies at one instant. For the others: frozen first, since what does not run
 * does not fork while the rest is being ended. */
static int kill_tree(struct supervision *s, int64_t patience_us)
{
	static const int freeze[] = { SIGSTOP };
	static const int end[] = { SIGKILL };

	run_cgroup_kill(&s->cgroup);
	tree_begin();
	for (int look = 0; look < LOOKS_MAX && tree_signal_newest(freeze, 1) > 0; look++)
		;
	signal_tree(s, freeze, 1, clock_boot() + patience_us);
	return signal_tree(s, end, 1, clock_boot() + patience_us);
}

/* ---- what is done ---- */

static enum state stay(struct supervision *s)
{
	return s->state;
}

static enum state finish(struct supervision *s)
{
	(void)s;
	return OVER;
}

static enum state ask_to_end(struct supervision *s, int64_t grace_us)
{
	/* No stop is more patient than the limit, which had been asked for first. */
	set_deadline(s, sooner(later(clock_boot(), grace_us), later(limit_end(s), s->grace_us)));
	terminate_tree(s);
	return STOPPING;
}

static enum state begin_stop(struct supervision *s, enum run_stop_why why, int64_t grace_us)
{
	s->exit.stopped = why;
	s->exit.stop_us = clock_utc();
	return ask_to_end(s, grace_us);
}

static enum state stop_for_limit(struct supervision *s)
{
	return begin_stop(s, RUN_STOP_LIMIT, s->grace_us);
}

static enum state stop_as_asked(struct supervision *s)
{
	return begin_stop(s, s->stop.why, s->stop.grace_us);
}

static enum state stop_for_shutdown(struct supervision *s)
{
	return begin_stop(s, RUN_STOP_SHUTDOWN, s->grace_us);
}

static enum state stop_leftovers(struct supervision *s)
{
	int count = tree_count();

	s->exit.leftovers = (count > 0 ? count : 0) + run_cgroup_count_guests(&s->cgroup);
	return ask_to_end(s, s->grace_us);
}

/* Asked again: the grace can only become shorter. */
static enum state hurry(struct supervision *s)
{
	set_deadline(s, sooner(s->deadline_us, later(clock_boot(), s->stop.grace_us)));
	return STOPPING;
}

static enum state hurry_for_shutdown(struct supervision *s)
{
	set_deadline(s, sooner(s->deadline_us, later(clock_boot(), s->grace_us)));
	return STOPPING;
}

static enum state kill_all(struct supervision *s)
{
	s->child_killed |= s->child != 0;
	s->look_us = s->state == KILLING ? sooner(s->look_us * 2, LOOK_MAX_US) : LOOK_MIN_US;
	(void)FAIL_POINT(FAIL_TREE_KILL, kill_tree(s, s->look_us * LOOK_PATIENCE));
	set_deadline(s, clock_boot() + s->look_us);
	return KILLING;
}

typedef enum state (*action)(struct supervision *s);

static const action actions[STATE_COUNT][EVENT_COUNT] = {
	[RUNNING] = {
		[COMMAND_ENDED] = stop_leftovers,
		[ALL_GONE] = finish,
		[DEADLINE] = stop_for_limit,
		[STOP_ASKED] = stop_as_asked,
		[TERMINATED] = stop_for_shutdown,
	},
	[STOPPING] = {
		[COMMAND_ENDED] = stay,
		[ALL_GONE] = finish,
		[DEADLINE] = kill_all,
		[STOP_ASKED] = hurry,
		[TERMINATED] = hurry_for_shutdown,
	},
	[KILLING] = {
		[COMMAND_ENDED] = stay,
		[ALL_GONE] = finish,
		[DEADLINE] = kill_all,
		[STOP_ASKED] = stay,
		[TERMINATED] = stay,
	},
	[OVER] = { stay, stay, stay, stay, stay },
};

static void happen(struct supervision *s, enum event event)
{
	s->state = actions[s->state][event](s);
}

/* ---- what happens ---- */

/* No child of ours is left: what is still in the cgroup was put there by somebody else. */
static bool has_guests(struct supervision *s)
{
	if (!run_cgroup_is_populated(&s->cgroup))
		return false;
	s->begin.sources.cgroup_fd = s->cgroup.events_fd;
	return true;
}

static void reap(struct supervision *s)
{
	bool running = s->child != 0;
	/* While killing they come first: a look has to go over all that were not waited for. */
	bool left = collect(s, s->state == KILLING ? SOURCES_NO_DEADLINE : s->deadline_us) ||
		    has_guests(s);

	if (!left)
		happen(s, ALL_GONE);
	else if (running && !s->child)
		happen(s, COMMAND_ENDED);
}

static void run_loop(struct supervision *s)
{
	unsigned found = 0;

	while (s->state != OVER) {
		/* First: where all processes are told at once (a session ends), the command's end is
		 * its answer. */
		if (found & SOURCE_TERMINATE)
			happen(s, TERMINATED);
		reap(s);
		/* Where somebody has stopped us for a while both may be there, and the limit was first. */
		if (clock_boot() >= s->deadline_us)
			happen(s, DEADLINE);
		if (found & SOURCE_CONTROL && read_stop(s))
			happen(s, STOP_ASKED);
		found = sources_wait(&s->begin.sources, s->state != OVER && !s->uncollected);
	}
}

/* ---- start and end ---- */

static void start_failed(struct supervision *s, int error)
{
	s->exit.exec_errno = error;
	s->exit.end_us = clock_utc();
	s->state = OVER;
}

static int start_child(struct supervision *s)
{
	struct child_start start = { &s->begin.launch, &s->begin.files, s->cgroup.fd, 0 };
	int r = FAIL_POINT(FAIL_CHILD_START, child_start(&start, &s->child));

	if (start.cgroup_error) {
		run_cgroup_drop(&s->cgroup, start.cgroup_error);
		run_cgroup_limit(&s->cgroup, &s->begin.launch, s->exit.unenforced);
	}
	return r;
}

static void start_command(struct supervision *s)
{
	/* Taken first: it may have written its first lines before we are woken by its exec. */
	int64_t start_us = clock_utc();
	int64_t boot_start_us = clock_boot();
	int r = start_child(s);

	if (r < 0) {
		s->child = 0;
		start_failed(s, -r);
		return;
	}
	s->exit.start_us = start_us;
	s->boot_start_us = boot_start_us;
	r = FAIL_POINT(FAIL_STATUS_RUNNING, write_status(s));
	if (r < 0)
		record_note("cannot tell in status that the command runs: %s", strerror(-r));
	set_deadline(s, limit_end(s));
	s->oom_kills = oom_kill_count();
	oom_protect_self();
}

/* Asked to stop before it began: then it does not. */
static bool stopped_before(struct supervision *s)
{
	if (!read_stop(s))
		return false;
	s->exit.stopped = s->stop.why;
	s->exit.stop_us = s->exit.end_us = clock_utc();
	s->state = OVER;
	return true;
}

static void take_usage(struct run_exit *exit)
{
	struct rusage usage;

	if (getrusage(RUSAGE_CHILDREN, &usage) < 0)
		return;
	exit->user_us = usage.ru_utime.tv_sec * USEC_PER_SEC + usage.ru_utime.tv_usec;
	exit->system_us = usage.ru_stime.tv_sec * USEC_PER_SEC + usage.ru_stime.tv_usec;
	exit->peak_bytes = usage.ru_maxrss * INT64_C(1024);
}

/* From here on the run counts as started. */
static int enroll(struct supervision *s)
{
	/* Before anything of the run can fill the disk: its own output must not keep it from its end. */
	int r = FAIL_POINT(FAIL_EXIT_RESERVE, record_reserve(RUN_DIR_EXIT));

	if (r < 0) {
		record_note("cannot get room for exit: %s", strerror(-r));
		return r;
	}

	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		r = -errno;
		record_note("cannot become a subreaper: %s", strerror(-r));
		return r;
	}
	run_cgroup_plan(&s->cgroup, s->begin.launch.cgroup);
	r = FAIL_POINT(FAIL_STATUS_WRITE, write_status(s));
	if (r < 0) {
		record_note("cannot write status: %s", strerror(-r));
		return r;
	}
	run_cgroup_make(&s->cgroup);
	run_cgroup_limit(&s->cgroup, &s->begin.launch, s->exit.unenforced);
	return 0;
}

static int exit_status_of(int error)
{
	if (error == -EALREADY)
		return EXIT_STARTED_BEFORE;
	return -error <= RUN_DIR_ERRNO_MAX ? RUN_DIR_CANNOT_BEGIN - error : EXIT_CANNOT_BEGIN;
}

int supervise(const char *run_dir)
{
	static struct supervision s = {
		.cgroup = RUN_CGROUP_INIT,
		.deadline_us = SOURCES_NO_DEADLINE,
		.exit = { .exit_code = -1, .oom_kills = -1, .disk_free_bytes = -1 },
	};
	int r = begin(run_dir, &s.begin);

	if (r >= 0)
		r = enroll(&s);
	if (r < 0)
		return exit_status_of(r);
	s.limit_us = s.begin.launch.limit_us;
	s.grace_us = s.begin.launch.grace_us;
	if (!stopped_before(&s))
		start_command(&s);
	run_launch_release(&s.begin.launch);
	child_close(&s.begin.files);
	run_loop(&s);
	s.exit.gone_us = clock_utc();
	take_usage(&s.exit);
	run_cgroup_take_evidence(&s.cgroup, &s.exit);
	run_cgroup_remove(&s.cgroup);
	write_exit(&s);
	return 0;
}
