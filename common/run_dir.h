/* SPDX-License-Identifier: MIT */
/*
 * run_dir - the run directory: the contract between daemon and supervisor
 *
 * <state>/runs/<run_id>/, mode 0700 (in a daemon of one user):
 *
 *	launch          daemon, before the supervisor is started: what to run. Holds the submitter's
 *	                environment: mode 0600, removed when the run has ended
 *	lock            the supervisor holds a write lock on it (F_OFD_SETLK) for as long as it lives.
 *	                The daemon takes it and hands it over as descriptor RUN_DIR_LOCK_FD, so that
 *	                there is no moment without an owner; a supervisor without that one takes it
 *	                itself
 *	status          supervisor, replaced by rename: its pid and the child's, since when, boot id.
 *	                Written once before the command is started (child 0) and once it runs
 *	stop            daemon, replaced by rename: please stop, why, and the grace. Then one byte is
 *	                written to `control`, if somebody reads it. Once there it stays: a run that has
 *	                it is being canceled, whatever history had room for
 *	stop.spare      daemon, before the supervisor is started: room for `stop` on a disk that is full
 *	                by then (file_set_aside())
 *	control         FIFO, made by the daemon; the supervisor reads it. Bytes mean "look at `stop`"
 *	exit            supervisor, once, by rename, fsynced with its directory: the run is over, and how.
 *	                Its room is taken from the disk (exit.tmp) before the command is started
 *	exit.damaged    daemon: an `exit` that cannot be understood, kept for a look
 *	unowed          daemon, unowed.h: nobody needs the folder if history does not know the run
 *	std_log.txt     stdout and stderr of the command; also linked as work/user_logs/std_log.txt
 *	supervisor.log  what the supervisor could not do, if anything
 *	work/           the working directory
 *
 * The questions are asked in this order, so that nothing slips between them: lock held? the run
 * lives. Else exit there? it is over. Else status there? it is lost. Else it was never started.
 * Processes are signalled by the supervisor alone, but for two cases: what is left of a run whose
 * supervisor is dead (runs/strays.h), and a supervisor that somebody has stopped
 * (runs/supervisor_pulse.c).
 *
 * Every file but the log is records of "key=value", each ended by a NUL byte (values may hold
 * newlines), the first being "format=1". Keys unknown to a reader are skipped, and a reader takes
 * what is missing as not known: daemon and supervisor of neighbouring builds understand each other.
 * The parsers are pure and take any bytes (fuzzed); -EBADMSG for what is not such a file,
 * -EPROTONOSUPPORT for one of a format that is newer than ours.
 *
 * One key must not be skipped: a supervisor that does not know `user` would run a user's command as
 * root. A `launch` with a user is therefore of format 2, which such a one refuses before it has
 * started anything; one of format 1 with a user, or of format 2 without, is no `launch` (-EBADMSG).
 *
 * In the system service the directory is root's with the user's group, mode 0710, and the files are
 * root's, mode 0600; work/ and what is in it, and std_log.txt, are the user's.
 *
 * Part of the supervisor: no JSON, no digest, no stdio streams here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"
#include "common/identity.h"
#include "common/run_limits.h"
#include "common/strbuf.h"

#define RUN_DIR_FORMAT 1
#define RUN_DIR_FORMAT_AS_USER 2 /* of `launch` */
#define RUN_DIR_LAUNCH "launch"
#define RUN_DIR_LOCK "lock"
#define RUN_DIR_STATUS "status"
#define RUN_DIR_STOP "stop"
#define RUN_DIR_CONTROL "control"
#define RUN_DIR_EXIT "exit"
#define RUN_DIR_EXIT_DAMAGED "exit.damaged"
#define RUN_DIR_LOG "std_log.txt"
#define RUN_DIR_SUPERVISOR_LOG "supervisor.log"
#define RUN_DIR_WORK "work"
/* The name of the log among the run's artifacts, and below work/. */
#define RUN_LOG_ARTIFACT "user_logs/std_log.txt"
#define RUN_DIR_FILE_MAX (16u << 20)
#define RUN_DIR_LOCK_FD 3
/* The exit status of a supervisor that could not begin and has started nothing: this plus the errno
 * (at most RUN_DIR_ERRNO_MAX); there is no `status` then. */
#define RUN_DIR_CANNOT_BEGIN 64
#define RUN_DIR_ERRNO_MAX 133
/* In the environment of the command, from the supervisor: path_absolute() of the run directory.
 * When the supervisor is dead it is the proof that a process belongs to the run. */
