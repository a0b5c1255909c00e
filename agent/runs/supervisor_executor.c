/* SPDX-License-Identifier: MIT */
/* supervisor_executor - the real executor: one amlagent-supervisor per run; see
 * supervisor_executor.h */
#include "runs/supervisor_executor.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cgroup.h"
#include "common/clock.h"
#include "common/fail_point.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/pid_watch.h"
#include "runs/run_folder.h"
#include "runs/strays.h"
#include "runs/supervisor_internal.h"
#include "runs/supervisor_spawn.h"
#include "runs/watch.h"

/* What no event tells is looked at so often. */
#define LOOK_MS 200

static void on_supervisor_ended(void *data);
static void on_timer(uv_timer_t *timer);

static struct supervisor_executor *cast(struct executor *executor)
{
	return container_of(executor, struct supervisor_executor, executor);
}

/* ---- a run in memory ---- */

/* Its log is his, in a folder that is not. */
static uid_t owner_of(int dirfd)
{
	struct stat st;

	return fstatat(dirfd, RUN_DIR_LOG, &st, AT_SYMLINK_NOFOLLOW) < 0 ? STRAY_ANYBODY
									 : st.st_uid;
}

static struct supervised *supervised_add(
	struct supervisor_executor *owner, const char *run_dir, int dirfd, void *data)
{
	struct supervised *run = NEW(struct supervised);

	run->owner = owner;
	run->run = data;
	run->exit_status = -1;
	run->dir = path_absolute(run_dir);
	run->dirfd = dirfd;
	run->uid = dirfd < 0 ? STRAY_ANYBODY : owner_of(dirfd);
	TAILQ_INSERT_TAIL(&owner->runs, run, all);
	supervisor_pulse_start(owner);
	return run;
}

static int supervised_new(
	struct supervisor_executor *owner, const char *run_dir, void *data, struct supervised **ret)
{
	_cleanup_(closep) int dirfd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return -errno;
	*ret = supervised_add(owner, run_dir, TAKE_FD(dirfd), data);
	return 0;
}

static void stop_watching(struct supervised *run)
{
	pid_watch_free(TAKE(run->supervisor));
	if (run->status)
		watch_remove(run->owner->watch, TAKE(run->status));
}

static void supervised_free(struct supervised *run)
{
	stop_watching(run);
	TAILQ_REMOVE(&run->owner->runs, run, all);
	fd_close(run->dirfd);
	free(run->dir);
	free(run);
}

static struct supervised *find(struct supervisor_executor *owner, const void *data)
{
	struct supervised *run;

	TAILQ_FOREACH(run, &owner->runs, all)
	if (run->run == data)
		return run;
	return NULL;
}

void supervisor_look_within(struct supervisor_executor *owner, uint64_t ms)
{
	if (!uv_is_active((uv_handle_t *)&owner->timer) || uv_timer_get_due_in(&owner->timer) > ms)
		uv_timer_start(&owner->timer, on_timer, ms, 0);
}

/* ---- what is known of it ---- */

/* What cannot be understood or looked at lives on: it is asked about again. */
static void ask(struct supervised *run, bool supervisor_ended)
{
	if ((supervisor_ended ? run_folder_ask_ended : run_folder_ask)(
		    run->dirfd, &run->stage, &run->exit) < 0)
		run->stage = EXECUTOR_LIVES;
	/* Somebody has removed the folder's content: what is known of it stays known. */
	if (run->stage == EXECUTOR_NEVER_STARTED && run->told_started)
		run->stage = EXECUTOR_LOST;
}

static void tell_started(struct supervised *run, int64_t start_us)
{
	if (run->told_started || !start_us)
		return;
	run->told_started = true;
	if (run->status)
		watch_remove(run->owner->watch, TAKE(run->status));
	run->owner->executor.events->started(run->run, start_us);
}

/* A pid is believed while the lock is held: held still when we have its pidfd, it is the holder's.
 */
