/* SPDX-License-Identifier: MIT */
/* supervisor_executor - the real executor: one amlagent-supervisor per run; see its header */
#include "runs/supervisor_executor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "runs/orphans.h"
#include "runs/watch.h"
#include "runs/work.h"

/* How often a supervisor that holds its lock and has not said its pid yet is looked at. */
#define LOOK_AGAIN_MS 20

/* One run that is watched. Freed when its handles are closed. */
struct task {
	struct supervisor_executor *owner;
	void *run; /* the caller's; NULL once forgotten */
	char *dir;
	int dirfd;
	int pidfd; /* of the supervisor */
	bool is_child; /* ours to reap */
	bool told_started;
	uv_poll_t poll;
	uv_timer_t timer;
	bool has_poll;
	int handles; /* open: poll, timer */
	struct watch_item *item;
	struct work work; /* orphans */
	bool work_busy;
	struct run_exit exit;
	bool exit_known;
	int64_t seen_us;
	LIST_ENTRY(task) entry;
};

struct supervisor_executor {
	struct executor base;
	uv_loop_t *loop;
	struct watch *watch;
	char *path;
	LIST_HEAD(, task) tasks;
	bool stopping;
	void (*freed)(void *data);
	void *freed_data;
};

static void look(struct task *task);

/* ---- life of a task ---- */

static void watch_freed(void *data)
{
	struct supervisor_executor *owner = data;
	void (*freed)(void *data) = owner->freed;
	void *freed_data = owner->freed_data;

	free(owner->path);
	free(owner);
	freed(freed_data);
}

static void free_if_last(struct supervisor_executor *owner)
{
	if (owner->stopping && LIST_EMPTY(&owner->tasks))
		watch_free(owner->watch, watch_freed, owner);
}

static void free_task(struct task *task)
{
	struct supervisor_executor *owner = task->owner;

	LIST_REMOVE(task, entry);
	fd_close(task->pidfd);
	fd_close(task->dirfd);
	free(task->dir);
	free(task);
	free_if_last(owner);
}

static void handle_closed(uv_handle_t *handle)
{
	struct task *task = handle->data;

	if (--task->handles == 0 && !task->work_busy)
		free_task(task);
}

static void forget(struct task *task)
{
	task->run = NULL;
	if (task->item)
		watch_remove(task->owner->watch, task->item);
	task->item = NULL;
	uv_close((uv_handle_t *)&task->timer, handle_closed);
	if (task->has_poll)
		uv_close((uv_handle_t *)&task->poll, handle_closed);
	task->has_poll = false;
}

static struct task *new_task(struct supervisor_executor *owner, const char *run_dir, void *run)
{
	struct task *task;
	int dirfd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return NULL;
	task = NEW(struct task);
	task->owner = owner;
	task->run = run;
	task->dir = mem_strdup(run_dir);
	task->dirfd = dirfd;
	task->pidfd = -EBADF;
	uv_timer_init(owner->loop, &task->timer);
	task->timer.data = task;
	task->handles = 1;
	LIST_INSERT_HEAD(&owner->tasks, task, entry);
	return task;
}

static struct task *find_task(struct supervisor_executor *owner, const void *run)
{
	struct task *task;

	LIST_FOREACH(task, &owner->tasks, entry)
		if (task->run == run)
			return task;
	return NULL;
}

/* ---- what the run directory says ---- */