#define RUN_DIR_VARIABLE "AMLAGENT_RUN_DIR"

#define RUN_CPU_WEIGHT_MAX 10000
#define RUN_CPU_WEIGHT_USUAL 100

/* What to run. */
struct run_launch {
	char **argv; /* argv[0] is an absolute path and is what is executed */
	char **env;
	char *cwd;        /* absolute, or relative to the run directory; "work" */
	char *cgroup;     /* cgroup v2 directory to make for the run's processes; NULL: none */
	int64_t limit_us; /* 0: none */
	int64_t grace_us; /* between the first signal and SIGKILL, for limit and leftovers */
	/* What its cgroup is to hold the run to, where that can be; 0: nothing. */
	int64_t memory_max; /* bytes, swap included */
	int64_t pids_max;
	int64_t cpu_weight; /* 1 to RUN_CPU_WEIGHT_MAX; the kernel's own is 100 */
	/* Who the command is: numbers alone (identity_parse()). NULL: as the supervisor. */
	struct identity *as;
	struct run_limits limits; /* the command's; none known: as the supervisor's */
};

void run_launch_release(struct run_launch *launch);
void run_launch_format(const struct run_launch *launch, struct strbuf *ret);
int run_launch_parse(const char *data, size_t size, struct run_launch *ret);

/* Who runs it. */
struct run_status {
	int64_t supervisor_pid;
	int64_t child_pid;   /* 0: not started yet */
	int64_t child_start; /* ticks since boot, as process.h has it; 0: not known */
	int64_t start_us;    /* UTC; 0 with child_pid 0 */
	char boot_id[37];
	char *cgroup; /* that the run's processes are in; NULL: none. Of a parsed one: malloc'ed */
};

void run_status_release(struct run_status *status);

void run_status_format(const struct run_status *status, struct strbuf *ret);
int run_status_parse(const char *data, size_t size, struct run_status *ret);

enum run_stop_why {
	RUN_STOP_NONE,
	RUN_STOP_LIMIT,    /* the supervisor's own timer */
	RUN_STOP_CANCEL,   /* the daemon asked */
	RUN_STOP_SHUTDOWN, /* the supervisor got SIGTERM: machine or session is going down */
	RUN_STOP_WHY_COUNT,
};

/* Please stop. */
struct run_stop {
	enum run_stop_why why;
	int64_t grace_us;
};

void run_stop_format(const struct run_stop *stop, struct strbuf *ret);
int run_stop_parse(const char *data, size_t size, struct run_stop *ret);

#define RUN_UNENFORCED_SIZE 64
#define RUN_UNENFORCED_MEMORY "memory"
#define RUN_UNENFORCED_PIDS "pids"
#define RUN_UNENFORCED_CPU "cpu"

/* How it ended. Times: UTC microseconds; durations: microseconds. */
struct run_exit {
	enum run_stop_why stopped; /* the stop that had been begun before the command ended */
	int exit_code;             /* -1 when a signal ended it or it never ran */
	int signal;                /* 0 when none */
	int exec_errno; /* the command could not be executed: a positive errno (EUSERS: its user's
			   own limits leave no room for it); else 0 */
	bool oom;       /* it died of SIGKILL while the kernel's out-of-memory killer was at work */
	int leftovers;  /* processes still there when the command had ended, stopped by us */
	int64_t start_us;
	int64_t end_us;  /* the command's end */
	int64_t gone_us; /* the last process's end */
	int64_t stop_us; /* the first signal of a stop; 0 when none */
	int64_t wall_us;
	int64_t user_us;
	int64_t system_us;
	int64_t peak_bytes;      /* the largest process's, or all of them together: peak_of_all */
	bool peak_of_all;        /* as the run's cgroup counted it */
	int64_t oom_kills;       /* in the run's cgroup; -1: nobody counted */
	int64_t disk_free_bytes; /* for the run's user, where its log is, at the command's end; -1 */
	/* What `launch` asked for and the cgroup (or the want of one) did not hold: of the words
	 * RUN_UNENFORCED_*, one space between them; "": nothing. */
	char unenforced[RUN_UNENFORCED_SIZE];
};

void run_exit_format(const struct run_exit *exit, struct strbuf *ret);
int run_exit_parse(const char *data, size_t size, struct run_exit *ret);