static void attach(struct supervised *run, const struct run_status *status)
{
	struct supervisor_executor *owner = run->owner;

	if (run->supervisor || strcmp(status->boot_id, owner->boot_id))
		return;
	if (pid_watch_new(owner->loop, (pid_t)status->supervisor_pid, on_supervisor_ended, run,
		    &run->supervisor) == 0 &&
		!run_folder_is_locked(run->dirfd))
		pid_watch_free(TAKE(run->supervisor));
}

/* `status` may be new. */
static void look_at_status(struct supervised *run)
{
	_cleanup_(run_status_release) struct run_status status = { 0 };

	int r = run_folder_status(run->dirfd, &status);

	/* It is there and could not be read: no event will come again. */
	if (r < 0 && r != -ENOENT && run->stage == EXECUTOR_LIVES)
		supervisor_look_within(run->owner, LOOK_MS);
	if (r < 0)
		return;
	if (run->stage == EXECUTOR_LIVES)
		attach(run, &status);
	if (run->stage == EXECUTOR_LIVES || run->stage == EXECUTOR_LOST)
		tell_started(run, status.start_us);
}

void supervised_end(struct supervised *run, const struct run_exit *record, int64_t seen_us)
{
	const struct executor_events *events = run->owner->executor.events;
	struct run_exit exit = record ? *record : (struct run_exit){ 0 };
	void *data = run->run;

	supervised_free(run);
	events->ended(data, record ? &exit : NULL, seen_us);
}

/* ---- what is due ---- */

static void look_after_living(struct supervised *run)
{
	if (!run->supervisor && !run_folder_is_locked(run->dirfd))
		ask(run, false);
	look_at_status(run);
	if (run->stage != EXECUTOR_LIVES)
		supervisor_look_within(run->owner, 0);
	else if (!run->supervisor || (!run->told_started && !run->status))
		supervisor_look_within(run->owner, LOOK_MS);
}

static void look_after_ended(struct supervised *run)
{
	tell_started(run, run->exit.start_us);
	supervised_end(run, &run->exit, run->exit.gone_us);
}

static void log_reason(const struct supervised *run)
{
	_cleanup_(freep) char *words = run_folder_last_words(run->dirfd);
	bool signaled = run->exit_status > PID_WATCH_SIGNALED;

	log_error("%s: its supervisor ended without a verdict (%s %d): %s", run->dir,
		signaled ? "by signal" : "exit status",
		signaled ? run->exit_status - PID_WATCH_SIGNALED : run->exit_status,
		words ? words : "it left no reason");
}

/* Of a run from before the last start of the machine no process is left. */
static bool is_of_another_boot(const struct supervised *run)
{
	_cleanup_(run_status_release) struct run_status status = { 0 };

	return run_folder_status(run->dirfd, &status) == 0 && status.boot_id[0] &&
	       strcmp(status.boot_id, run->owner->boot_id) != 0;
}

static void look_after_lost(struct supervised *run)
{
	look_at_status(run);
	if (!run->seen_us)
		run->seen_us = run_folder_last_sign_us(run->dirfd);
	if (is_of_another_boot(run))
		supervised_end(run, NULL, run->seen_us);
}

static void look_after_unstarted(struct supervised *run)
{
	const struct executor_events *events = run->owner->executor.events;
	_cleanup_(freep) char *words = run_folder_last_words(run->dirfd);
	int number = run->exit_status - RUN_DIR_CANNOT_BEGIN;
	void *data = run->run;

	log_reason(run);
	supervised_free(run);
	events->not_started(data, number > 0 && number <= RUN_DIR_ERRNO_MAX ? -number : -EIO,
		words ? words : "its supervisor was killed");
}

static void look_after(struct supervised *run)
{
	static void (*const by_stage[EXECUTOR_FOUND_COUNT])(struct supervised * run) = {
		[EXECUTOR_LIVES] = look_after_living,
		[EXECUTOR_ENDED] = look_after_ended,
		[EXECUTOR_LOST] = look_after_lost,
		[EXECUTOR_NEVER_STARTED] = look_after_unstarted,
	};

	by_stage[run->stage](run);
}