static bool lock_is_held(const struct task *task)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_(closep) int fd = openat(task->dirfd, RUN_DIR_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool read_status(const struct task *task, struct run_status *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	return file_read(task->dirfd, RUN_DIR_STATUS, RUN_DIR_FILE_MAX, &text) == 0 &&
		run_status_parse(text.data, text.size, ret) == 0;
}

static bool read_exit(const struct task *task, struct run_exit *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	return file_read(task->dirfd, RUN_DIR_EXIT, RUN_DIR_FILE_MAX, &text) == 0 &&
		run_exit_parse(text.data, text.size, ret) == 0;
}

/* The log is the last thing that a run is known to have touched. */
static int64_t last_seen(const struct task *task)
{
	struct stat st;

	if (fstatat(task->dirfd, RUN_DIR_LOG, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return st.st_mtim.tv_sec * USEC_PER_SEC + st.st_mtim.tv_nsec / 1000;
}

/* ---- telling ---- */

static void tell_started(struct task *task, int64_t start_us)
{
	if (task->told_started || !start_us)
		return;
	task->told_started = true;
	task->owner->base.events->started(task->run, start_us);
}

static void tell_ended(struct task *task)
{
	void *run = task->run;
	struct run_exit exit = task->exit;
	bool known = task->exit_known;
	int64_t seen_us = task->seen_us;
	const struct executor_events *events = task->owner->base.events;

	if (known && !exit.exec_errno)
		tell_started(task, exit.start_us);
	forget(task);
	events->ended(run, known ? &exit : NULL, seen_us);
}

static void kill_orphans(struct work *work)
{
	struct task *task = container_of(work, struct task, work);

	orphans_kill(task->dir);
}

static void orphans_killed(struct work *work)
{
	struct task *task = container_of(work, struct task, work);

	task->work_busy = false;
	if (task->run)
		tell_ended(task);
	else if (!task->handles)
		free_task(task);
}

/* Nobody holds the lock: how did it end? The run is over for the caller when nothing of it is left. */
static void conclude(struct task *task)
{
	task->exit_known = read_exit(task, &task->exit);
	if (task->exit_known) {
		tell_ended(task);
		return;
	}
	log_warning("%s: its supervisor is gone without an exit record", task->dir);
	task->work_busy = true;
	work_queue(task->owner->loop, &task->work, kill_orphans, orphans_killed);
}

/* ---- watching ---- */

static void on_supervisor_gone(uv_poll_t *poll, int status, int events)
{
	struct task *task = container_of(poll, struct task, poll);
	siginfo_t info;

	(void)status;
	(void)events;
	uv_poll_stop(poll);
	if (task->is_child)
		waitid((idtype_t)P_PIDFD, (id_t)task->pidfd, &info, WEXITED | WNOHANG);
	if (!task->seen_us)
		task->seen_us = clock_utc();
	conclude(task);
}

static int watch_pidfd(struct task *task)
{
	int r = uv_poll_init(task->owner->loop, &task->poll, task->pidfd);

	if (r < 0)
		return r;
	task->poll.data = task;
	task->has_poll = true;
	task->handles++;
	return uv_poll_start(&task->poll, UV_READABLE, on_supervisor_gone);
}

static void on_dir_changed(void *data, const struct inotify_event *event)
{
	struct task *task = data;
	struct run_status status;

	if (!event->len || strcmp(event->name, RUN_DIR_STATUS) || !read_status(task, &status) ||
		!status.child_pid)
		return;
	/* That was all there is to learn here; the end comes by the pidfd. */
	watch_remove(task->owner->watch, task->item);
	task->item = NULL;
	tell_started(task, status.start_us);
}

static int watch_dir(struct task *task)
{
	return watch_add(
		task->owner->watch, task->dir, IN_MOVED_TO, on_dir_changed, task, &task->item);
}

/* ---- start ---- */

static int spawn(const struct supervisor_executor *owner, const struct task *task, pid_t *ret)
{
	_cleanup_(freep) char *log = path_join(task->dir, RUN_DIR_SUPERVISOR_LOG);
	char *argv[] = { owner->path, task->dir, NULL };
	char *env[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1);
	posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = -posix_spawn(ret, owner->path, &actions, &attributes, argv, env);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

static int start(struct executor *executor, const char *run_dir, void *run)
{
	struct supervisor_executor *owner = container_of(executor, struct supervisor_executor, base);
	struct task *task = new_task(owner, run_dir, run);
	pid_t pid;
	int r;

	if (!task)
		return -ENOENT;
	r = watch_dir(task);
	if (r >= 0)
		r = spawn(owner, task, &pid);
	if (r < 0) {
		forget(task);
		return r;
	}
	task->is_child = true;
	/* Not reaped yet, so this is the very process. */
	task->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	r = task->pidfd < 0 ? -errno : watch_pidfd(task);
	if (r < 0)
		log_error("%s: cannot watch its supervisor: %s", run_dir, strerror(-r));
	return 0;
}

/* ---- reattach ---- */

static void on_timer(uv_timer_t *timer)
{
	look(timer->data);
}

/* The pid is believed only while the lock is held, before and after the pidfd was opened. */
static bool open_supervisor(struct task *task, const struct run_status *status)
{
	char boot_id[37];

	if (clock_boot_id(boot_id) < 0 || strcmp(boot_id, status->boot_id))
		return false;
	task->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)status->supervisor_pid, 0);
	if (task->pidfd >= 0 && lock_is_held(task))
		return true;
	task->pidfd = fd_close(task->pidfd);
	return false;
}

/* A run of an earlier daemon: watch its supervisor, or conclude. Again until one of both. */
static void look(struct task *task)
{
	struct run_status status;

	if (!lock_is_held(task)) {
		task->seen_us = last_seen(task);
		conclude(task);
		return;
	}
	if (!read_status(task, &status) || !open_supervisor(task, &status) || watch_pidfd(task) < 0) {
		uv_timer_start(&task->timer, on_timer, LOOK_AGAIN_MS, 0);
		return;
	}
	if (status.child_pid)
		tell_started(task, status.start_us);
	else if (watch_dir(task) == 0)
		on_dir_changed(task, &(struct inotify_event){ 0 });
}

static enum executor_found reattach(struct executor *executor, const char *run_dir, void *run)
{
	struct supervisor_executor *owner = container_of(executor, struct supervisor_executor, base);
	struct task *task = new_task(owner, run_dir, run);
	enum executor_found found = EXECUTOR_NEVER_STARTED;

	if (!task)
		return found;
	if (lock_is_held(task))
		found = EXECUTOR_LIVES;
	else if (faccessat(task->dirfd, RUN_DIR_EXIT, F_OK, 0) == 0)
		found = EXECUTOR_ENDED;
	else if (faccessat(task->dirfd, RUN_DIR_STATUS, F_OK, 0) == 0)
		found = EXECUTOR_LOST;
	if (found == EXECUTOR_NEVER_STARTED)
		forget(task);
	else
		uv_timer_start(&task->timer, on_timer, 0, 0);
	return found;
}

/* ---- stop ---- */

static int stop(struct executor *executor, void *run, const struct run_stop *stop)
{
	struct supervisor_executor *owner = container_of(executor, struct supervisor_executor, base);
	struct task *task = find_task(owner, run);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(closep) int control = -EBADF;
	int r;

	if (!task)
		return -ESRCH;
	run_stop_format(stop, &text);
	r = file_replace(task->dirfd, RUN_DIR_STOP, text.data, text.size, 0600, FILE_NO_SYNC);
	if (r < 0)
		return r;
	/* Nobody reads it before the supervisor looks for `stop` itself: no word is lost. */
	control = openat(task->dirfd, RUN_DIR_CONTROL, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (control >= 0 && write(control, "s", 1) < 0)
		r = errno == EAGAIN || errno == EPIPE ? 0 : -errno;
	return r;
}

static void executor_free(struct executor *executor, void (*freed)(void *data), void *data)
{
	struct supervisor_executor *owner = container_of(executor, struct supervisor_executor, base);
	struct task *task;

	owner->freed = freed;
	owner->freed_data = data;
	owner->stopping = true;
	LIST_FOREACH(task, &owner->tasks, entry)
		if (task->run)
			forget(task);
	free_if_last(owner);
}

int supervisor_executor_new(uv_loop_t *loop, const char *supervisor_path,
	const struct executor_events *events, struct executor **ret)
{
	static const struct executor_ops ops = { start, reattach, stop, executor_free };
	struct supervisor_executor *owner = NEW(struct supervisor_executor);
	int r = watch_new(loop, &owner->watch);

	if (r < 0) {
		free(owner);
		return r;
	}
	owner->base = (struct executor){ &ops, events };
	owner->loop = loop;
	owner->path = mem_strdup(supervisor_path);
	LIST_INIT(&owner->tasks);
	*ret = &owner->base;
	return 0;
}
