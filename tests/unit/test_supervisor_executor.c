/* SPDX-License-Identifier: MIT */
/*
 * test_supervisor_executor - a real loop, the real supervisor ($AMLAGENT_SUPERVISOR), real
 * processes
 *
 * Everything is waited for by turning the loop; an alarm ends a test that waits in vain.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#include "common/cgroup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/run_dir.h"
#include "common/strv.h"
#include "runs/supervisor_executor.h"

#define TIME_LIMIT_SECONDS 60
#define MANY 40

/* One run, and what was told of it. */
struct told {
	char *dir;
	bool started, ended, lost, not_started;
	int64_t start_us, seen_us;
	int error; /* not_started */
	char reason[256];
	struct run_exit exit;
};

static char top[PATH_MAX];
static uv_loop_t loop;
static uv_timer_t tick;
static struct executor *executor;
static int runs_made;
static bool in_call; /* events must not come then */

/* ---- the events ---- */

static void on_started(void *run, int64_t start_us)
{
	struct told *told = run;

	assert_false(in_call || told->started || told->ended || told->not_started);
	told->started = true;
	told->start_us = start_us;
}

static void on_ended(void *run, const struct run_exit *exit, int64_t seen_us)
{
	struct told *told = run;

	assert_false(in_call || told->ended || told->not_started);
	told->ended = true;
	told->lost = !exit;
	told->seen_us = seen_us;
	if (exit)
		told->exit = *exit;
}

static void on_not_started(void *run, int error, const char *reason)
{
	struct told *told = run;

	assert_false(in_call || told->started || told->ended || told->not_started);
	assert_true(error < 0);
	assert_non_null(reason);
	told->not_started = true;
	told->error = error;
	snprintf(told->reason, sizeof(told->reason), "%s", reason);
}

static const struct executor_events events = { on_started, on_ended, on_not_started };

static void on_freed(void *data)
{
	*(bool *)data = true;
}

/* Every few milliseconds: a turn of the loop that has told its timers' events goes to sleep all the
 * same. */
static void on_tick(uv_timer_t *timer)
{
	(void)timer;
}

static void turn_until(const bool *what)
{
	while (!*what)
		uv_run(&loop, UV_RUN_ONCE);
}

static void make_executor_below(const char *path, const char *cgroup_parent)
{
	assert_int_equal(
		supervisor_executor_new(&loop, path, cgroup_parent, &events, &executor), 0);
}

static void make_executor(const char *path)
{
	make_executor_below(path, NULL);
}

static void free_executor(void)
{
	bool freed = false;

	executor->ops->free(executor, on_freed, &freed);
	assert_false(freed);
	turn_until(&freed);
	executor = NULL;
}

/* ---- the fixture ---- */