/* ---- all of them ---- */

/* Events are told from here: they may start other runs, which go to the end of the list, and end
 * only the run that they are for. */
static void on_timer(uv_timer_t *timer)
{
	struct supervisor_executor *owner = container_of(timer, struct supervisor_executor, timer);
	struct supervised *run, *next;

	for (run = TAILQ_FIRST(&owner->runs); run; run = next) {
		next = TAILQ_NEXT(run, all);
		if (run->stage != EXECUTOR_LIVES || !run->supervisor || !run->told_started)
			look_after(run);
	}
	supervisor_sweep(owner);
}

static void on_supervisor_ended(void *data)
{
	struct supervised *run = data;

	run->exit_status = pid_watch_reap(run->supervisor);
	pid_watch_free(TAKE(run->supervisor));
	/* One that is lost already may be in the hands of a sweep, which ends it. */
	if (run->stage != EXECUTOR_LOST)
		ask(run, true);
	if (run->stage == EXECUTOR_LOST) {
		run->seen_us = clock_utc();
		log_reason(run);
		supervisor_look_within(run->owner, 0);
	} else {
		look_after(run);
	}
}

static void on_moved(void *data, const struct inotify_event *event)
{
	struct supervised *run = data;

	bool is_status = event->len && !strcmp(event->name, RUN_DIR_STATUS);

	if (run->stage == EXECUTOR_LIVES && (is_status || event->mask & IN_Q_OVERFLOW))
		look_at_status(run);
}

/* Where inotify has no room the timer looks. */
static void watch_status(struct supervised *run)
{
	watch_add(run->owner->watch, run->dir, IN_MOVED_TO, on_moved, run, &run->status);
}

/* ---- start ---- */

static int start_supervisor(struct supervised *run)
{
	const struct supervisor_executor *owner = run->owner;
	_cleanup_(closep) int cgroup_fd = owner->cgroup ? cgroup_open(owner->cgroup) : -EBADF;
	pid_t pid;
	int r = supervisor_spawn(owner->supervisor_path, run->dir, run->dirfd, cgroup_fd, &pid);

	if (r == -EALREADY)
		return 0; /* somebody runs it already: watched like one that was found */
	if (r < 0)
		return r;
	/* Not waited for yet, so the number is its own. No room for a pidfd: found by `status`
	 * later. */
	pid_watch_new(owner->loop, pid, on_supervisor_ended, run, &run->supervisor);
	return 0;
}

static int executor_start(struct executor *executor, const char *run_dir, void *data)
{
	struct supervisor_executor *owner = cast(executor);
	struct supervised *run = NULL;
	int r = supervised_new(owner, run_dir, data, &run);

	if (r < 0)
		return r;
	watch_status(run);
	r = start_supervisor(run);
	if (r < 0) {
		supervised_free(run);
		return r;
	}
	if (!run->supervisor || !run->status)
		supervisor_look_within(owner, LOOK_MS);
	return 0;
}

static int executor_look(struct executor *executor, const char *run_dir, enum executor_found *ret)
{
	_cleanup_(closep) int dirfd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct run_exit exit;

	(void)executor;
	if (dirfd < 0 && errno != ENOENT)
		return -errno;
	if (dirfd >= 0)
		return run_folder_ask(dirfd, ret, &exit);
	*ret = EXECUTOR_NEVER_STARTED;
	return 0;
}

static int executor_reattach(struct executor *executor, const char *run_dir, void *data)
{
	struct supervisor_executor *owner = cast(executor);
	struct supervised *run = NULL;
	int r = FAIL_POINT(FAIL_RECOVER_REATTACH, supervised_new(owner, run_dir, data, &run));

	if (r < 0)
		return r;
	ask(run, false);
	if (run->stage == EXECUTOR_LIVES)
		watch_status(run);
	supervisor_look_within(owner, 0);
	return 0;
}

