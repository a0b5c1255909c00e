/* SPDX-License-Identifier: MIT */
/*
 * fail_point - the steps that can be made to fail, in a build that is made for it
 *
 *	r = FAIL_POINT(FAIL_EXIT_SYNC, file_sync(fd));
 *
 * is the step and nothing else in an ordinary build. In one with -Dfail_points=true the
 * environment says what happens there (tests/chaos does):
 *
 *	AMLAGENT_FAIL      name=mode[:nth[:times]],...   from the nth time on (1), so many times (1;
 *	                   0: for ever)
 *	AMLAGENT_FAIL_LOG  a file; each time that a point is passed its name is appended as a line
 *
 *	mode     kill        SIGKILL to ourselves, before the step
 *	         kill-after  the same, when it is done
 *	         abort       abort() before the step
 *	         ENOSPC...   any errno by name: the step is not taken, this is its result
 *	         interrupt   every write and flush within it fails once with EINTR
 *	         short       every write within it takes only half of the bytes
 *	         delay-MS    waits, then takes the step
 *
 * Each step is durable, or begins something that a crash must not lose or do twice. The value of a
 * step is 0 or positive, or a negative errno. A point belongs to one kind of step. A mode
 * holds until its point is left: of points within each other only one should have one.
 *
 * Threads: any. Part of the supervisor: no heap.
 */
#pragma once

#include <sys/types.h>
#include <unistd.h>

/* clang-format off */
#define FAIL_POINTS(X) \
	/* amlagentd: a submission */ \
	X(SUBMIT_MAKE_DIR,     "submit.make_dir") \
	X(SUBMIT_ENVIRONMENT,  "submit.environment") \
	X(SUBMIT_SYNC_DIR,     "submit.sync_dir") \
	X(SUBMIT_ACCEPT,       "submit.accept") \
	/* a delete: before the commit of the history */ \
	X(DELETE_MARK,         "delete.mark") \
	/* the store */ \
	X(BLOB_WRITE,          "blob.write") \
	X(BLOB_FLUSH,          "blob.flush") \
	X(BLOB_PUBLISH,        "blob.publish") \
	X(BLOB_FLUSH_NAMES,    "blob.flush_names") \
	X(INDEX_WRITE,         "index.write") \
	/* the history: around the commit that makes it so */ \
	X(HISTORY_INSERT,      "history.insert") \
	X(HISTORY_PREPARE,     "history.prepare") \
	X(HISTORY_UPDATE,      "history.update") \
	X(HISTORY_FINISH,      "history.finish") \
	X(HISTORY_ARTIFACTS,   "history.artifacts") \
	X(HISTORY_PATCH,       "history.patch") \
	X(HISTORY_DELETE,      "history.delete") \
	X(HISTORY_MIGRATE,     "history.migrate") \
	/* from the queue to a supervisor */ \
	X(PREPARE_LAY_OUT,     "prepare.lay_out") \
	X(PREPARE_LOG,         "prepare.log") \
	X(PREPARE_CONTROL,     "prepare.control") \
	X(PREPARE_LAUNCH,      "prepare.launch") \
	X(START_LOCK,          "start.lock") \
	X(START_SPAWN,         "start.spawn") \
	/* while it runs, and after */ \
	X(STOP_WRITE,          "stop.write") \
	X(STOP_WAKE,           "stop.wake") \
	X(FINISH_READ_EXIT,    "finish.read_exit") \
	X(FINISH_COLLECT,      "finish.collect") \
	X(FINISH_CLEAN_UP,     "finish.clean_up") \
	X(RECOVER_REATTACH,    "recover.reattach") \
	/* amlagent-supervisor */ \
	X(SUPERVISOR_BEGIN,    "supervisor.begin") \
	X(EXIT_RESERVE,        "exit.reserve") \
	X(STATUS_WRITE,        "status.write") \
	X(CHILD_START,         "child.start") \
	X(STATUS_RUNNING,      "status.running") \
	X(TREE_TERM,           "tree.term") \
	X(TREE_KILL,           "tree.kill") \
	X(EXIT_WRITE,          "exit.write") \
	X(EXIT_SYNC,           "exit.sync") \
	X(EXIT_RENAME,         "exit.rename") \
	X(EXIT_SYNC_DIR,       "exit.sync_dir")
/* clang-format on */

#define FAIL_POINT_ENUM(point, name) FAIL_##point,
enum fail_point { FAIL_POINTS(FAIL_POINT_ENUM) FAIL_POINT_COUNT };
#undef FAIL_POINT_ENUM

#ifdef AMLAGENT_FAIL_POINTS

#define FAIL_POINT(point, step) \
	__extension__({ \
		int fail_result = fail_point_enter(point); \
		if (fail_result >= 0) \
			fail_result = (step); \
		fail_point_leave(point); \
		fail_result; \
	})

int fail_point_enter(enum fail_point point);
void fail_point_leave(enum fail_point point);

/* write() and fsync(), as the point that we are in wants them. */
ssize_t fail_point_write(int fd, const void *data, size_t size);
int fail_point_fsync(int fd);

/* What a program that we start is to be given, so that its points are set too. */
char *const *fail_point_environment(void);

#else

#define FAIL_POINT(point, step) (step)

static inline int fail_point_enter(enum fail_point point)
{
	(void)point;
	return 0;
}

static inline void fail_point_leave(enum fail_point point)
{
	(void)point;
}

static inline ssize_t fail_point_write(int fd, const void *data, size_t size)
{
	return write(fd, data, size);
}

static inline int fail_point_fsync(int fd)
{
	return fsync(fd);
}

static inline char *const *fail_point_environment(void)
{
	static char *const none[] = { NULL };

	return none;
}

#endif