static int set_up(void **state)
{
	const char *temp = getenv("TMPDIR");
	const char *supervisor = getenv("AMLAGENT_SUPERVISOR");

	(void)state;
	if (!supervisor)
		fail_msg("AMLAGENT_SUPERVISOR is not set");
	alarm(TIME_LIMIT_SECONDS);
	snprintf(top, sizeof(top), "%s/amlagent-executor-XXXXXX", temp ? temp : "/tmp");
	assert_non_null(mkdtemp(top));
	assert_int_equal(uv_loop_init(&loop), 0);
	uv_timer_init(&loop, &tick);
	uv_timer_start(&tick, on_tick, 2, 2);
	make_executor(supervisor);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (executor)
		free_executor();
	uv_close((uv_handle_t *)&tick, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(tree_remove(AT_FDCWD, top), 0);
	alarm(0);
	return 0;
}

static struct told *make_run(void)
{
	struct told *told = NEW(struct told);
	_cleanup_(freep) char *work = NULL;
	_cleanup_(freep) char *control = NULL;

	told->dir = mem_printf("%s/run %d", top, runs_made++);
	work = path_join(told->dir, RUN_DIR_WORK);
	control = path_join(told->dir, RUN_DIR_CONTROL);
	assert_int_equal(dir_make(work, 0700), 0);
	assert_int_equal(mkfifo(control, 0600), 0);
	return told;
}

static void free_run(struct told *told)
{
	if (!told)
		return;
	free(told->dir);
	free(told);
}
DEFINE_CLEANUP(struct told *, free_run);

static void put(const struct told *told, const char *name, const struct strbuf *text)
{
	_cleanup_(freep) char *path = path_join(told->dir, name);

	assert_int_equal(
		file_replace(AT_FDCWD, path, text->data, text->size, 0600, FILE_NO_SYNC), 0);
}

static struct told *make_command(const char *argument, const char *script)
{
	const char *argv[] = { "/bin/sh", argument, script, NULL };
	static char *env[] = { "PATH=/usr/bin:/bin", NULL };
	struct run_launch launch = {
		.argv = (char **)argv, .env = env, .cwd = RUN_DIR_WORK, .grace_us = 200000
	};
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct told *told = make_run();

	run_launch_format(&launch, &text);
	put(told, RUN_DIR_LAUNCH, &text);
	return told;
}

static struct told *make_script(const char *script)
{
	return make_command("-c", script);
}

static int start(struct told *told)
{
	int r;

	in_call = true;
	r = executor->ops->start(executor, told->dir, told);
	in_call = false;
	return r;
}

static enum executor_found look(const struct told *told)
{
	enum executor_found found;

	in_call = true;
	assert_int_equal(executor->ops->look(executor, told->dir, &found), 0);
	in_call = false;
	return found;
}

/* Taken over, as recovery does it: looked at, and reattached when there is something. */
static enum executor_found reattach(struct told *told)
{
	enum executor_found found = look(told);

	if (found == EXECUTOR_NEVER_STARTED)
		return found;
	in_call = true;
	assert_int_equal(executor->ops->reattach(executor, told->dir, told), 0);
	in_call = false;
	return found;
}

static int stop(struct told *told, int64_t grace_us)
{
	const struct run_stop order = { RUN_STOP_CANCEL, grace_us };
	int r;

	in_call = true;
	r = executor->ops->stop(executor, told, &order);
	in_call = false;
	return r;
}

static bool has(const struct told *told, const char *name)
{
	_cleanup_(freep) char *path = path_join(told->dir, name);

	return access(path, F_OK) == 0;
}

static void turn_until_there(const struct told *told, const char *name)
{
	while (!has(told, name))
		uv_run(&loop, UV_RUN_ONCE);
}

static void read_status(const struct told *told, struct run_status *ret)
{
	_cleanup_(freep) char *path = path_join(told->dir, RUN_DIR_STATUS);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 4096, &text), 0);
	assert_int_equal(run_status_parse(text.data, text.size, ret), 0);
}

