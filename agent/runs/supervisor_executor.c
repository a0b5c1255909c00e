/* SPDX-License-Identifier: MIT */
/* supervisor_executor - the real executor: one amlagent-supervisor per run; see
 * supervisor_executor.h */
#include "runs/supervisor_executor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/spawn.h"
#include "runs/pid_watch.h"
#include "runs/strays.h"
#include "runs/watch.h"

/* What no event tells is looked at so often. */
#define LOOK_MS 200
#define STRAYS_MS 10
#define RECORD_MAX 65536

enum stage {
	LIVES, /* the lock is held, or was when we looked */
	ENDED, /* `exit` was read */
	LOST,  /* its processes are being looked for */
};

struct supervised {
	TAILQ_ENTRY(supervised) all;
	struct supervisor_executor *owner;
	void *run; /* the caller's */
	char *dir; /* absolute */
	int dirfd;
	enum stage stage;
	struct pid_watch *supervisor; /* LIVES; NULL while its pid is not known */
	struct watch_item *status;    /* until it is known that the command runs */
	bool told_started;
	int64_t seen_us;
	struct run_exit exit;
};

struct supervisor_executor {
	struct executor executor;
	uv_loop_t *loop;
	char *supervisor_path;
	char boot_id[37];
	struct watch *watch;
	uv_timer_t timer;
	TAILQ_HEAD(supervised_list, supervised) runs;
	unsigned closing; /* handles that are to say so */
	void (*freed)(void *data);
	void *freed_data;
};

static void on_supervisor_ended(void *data);
static void on_timer(uv_timer_t *timer);

static struct supervisor_executor *cast(struct executor *executor)
{
	return container_of(executor, struct supervisor_executor, executor);
}

/* ---- the run directory ---- */

typedef int (*parse_record)(const char *data, size_t size, void *ret);

static int parse_exit(const char *data, size_t size, void *ret)
{
	return run_exit_parse(data, size, ret);
}

static int parse_status(const char *data, size_t size, void *ret)
{
	return run_status_parse(data, size, ret);
}

static int read_record(
	const struct supervised *run, const char *name, parse_record parse, void *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(run->dirfd, name, RECORD_MAX, &text);

	return r < 0 ? r : parse(text.data, text.size, ret);
}