static void executor_lose(struct executor *executor, const char *run_dir, void *data)
{
	struct supervisor_executor *owner = cast(executor);

	supervised_add(owner, run_dir, -EBADF, data)->stage = EXECUTOR_LOST;
	supervisor_look_within(owner, 0);
}

static int wake(const struct supervised *run)
{
	_cleanup_(closep) int fd = -EBADF;

	/* Without a reader it has ended, or will look for `stop` before it starts the command. */
	fd = openat(run->dirfd, RUN_DIR_CONTROL, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENXIO || errno == ENOENT ? 0 : -errno;
	/* A pipe that is full of bytes says the same. */
	return write(fd, "", 1) < 0 && errno != EAGAIN && errno != EPIPE ? -errno : 0;
}

static int executor_stop(struct executor *executor, void *data, const struct run_stop *stop)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct supervised *run = find(cast(executor), data);
	int r;

	if (!run)
		return -ESRCH;
	run_stop_format(stop, &text);
	r = FAIL_POINT(FAIL_STOP_WRITE,
		file_replace(run->dirfd, RUN_DIR_STOP, text.data, text.size, 0600, FILE_NO_SYNC));
	if (r == -ENOENT) { /* the directory has been removed: nobody can be asked */
		run->stage = EXECUTOR_LOST;
		supervisor_look_within(run->owner, 0);
		return 0;
	}
	return r < 0 ? r : FAIL_POINT(FAIL_STOP_WAKE, wake(run));
}

/* ---- made and freed ---- */

void supervisor_handle_closed(struct supervisor_executor *owner)
{
	void (*freed)(void *data) = owner->freed;
	void *data = owner->freed_data;

	if (--owner->closing)
		return;
	free(owner->supervisor_path);
	free(owner->cgroup);
	free(owner);
	if (freed)
		freed(data);
}

static void on_timer_closed(uv_handle_t *handle)
{
	supervisor_handle_closed(
		container_of((uv_timer_t *)handle, struct supervisor_executor, timer));
}

static void on_pulse_closed(uv_handle_t *handle)
{
	supervisor_handle_closed(
		container_of((uv_timer_t *)handle, struct supervisor_executor, pulse));
}

static void on_watch_freed(void *data)
{
	supervisor_handle_closed(data);
}

static void executor_free(struct executor *executor, void (*freed)(void *data), void *data)
{
	struct supervisor_executor *owner = cast(executor);
	struct supervised *run;

	while ((run = TAILQ_FIRST(&owner->runs)))
		supervised_free(run);
	owner->freed = freed;
	owner->freed_data = data;
	owner->closing = 3 + (owner->sweep != NULL);
	watch_free(owner->watch, on_watch_freed, owner);
	uv_close((uv_handle_t *)&owner->timer, on_timer_closed);
	uv_close((uv_handle_t *)&owner->pulse, on_pulse_closed);
}

int supervisor_executor_new(uv_loop_t *loop, const char *supervisor_path, const char *cgroup_parent,
	const struct executor_events *events, struct executor **ret)
{
	static const struct executor_ops ops = {
		.start = executor_start,
		.look = executor_look,
		.reattach = executor_reattach,
		.lose = executor_lose,
		.stop = executor_stop,
		.free = executor_free,
	};
	_cleanup_(freep) struct supervisor_executor *owner = NEW(struct supervisor_executor);
	int r = clock_boot_id(owner->boot_id);

	if (r >= 0)
		r = watch_new(loop, &owner->watch);
	if (r < 0)
		return r;
	owner->executor = (struct executor){ .ops = &ops, .events = events };
	owner->loop = loop;
	owner->supervisor_path = mem_strdup(supervisor_path);
	owner->cgroup = cgroup_parent ? path_join(cgroup_parent, CGROUP_SUPERVISORS_NAME) : NULL;
	TAILQ_INIT(&owner->runs);
	owner->sweep_ms = STRAYS_MS;
	uv_timer_init(loop, &owner->timer);
	uv_timer_init(loop, &owner->pulse);
	*ret = &TAKE(owner)->executor;
	return 0;
}