static bool is_gone(pid_t pid)
{
	char path[64];
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (file_read(AT_FDCWD, path, 4096, &text) < 0)
		return true;
	state = strrchr(text.data, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

/* A child with this one entry as its environment. */
static pid_t spawn_with(const char *entry)
{
	char *argv[] = { "/bin/sleep", "50", NULL };
	char *env[] = { (char *)entry, NULL };
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, env), 0);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int hold_lock(const struct told *told)
{
	_cleanup_(freep) char *path = path_join(told->dir, RUN_DIR_LOCK);
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	return fd;
}

static void put_status(const struct told *told, pid_t supervisor, int64_t start_us)
{
	struct run_status status = {
		.supervisor_pid = supervisor, .child_pid = start_us ? 1 : 0, .start_us = start_us
	};
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(clock_boot_id(status.boot_id), 0);
	run_status_format(&status, &text);
	put(told, RUN_DIR_STATUS, &text);
}

static void put_exit(const struct told *told, int code, int64_t start_us)
{
	struct run_exit exit = { .exit_code = code, .start_us = start_us, .gone_us = 99 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	run_exit_format(&exit, &text);
	put(told, RUN_DIR_EXIT, &text);
}

/* ---- started here ---- */

static void a_run_is_started_and_ends(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("sleep 0.05; exit 3");
	int64_t before_us = clock_utc();

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	assert_in_range(run->start_us, before_us, clock_utc());
	turn_until(&run->ended);
	assert_false(run->lost);
	assert_int_equal(run->exit.exit_code, 3);
	assert_int_equal(run->exit.start_us, run->start_us);
	/* Forgotten: a stop finds nobody. */
	assert_int_equal(stop(run, 0), -ESRCH);
	/* Nothing was waited for in vain, and no zombie is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void many_at_once(void **state)
{
	struct told *runs[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		char script[32];

		snprintf(script, sizeof(script), "exit %d", i);
		runs[i] = make_script(script);
		assert_int_equal(start(runs[i]), 0);
	}
	for (int i = 0; i < MANY; i++) {
		turn_until(&runs[i]->ended);
		assert_true(runs[i]->started);
		assert_int_equal(runs[i]->exit.exit_code, i);
		free_run(runs[i]);
	}
}

static void a_stop_is_carried_out(void **state)
{
	_cleanup_(free_runp) struct told *run =
		make_script("trap 'exit 9' TERM; touch ready; while :; do :; done");

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	turn_until_there(run, "work/ready");
	assert_int_equal(stop(run, 20 * USEC_PER_SEC), 0);
	assert_int_equal(stop(run, 20 * USEC_PER_SEC), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	assert_int_equal(run->exit.exit_code, 9);
	assert_true(run->exit.stop_us >= run->exit.start_us);
}

static void a_stop_at_once_is_not_lost(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		_cleanup_(free_runp) struct told *run = make_script("sleep 50");

		assert_int_equal(start(run), 0);
		for (int turns = 0; turns < i; turns++)
			uv_run(&loop, UV_RUN_NOWAIT);
		assert_int_equal(stop(run, 0), 0);
		turn_until(&run->ended);
		assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	}
}

static void a_command_that_cannot_be_executed_never_started(void **state)
{
	static char *argv[] = { "/no/such/program", NULL };
	struct run_launch launch = { .argv = argv, .cwd = RUN_DIR_WORK };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(free_runp) struct told *run = make_run();

	(void)state;
	run_launch_format(&launch, &text);
	put(run, RUN_DIR_LAUNCH, &text);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_false(run->started);
	assert_int_equal(run->exit.exec_errno, ENOENT);
}

static void what_cannot_be_started_is_told_at_once(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("exit 0");
	_cleanup_(free_runp) struct told *nowhere = NEW(struct told);

	(void)state;
	nowhere->dir = path_join(top, "nowhere");
	assert_int_equal(start(nowhere), -ENOENT);
	free_executor();
	make_executor("/no/such/supervisor");
	assert_int_equal(start(run), -ENOENT);
	assert_int_equal(stop(run, 0), -ESRCH);
	/* The lock went with it: it may be tried again. */
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	assert_int_equal(reattach(run), EXECUTOR_NEVER_STARTED);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 0);
}

/* A cgroup with one for supervisors; NULL where none can be made. malloc'ed. */
static char *make_place(void)
{
	_cleanup_(freep) char *parent = NULL;
	_cleanup_(freep) char *place = NULL;
	_cleanup_(freep) char *supervisors = NULL;

	if (cgroup_find_parent(CGROUP_PARENT_AUTO, &parent) < 0 || !parent)
		return NULL;
	place = mem_printf("%s/test-executor-%d", parent, (int)getpid());
	supervisors = path_join(place, CGROUP_SUPERVISORS_NAME);
	assert_int_equal(mkdir(place, 0755), 0);
	assert_int_equal(mkdir(supervisors, 0755), 0);
	return TAKE(place);
}

static char *cgroup_of(pid_t pid)
{
	_cleanup_(freep) char *path = mem_printf("/proc/%d/cgroup", (int)pid);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 1 << 20, &text), 0);
	return strbuf_steal(&text);
}