static bool is_there(const struct supervised *run, const char *name)
{
	return faccessat(run->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* When in doubt it is held: a run is not declared dead because we have no descriptor left. */
static bool is_locked(const struct supervised *run)
{
	_cleanup_(closep) int fd =
		openat(run->dirfd, RUN_DIR_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0)
		return errno != ENOENT;
	return fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

static int64_t modified_us(const struct supervised *run, const char *name)
{
	struct stat st;

	if (fstatat(run->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return st.st_mtim.tv_sec * USEC_PER_SEC + st.st_mtim.tv_nsec / 1000;
}

/* When a run that nobody watched gave its last sign. */
static int64_t last_sign_us(const struct supervised *run)
{
	int64_t status_us = modified_us(run, RUN_DIR_STATUS);
	int64_t log_us = modified_us(run, RUN_DIR_LOG);

	return log_us > status_us ? log_us : status_us;
}

static void log_reason(const struct supervised *run, int code)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *reason = "it left no reason";

	if (file_read(run->dirfd, RUN_DIR_SUPERVISOR_LOG, RECORD_MAX, &text) == 0 && text.size)
		reason = text.data;
	log_error("%s: its supervisor ended without a verdict (exit status %d): %s", run->dir, code,
		reason);
}

/* ---- a run in memory ---- */

static int supervised_new(
	struct supervisor_executor *owner, const char *run_dir, void *data, struct supervised **ret)
{
	_cleanup_(freep) char *dir = path_absolute(run_dir);
	_cleanup_(closep) int dirfd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -ENOENT;
	struct supervised *run;

	if (dirfd < 0)
		return dir ? -errno : -ENOENT;
	run = NEW(struct supervised);
	run->owner = owner;
	run->run = data;
	run->dir = TAKE(dir);
	run->dirfd = TAKE_FD(dirfd);
	TAILQ_INSERT_TAIL(&owner->runs, run, all);
	*ret = run;
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

static void look_within(struct supervisor_executor *owner, uint64_t ms)
{
	if (!uv_is_active((uv_handle_t *)&owner->timer) || uv_timer_get_due_in(&owner->timer) > ms)
		uv_timer_start(&owner->timer, on_timer, ms, 0);
}

/* ---- what is known of it ---- */

static enum stage stage_of(struct supervised *run)
{
	int r;

	if (is_locked(run))
		return LIVES;
	r = read_record(run, RUN_DIR_EXIT, parse_exit, &run->exit);
	if (r == 0)
		return ENDED;
	/* A verdict that cannot be read just now (descriptors, memory, the disk) is asked for
	 * again. */
	return r == -ENOENT || r == -EBADMSG || r == -EFBIG ? LOST : LIVES;
}

/* The questions of run_dir.h, in their order. False: it was never started. */
static bool ask(struct supervised *run)
{
	run->stage = stage_of(run);
	return run->stage != LOST || is_there(run, RUN_DIR_STATUS) || is_there(run, RUN_DIR_EXIT);
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
		!is_locked(run))
		pid_watch_free(TAKE(run->supervisor));
}

/* `status` may be new. */
static void look_at_status(struct supervised *run)
{
	struct run_status status;

	if (read_record(run, RUN_DIR_STATUS, parse_status, &status) < 0)
		return;
	if (run->stage == LIVES)
		attach(run, &status);
	if (run->stage == LIVES || run->stage == LOST)
		tell_started(run, status.start_us);
}

static void end(struct supervised *run, const struct run_exit *record, int64_t seen_us)
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
	if (!run->supervisor && !is_locked(run))
		ask(run);
	look_at_status(run);
	if (run->stage != LIVES)
		look_within(run->owner, 0);
	else if (!run->supervisor || (!run->told_started && !run->status))
		look_within(run->owner, LOOK_MS);
}

static void look_after_ended(struct supervised *run)
{
	tell_started(run, run->exit.start_us);
	end(run, &run->exit, run->exit.gone_us);
}

/* The slot is free only when nothing of the run is left. */
static void look_after_lost(struct supervised *run)
{
	look_at_status(run);
	if (!run->seen_us)
		run->seen_us = last_sign_us(run);
	if (strays_kill(run->dir) == 0)
		end(run, NULL, run->seen_us);
	else
		look_within(run->owner, STRAYS_MS);
}

static void look_after(struct supervised *run)
{
	static void (*const by_stage[])(struct supervised * run) = {
		[LIVES] = look_after_living,
		[ENDED] = look_after_ended,
		[LOST] = look_after_lost,
	};

	by_stage[run->stage](run);
}

/* Events are told from here: they may start other runs, which go to the end of the list, and end
 * only the run that they are for. */
static void on_timer(uv_timer_t *timer)
{
	struct supervisor_executor *owner = container_of(timer, struct supervisor_executor, timer);
	struct supervised *run, *next;

	for (run = TAILQ_FIRST(&owner->runs); run; run = next) {
		next = TAILQ_NEXT(run, all);
		if (run->stage != LIVES || !run->supervisor || !run->told_started)
			look_after(run);
	}
}

static void on_supervisor_ended(void *data)
{
	struct supervised *run = data;
	int code = pid_watch_reap(run->supervisor);

	pid_watch_free(TAKE(run->supervisor));
	ask(run);
	if (run->stage == LOST) {
		run->seen_us = clock_utc();
		log_reason(run, code);
	}
	look_after(run);
}

static void on_moved(void *data, const struct inotify_event *event)
{
	struct supervised *run = data;

	if (run->stage == LIVES && event->len && !strcmp(event->name, RUN_DIR_STATUS))
		look_at_status(run);
}

/* Where inotify has no room the timer looks. */
static void watch_status(struct supervised *run)
{
	watch_add(run->owner->watch, run->dir, IN_MOVED_TO, on_moved, run, &run->status);
}

/* ---- start ---- */

/* Ours first, then the supervisor's, without a moment between. -EAGAIN: another one holds it. */
static int take_lock(const struct supervised *run)
{
	_cleanup_(closep) int fd =
		openat(run->dirfd, RUN_DIR_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EACCES ? -EAGAIN : -errno;
	return TAKE_FD(fd);
}

static int set_files(posix_spawn_file_actions_t *actions, const char *log_path, int lock_fd)
{
	int r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);

	if (!r)
		r = posix_spawn_file_actions_adddup2(actions, STDIN_FILENO, STDOUT_FILENO);
	if (!r)
		r = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, log_path,
			O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
	if (!r)
		r = posix_spawn_file_actions_adddup2(actions, lock_fd, RUN_DIR_LOCK_FD);
	if (!r)
		r = posix_spawn_file_actions_addclosefrom_np(actions, RUN_DIR_LOCK_FD + 1);
	return r;
}

static int spawn(const struct supervised *run, int lock_fd, pid_t *ret)
{
	_cleanup_(freep) char *log_path = path_join(run->dir, RUN_DIR_SUPERVISOR_LOG);
	char *argv[] = { run->owner->supervisor_path, run->dir, NULL };
	char *env[] = { NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	r = set_files(&actions, log_path, lock_fd);
	if (!r)
		r = spawn_set_attributes(&attributes, POSIX_SPAWN_SETSID);
	if (!r)
		r = posix_spawn(ret, argv[0], &actions, &attributes, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

static int start_supervisor(struct supervised *run)
{
	_cleanup_(closep) int lock_fd = take_lock(run);
	pid_t pid;
	int r;

	if (lock_fd == -EAGAIN)
		return 0; /* somebody runs it already: watched like one that was found */
	r = lock_fd < 0 ? lock_fd : spawn(run, lock_fd, &pid);
	if (r < 0)
		return r;
	/* Not waited for yet, so the number is its own. No room for a pidfd: found by `status`
	 * later. */
	pid_watch_new(run->owner->loop, pid, on_supervisor_ended, run, &run->supervisor);
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
		look_within(owner, LOOK_MS);
	return 0;
}

static enum executor_found executor_reattach(
	struct executor *executor, const char *run_dir, void *data)
{
	static const enum executor_found found[] = {
		[LIVES] = EXECUTOR_LIVES,
		[ENDED] = EXECUTOR_ENDED,
		[LOST] = EXECUTOR_LOST,
	};
	struct supervisor_executor *owner = cast(executor);
	struct supervised *run = NULL;

	if (supervised_new(owner, run_dir, data, &run) < 0)
		return EXECUTOR_NEVER_STARTED;
	if (!ask(run)) {
		supervised_free(run);
		return EXECUTOR_NEVER_STARTED;
	}
	if (run->stage == LIVES)
		watch_status(run);
	look_within(owner, 0);
	return found[run->stage];
}

static int executor_stop(struct executor *executor, void *data, const struct run_stop *stop)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(closep) int fd = -EBADF;
	struct supervised *run = find(cast(executor), data);
	int r;

	if (!run)
		return -ESRCH;
	run_stop_format(stop, &text);
	r = file_replace(run->dirfd, RUN_DIR_STOP, text.data, text.size, 0600, FILE_NO_SYNC);
	if (r < 0)
		return r;
	/* Without a reader it has ended, or will look for `stop` before it starts the command. */
	fd = openat(run->dirfd, RUN_DIR_CONTROL, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENXIO || errno == ENOENT ? 0 : -errno;
	/* A pipe that is full of bytes says the same. */
	return write(fd, "", 1) < 0 && errno != EAGAIN && errno != EPIPE ? -errno : 0;
}

/* ---- made and freed ---- */

static void handle_closed(struct supervisor_executor *owner)
{
	void (*freed)(void *data) = owner->freed;
	void *data = owner->freed_data;

	if (--owner->closing)
		return;
	free(owner->supervisor_path);
	free(owner);
	if (freed)
		freed(data);
}

static void on_timer_closed(uv_handle_t *handle)
{
	handle_closed(container_of((uv_timer_t *)handle, struct supervisor_executor, timer));
}

static void on_watch_freed(void *data)
{
	handle_closed(data);
}

static void executor_free(struct executor *executor, void (*freed)(void *data), void *data)
{
	struct supervisor_executor *owner = cast(executor);
	struct supervised *run;

	while ((run = TAILQ_FIRST(&owner->runs)))
		supervised_free(run);
	owner->freed = freed;
	owner->freed_data = data;
	owner->closing = 2;
	watch_free(owner->watch, on_watch_freed, owner);
	uv_close((uv_handle_t *)&owner->timer, on_timer_closed);
}

int supervisor_executor_new(uv_loop_t *loop, const char *supervisor_path,
	const struct executor_events *events, struct executor **ret)
{
	static const struct executor_ops ops = {
		.start = executor_start,
		.reattach = executor_reattach,
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
	TAILQ_INIT(&owner->runs);
	uv_timer_init(loop, &owner->timer);
	*ret = &TAKE(owner)->executor;
	return 0;
}