/* It is there from its first instant, with its lock, alone with its own files, and ends as usual. */
static void a_supervisor_is_put_where_supervisors_are(void **state)
{
	_cleanup_(freep) char *place = make_place();
	_cleanup_(free_runp) struct told *run = make_script("sleep 40");
	_cleanup_(freep) char *cgroup = NULL;
	_cleanup_(freep) char *fds = NULL;
	struct run_status status;
	_cleanup_(closedirp) DIR *dir = NULL;
	int files = 0;

	(void)state;
	if (!place)
		skip();
	free_executor();
	make_executor_below(getenv("AMLAGENT_SUPERVISOR"), place);
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	read_status(run, &status);
	cgroup = cgroup_of((pid_t)status.supervisor_pid);
	assert_non_null(strstr(cgroup, "/" CGROUP_SUPERVISORS_NAME "\n"));
	fds = mem_printf("/proc/%d/fd", (int)status.supervisor_pid);
	dir = opendir(fds);
	while (readdir(dir))
		files++;
	/* ".", "..", 0 to 2, the lock, and what it has opened itself: none of ours. */
	assert_in_range(files, 6, 20);
	assert_int_equal(stop(run, 0), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	assert_int_equal(cgroup_remove(place), 0);
	run_status_release(&status);
}

static void a_supervisor_that_cannot_be_executed_there_is_told_of(void **state)
{
	_cleanup_(freep) char *place = make_place();
	_cleanup_(free_runp) struct told *run = make_script("exit 3");

	(void)state;
	if (!place)
		skip();
	free_executor();
	make_executor_below("/no/such/supervisor", place);
	assert_int_equal(start(run), -ENOENT);
	free_executor();
	/* Where the cgroup has gone it is started without. */
	assert_int_equal(cgroup_remove(place), 0);
	make_executor_below(getenv("AMLAGENT_SUPERVISOR"), place);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 3);
}

static void a_supervisor_that_cannot_begin_leaves_its_reason(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(freep) char *log = path_join(run->dir, RUN_DIR_SUPERVISOR_LOG);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->not_started);
	assert_non_null(strstr(run->reason, "cannot read launch"));
	assert_int_equal(run->error, -ENOENT);
	assert_int_equal(file_read(AT_FDCWD, log, 4096, &text), 0);
	assert_non_null(strstr(text.data, run->reason));
	/* Forgotten, and its lock is free: it can be started again. */
	assert_int_equal(stop(run, 0), -ESRCH);
	assert_int_equal(look(run), EXECUTOR_NEVER_STARTED);
}

/* How a supervisor ended before it wrote `status`, and what is told of it. */
static void why_it_did_not_begin_is_told(void **state)
{
	static const struct {
		const char *script;
		int error;
	} ends[] = {
		{ "#!/bin/sh\nexit 92\n", -ENOSPC },
		{ "#!/bin/sh\nexit 88\n", -EMFILE },
		{ "#!/bin/sh\nexit 186\n", -EDQUOT },
		{ "#!/bin/sh\nexit 0\n", -EIO },
		{ "#!/bin/sh\nexit 1\n", -EIO },
		{ "#!/bin/sh\nexit 64\n", -EIO },
		{ "#!/bin/sh\nexit 255\n", -EIO },
		{ "#!/bin/sh\nkill -KILL $$\n", -EIO },
		{ "#!/bin/sh\nkill -TERM $$\n", -EIO },
		{ "#!/bin/sh\nkill -USR1 $$\n", -EIO },
	};
	_cleanup_(freep) char *path = path_join(top, "stand-in");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		_cleanup_(free_runp) struct told *run = make_script("exit 0");

		assert_int_equal(file_replace(AT_FDCWD, path, ends[i].script,
					 strlen(ends[i].script), 0700, FILE_NO_SYNC),
			0);
		free_executor();
		make_executor(path);
		assert_int_equal(start(run), 0);
		turn_until(&run->not_started);
		assert_int_equal(run->error, ends[i].error);
		assert_true(run->reason[0]);
		assert_int_equal(look(run), EXECUTOR_NEVER_STARTED);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	}
}

static void what_was_run_before_is_not_run_again(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("touch ran-again");

	(void)state;
	put_exit(run, 6, 5);
	assert_int_equal(start(run), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 6);
	assert_int_equal(run->start_us, 5);
	assert_false(has(run, "work/ran-again"));
}

/* ---- found after a restart ---- */

static void a_run_outlives_the_executor_and_is_found_again(void **state)
{
	_cleanup_(free_runp) struct told *run =
		make_script("while [ ! -e go ]; do sleep 0.01; done; exit 4");
	_cleanup_(free_runp) struct told *again = NEW(struct told);
	_cleanup_(freep) char *go = path_join(run->dir, "work/go");

	(void)state;
	again->dir = mem_strdup(run->dir);
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	assert_int_equal(reattach(again), EXECUTOR_LIVES);
	turn_until(&again->started);
	assert_int_equal(again->start_us, run->start_us);
	assert_false(run->ended);
	assert_int_equal(close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	turn_until(&again->ended);
	assert_int_equal(again->exit.exit_code, 4);
	assert_false(run->ended);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void a_run_found_again_can_be_stopped(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("sleep 50");

	(void)state;
	assert_int_equal(start(run), 0);
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	assert_int_equal(reattach(run), EXECUTOR_LIVES);
	assert_int_equal(stop(run, 0), 0);
	turn_until(&run->ended);
	assert_int_equal(run->exit.stopped, RUN_STOP_CANCEL);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void a_run_that_ended_meanwhile(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();

	(void)state;
	put_status(run, INT_MAX, 7);
	put_exit(run, 8, 7);
	assert_int_equal(reattach(run), EXECUTOR_ENDED);
	turn_until(&run->ended);
	assert_true(run->started);
	assert_int_equal(run->start_us, 7);
	assert_int_equal(run->exit.exit_code, 8);
	assert_int_equal(run->seen_us, 99);
}

static void a_run_that_was_never_started(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("exit 0");
	_cleanup_(free_runp) struct told *nowhere = NEW(struct told);

	(void)state;
	nowhere->dir = path_join(top, "nowhere");
	assert_int_equal(reattach(run), EXECUTOR_NEVER_STARTED);
	assert_int_equal(reattach(nowhere), EXECUTOR_NEVER_STARTED);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_false(run->ended || nowhere->ended);
	assert_int_equal(stop(run, 0), -ESRCH);
}

static void descriptors_are(bool there)
{
	static rlim_t enough;
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_cur)
		enough = limit.rlim_cur;
	limit.rlim_cur = there ? enough : 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void what_cannot_be_looked_at_is_an_error_and_no_answer(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	enum executor_found found = EXECUTOR_FOUND_COUNT;

	(void)state;
	put_status(run, INT_MAX, 7);
	descriptors_are(false);
	assert_int_equal(executor->ops->look(executor, run->dir, &found), -EMFILE);
	assert_int_equal(executor->ops->reattach(executor, run->dir, run), -EMFILE);
	assert_int_equal(executor->ops->start(executor, run->dir, run), -EMFILE);
	descriptors_are(true);
	assert_int_equal(found, EXECUTOR_FOUND_COUNT);
	uv_run(&loop, UV_RUN_ONCE);
	assert_false(run->started || run->ended || run->not_started);
	assert_int_equal(reattach(run), EXECUTOR_LOST);
	turn_until(&run->ended);
}

static void what_a_newer_version_wrote_is_told_as_such(void **state)
{
	static const char newer[] = "format=2\0supervisor_pid=4\0child_pid=5\0start_us=6";
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	enum executor_found found;

	(void)state;
	strbuf_add(&text, newer, sizeof(newer));
	put(run, RUN_DIR_STATUS, &text);
	assert_int_equal(executor->ops->look(executor, run->dir, &found), -EPROTONOSUPPORT);
}

/* The verdict has nowhere to be, but it has run: it is not started again. */
static void a_run_whose_folder_is_removed_while_it_runs_is_lost(void **state)
{
	_cleanup_(free_runp) struct told *run =
		make_script("echo $$ > ../../pid; while [ ! -e ../../go ]; do sleep 0.01; done");
	_cleanup_(freep) char *go = path_join(top, "go");

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	turn_until_there(run, "../pid");
	assert_int_equal(tree_remove(AT_FDCWD, run->dir), 0);
	assert_int_equal(close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	turn_until(&run->ended);
	assert_true(run->lost && !run->not_started);
	assert_true(run->seen_us >= run->start_us);
}

/* ---- the work thread: there is one (main) ---- */

static sem_t held, go_on;

static void hold_on_thread(uv_work_t *work)
{
	(void)work;
	sem_post(&held);
	while (sem_wait(&go_on) < 0)
		;
}

static void hold_done(uv_work_t *work, int status)
{
	(void)work;
	(void)status;
}

static void hold_thread(uv_work_t *work)
{
	sem_init(&held, 0, 0);
	sem_init(&go_on, 0, 0);
	uv_queue_work(&loop, work, hold_on_thread, hold_done);
	while (sem_wait(&held) < 0)
		;
}

static pid_t read_pid(const char *path)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	assert_int_equal(file_read(AT_FDCWD, path, 32, &text), 0);
	return (pid_t)atol(text.data);
}

/* It is looked for what is left of the run when its supervisor, which has nowhere to begin, ends. */
static void a_run_that_is_being_swept_stays_lost(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("exit 0");
	_cleanup_(freep) char *path = path_join(top, "stand-in");
	_cleanup_(freep) char *go = path_join(top, "go");
	_cleanup_(freep) char *pid_path = path_join(top, "pid");
	_cleanup_(freep) char *script =
		mem_printf("#!/bin/sh\necho $$ > '%s.new'; mv '%s.new' '%s'\n"
			   "while [ ! -e '%s' ]; do sleep 0.01; done\nexit 1\n",
			pid_path, pid_path, pid_path, go);
	uv_work_t work;
	pid_t pid;

	(void)state;
	assert_int_equal(
		file_replace(AT_FDCWD, path, script, strlen(script), 0700, FILE_NO_SYNC), 0);
	free_executor();
	make_executor(path);
	assert_int_equal(start(run), 0);
	turn_until_there(run, "../pid");
	pid = read_pid(pid_path);
	assert_int_equal(tree_remove(AT_FDCWD, run->dir), 0);
	hold_thread(&work);
	assert_int_equal(stop(run, 0), 0);
	for (int i = 0; i < 10; i++) /* the sweep waits for the thread */
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(close(open(go, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	while (kill(pid, 0) == 0) /* until it has been waited for */
		uv_run(&loop, UV_RUN_ONCE);
	sem_post(&go_on);
	assert_false(run->not_started || run->ended);
	turn_until(&run->ended);
	assert_true(run->lost && !run->not_started);
}

static void a_lost_run_is_lost_and_its_pid_is_left_alone(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	pid_t bystander = spawn_with("A=1");
	int64_t before_us = clock_utc() - USEC_PER_SEC;

	(void)state;
	/* The number is another process's by now. */
	put_status(run, bystander, 7);
	assert_int_equal(reattach(run), EXECUTOR_LOST);
	turn_until(&run->ended);
	assert_true(run->lost && run->started);
	assert_in_range(run->seen_us, before_us, clock_utc());
	assert_false(is_gone(bystander));
	end_child(bystander);
}

static void a_damaged_verdict_is_none(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	(void)state;
	strbuf_add(&text, "format=1\0exit_code=0", 21);
	put(run, RUN_DIR_EXIT, &text);
	assert_int_equal(reattach(run), EXECUTOR_LOST);
	turn_until(&run->ended);
	assert_true(run->lost);
}

static void a_held_lock_without_status_is_waited_for(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(closep) int lock = hold_lock(run);

	(void)state;
	assert_int_equal(reattach(run), EXECUTOR_LIVES);
	uv_run(&loop, UV_RUN_ONCE);
	assert_false(run->started || run->ended);
	put_status(run, getpid(), 11);
	turn_until(&run->started);
	assert_int_equal(run->start_us, 11);
	assert_false(run->ended);
}

static void a_lock_that_is_released_without_status_or_exit(void **state)
{
	_cleanup_(free_runp) struct told *run = make_run();
	_cleanup_(closep) int lock = hold_lock(run);

	(void)state;
	assert_int_equal(reattach(run), EXECUTOR_LIVES);
	uv_run(&loop, UV_RUN_ONCE);
	lock = fd_close(lock);
	turn_until(&run->not_started);
	assert_false(run->ended || run->started);
	assert_int_equal(run->error, -EIO);
}

static void a_start_while_another_runs_it_watches_that_one(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script("touch ran");
	_cleanup_(closep) int lock = hold_lock(run);

	(void)state;
	assert_int_equal(start(run), 0);
	put_exit(run, 12, 13);
	lock = fd_close(lock);
	turn_until(&run->ended);
	assert_int_equal(run->exit.exit_code, 12);
	assert_int_equal(run->start_us, 13);
	assert_false(has(run, "work/ran"));
}

/* ---- the supervisor dies ---- */

static void a_killed_supervisor_s_processes_are_stopped_first(void **state)
{
	_cleanup_(free_runp) struct told *run = make_script(
		"trap '' TERM; (setsid sh -c 'echo $$ > far; trap \"\" TERM; while :; do sleep 1; done' &) ;"
		"while [ ! -s far ]; do sleep 0.01; done; touch ready; while :; do sleep 1; done");
	_cleanup_(freep) char *far = path_join(run->dir, "work/far");
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *longer = mem_printf("%s=%s/x", RUN_DIR_VARIABLE, run->dir);
	_cleanup_(freep) char *other = mem_printf("X%s=%s", RUN_DIR_VARIABLE, run->dir);
	pid_t bystanders[] = { spawn_with(longer), spawn_with(other), spawn_with("A=1") };
	struct run_status status;

	(void)state;
	assert_int_equal(start(run), 0);
	turn_until(&run->started);
	turn_until_there(run, "work/ready");
	assert_int_equal(file_read(AT_FDCWD, far, 64, &text), 0);
	read_status(run, &status);
	assert_int_equal(kill((pid_t)status.supervisor_pid, SIGKILL), 0);
	turn_until(&run->ended);
	assert_true(run->lost);
	assert_in_range(run->seen_us, run->start_us, clock_utc());
	assert_true(is_gone((pid_t)status.child_pid));
	assert_true(is_gone((pid_t)atoi(text.data)));
	for (size_t i = 0; i < ARRAY_SIZE(bystanders); i++) {
		assert_false(is_gone(bystanders[i]));
		end_child(bystanders[i]);
	}
}

static void free_while_runs_go_on(void **state)
{
	struct told *runs[5];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		runs[i] = make_script("while [ ! -e ../stop ]; do sleep 0.01; done");
		assert_int_equal(start(runs[i]), 0);
	}
	free_executor();
	make_executor(getenv("AMLAGENT_SUPERVISOR"));
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		assert_false(runs[i]->ended);
		assert_int_equal(reattach(runs[i]), EXECUTOR_LIVES);
		assert_int_equal(stop(runs[i], 0), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		turn_until(&runs[i]->ended);
		assert_false(runs[i]->lost);
		free_run(runs[i]);
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_is_started_and_ends),
		TEST(many_at_once),
		TEST(a_stop_is_carried_out),
		TEST(a_stop_at_once_is_not_lost),
		TEST(a_command_that_cannot_be_executed_never_started),
		TEST(what_cannot_be_started_is_told_at_once),
		TEST(a_supervisor_is_put_where_supervisors_are),
		TEST(a_supervisor_that_cannot_be_executed_there_is_told_of),
		TEST(a_supervisor_that_cannot_begin_leaves_its_reason),
		TEST(why_it_did_not_begin_is_told),
		TEST(what_was_run_before_is_not_run_again),
		TEST(a_run_outlives_the_executor_and_is_found_again),
		TEST(a_run_found_again_can_be_stopped),
		TEST(a_run_that_ended_meanwhile),
		TEST(a_run_that_was_never_started),
		TEST(what_cannot_be_looked_at_is_an_error_and_no_answer),
		TEST(what_a_newer_version_wrote_is_told_as_such),
		TEST(a_run_whose_folder_is_removed_while_it_runs_is_lost),
		TEST(a_run_that_is_being_swept_stays_lost),
		TEST(a_lost_run_is_lost_and_its_pid_is_left_alone),
		TEST(a_damaged_verdict_is_none),
		TEST(a_held_lock_without_status_is_waited_for),
		TEST(a_lock_that_is_released_without_status_or_exit),
		TEST(a_start_while_another_runs_it_watches_that_one),
		TEST(a_killed_supervisor_s_processes_are_stopped_first),
		TEST(free_while_runs_go_on),
	};

	setenv("UV_THREADPOOL_SIZE", "1", 1); /* hold_thread() */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
