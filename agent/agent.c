/* SPDX-License-Identifier: MIT */
/* agent - the map of the daemon; see agent.h */
#include "agent.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>

#include "api/api.h"
#include "common/clock.h"
#include "common/cgroup.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/paths.h"
#include "history/history.h"
#include "http/http_server.h"
#include "runs/run_manager.h"
#include "runs/supervisor_executor.h"
#include "runs/watch.h"
#include "store/store.h"

#define LOCK_WAIT_MS 1000
#define LOCK_PAUSE_MS 20
#define MAX_CONNECTIONS 1000
#define DESCRIPTORS_MIN 64
#define IDLE_CONNECTION_SECONDS 120

/* ---- made in order ---- */

/* A daemon that was killed a moment ago may have had a child between fork and exec, which holds the
 * lock a little longer. */
static bool wait_for_lock(int fd)
{
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };

	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOCK_PAUSE_MS) {
		if (waited >= LOCK_WAIT_MS)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int lock_state(struct agent *agent, struct error *err)
{
	const char *dir = agent->options.state_dir;
	_cleanup_(freep) char *path = path_join(dir, "lock");
	int r = dir_make(dir, 0700);

	if (r < 0)
		return error_errno(err, r, dir, "cannot make the state folder %s", dir);
	agent->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (agent->lock_fd < 0)
		return error_errno(err, -errno, path, "cannot open %s", path);
	if (!wait_for_lock(agent->lock_fd))
		return error_set(
			err, -EBUSY, dir, "another amlagentd uses the state folder %s", dir);
	return 0;
}

static int find_programs(struct agent *agent, struct error *err)
{
	agent->supervisor_path = paths_program("amlagent-supervisor");
	agent->git_helper = paths_program("amlagent-git-info");
	agent->openapi_path = paths_data("openapi.yaml");
	if (!agent->supervisor_path)
		return error_set(err, -ENOENT, NULL,
			"amlagent-supervisor is neither beside this program nor in %s: install it",
			AMLAGENT_LIBEXECDIR);
	if (!agent->git_helper)
		log_warning("amlagent-git-info is not installed: git metadata will be missing");
	return 0;
}

static int find_cgroups(struct agent *agent, struct error *err)
{
	const char *setting = agent->options.config.cgroup_parent;
	int r = cgroup_find_parent(setting, &agent->cgroup_parent);

	if (r < 0)
		return error_errno(err, r, "cgroup_parent",
			"cgroup_parent = %s: no cgroups can be made there", setting);
	return 0;
}

static int open_listener(struct agent *agent, struct error *err)
{
	const char *path = agent->options.socket_path;
	int r = paths_prepare_socket_dir(path, err);

	if (r < 0)
		return r;
	agent->listen_fd = unix_socket_listen(path, 0600);
	if (agent->listen_fd < 0)
		return error_errno(err, agent->listen_fd, path, "cannot listen on %s", path);
	return 0;
}

static int open_store(struct agent *agent, struct error *err)
{
	_cleanup_(freep) char *path = path_join(agent->options.state_dir, "blobs");
	int r = store_open(path, &agent->store);

	return r < 0 ? error_errno(err, r, path, "cannot open the store %s", path) : 0;
}

static void on_history(uv_poll_t *poll, int status, int events)
{
	struct agent *agent = container_of(poll, struct agent, history_poll);

	(void)status;
	(void)events;
	history_dispatch(agent->history);
}

static int open_history(struct agent *agent, struct error *err)
{
	_cleanup_(freep) char *path = path_join(agent->options.state_dir, "history.db");
	int r = history_open(path, &agent->history, err);

	if (r < 0)
		return error_default(err, r, "cannot open the history");
	r = uv_poll_init(&agent->loop, &agent->history_poll, history_fd(agent->history));
	if (r < 0)
		return error_errno(err, r, NULL, "cannot watch the history");
	agent->has_poll = true;
	return uv_poll_start(&agent->history_poll, UV_READABLE, on_history);
}

static int make_runs(struct agent *agent, struct error *err)
{
	const struct config *config = &agent->options.config;
	struct run_manager_options options = {
		.loop = &agent->loop,
		.store = agent->store,
		.history = agent->history,
		.state_dir = agent->options.state_dir,
		.git_helper = agent->git_helper,
		.cgroup_parent = agent->cgroup_parent,
		.limits = {
			.max_bytes = (uint64_t)config->snapshot_max_bytes,
			.max_files = (uint64_t)config->snapshot_max_files,
			.warn_bytes = (uint64_t)config->snapshot_warn_bytes,
			.warn_files = (uint64_t)config->snapshot_warn_files,
		},
		.keep_work_us = config->keep_work_days * 86400 * USEC_PER_SEC,
		.grace_us = config->stop_grace_seconds * USEC_PER_SEC,
		.max_running = config->max_running_runs,
	};
	int r = watch_new(&agent->loop, &agent->watch);

	if (r < 0)
		return error_errno(err, r, NULL, "cannot watch files (inotify)");
	options.watch = agent->watch;
	r = run_manager_new(&options, &agent->runs, err);
	if (r < 0)
		return r;
	r = supervisor_executor_new(&agent->loop, agent->supervisor_path,
		run_manager_executor_events(), &agent->executor);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot make the executor");
	run_manager_set_executor(agent->runs, agent->executor);
	return 0;
}

static void http_log(const char *text)
{
	log_debug("http: %s", text);
}

static int make_server(struct agent *agent, struct error *err)
{
	struct api_options api = {
		.loop = &agent->loop,
		.runs = agent->runs,
		.history = agent->history,
		.store = agent->store,
		.watch = agent->watch,
		.state_dir = agent->options.state_dir,
		.openapi_path = agent->openapi_path,
		.started_us = agent->started_us,
	};
	struct http_options http = {
		.max_body = (size_t)agent->options.config.max_request_bytes,
		.max_connections = MAX_CONNECTIONS,
		.idle_timeout_seconds = IDLE_CONNECTION_SECONDS,
		.log = http_log,
	};
	struct http_handler handler;

	agent->api = api_new(&api);
	handler = api_handler(agent->api);
	return http_server_new(
		&agent->loop, TAKE_FD(agent->listen_fd), &handler, &http, &agent->server, err);
}

/* ---- signals and idleness ---- */

static void on_signal(uv_signal_t *handle, int number)
{
	struct agent *agent = handle->data;

	log_info("signal %d: ending; runs go on", number);
	agent->stopping = true;
	uv_stop(&agent->loop);
}

static int watch_signals(struct agent *agent)
{
	int r = uv_signal_init(&agent->loop, &agent->terminate);

	if (r >= 0)
		r = uv_signal_init(&agent->loop, &agent->interrupt);
	if (r < 0)
		return r;
	agent->has_signals = true;
	agent->terminate.data = agent->interrupt.data = agent;
	r = uv_signal_start(&agent->terminate, on_signal, SIGTERM);
	return r < 0 ? r : uv_signal_start(&agent->interrupt, on_signal, SIGINT);
}

static bool is_busy(const struct agent *agent)
{
	struct run_counts counts;

	run_manager_count(agent->runs, &counts);
	return counts.running || counts.queued || counts.finalizing ||
	       http_server_connections(agent->server);
}

/* Looks a few times within the span; only daemons that somebody's amlctl started have it at all. */
static void on_idle(uv_timer_t *timer)
{
	struct agent *agent = timer->data;
	int64_t span = agent->options.idle_exit_seconds * USEC_PER_SEC;

	if (is_busy(agent)) {
		agent->idle_since_us = 0;
	} else if (!agent->idle_since_us) {
		agent->idle_since_us = clock_boot();
	} else if (clock_boot() - agent->idle_since_us >= span) {
		log_info("nothing to do for %lld s: ending",
			(long long)agent->options.idle_exit_seconds);
		agent->stopping = true;
		uv_stop(&agent->loop);
	}
}

static int watch_idleness(struct agent *agent)
{
	uint64_t every = (uint64_t)agent->options.idle_exit_seconds * 1000 / 4 + 1;

	if (!agent->options.idle_exit_seconds)
		return 0;
	uv_timer_init(&agent->loop, &agent->idle);
	agent->has_idle = true;
	agent->idle.data = agent;
	return uv_timer_start(&agent->idle, on_idle, every, every);
}

static int start(struct agent *agent, struct error *err)
{
	int live = run_manager_recover(agent->runs, err);
	int r = live < 0 ? live : watch_signals(agent);

	if (r >= 0)
		r = watch_idleness(agent);
	if (r < 0)
		return error_default(err, r, "cannot start");
	if (live)
		log_info("%d runs were not over", live);
	return 0;
}

/* Many runs mean many descriptors; the hard limit is what the system allows us. With very few libuv
 * would abort. */
static int raise_descriptor_limit(struct error *err)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return error_errno(err, -errno, NULL, "cannot read the limit of open files");
	if (limit.rlim_max < DESCRIPTORS_MIN)
		return error_set(err, -EMFILE, NULL,
			"the limit of open files is %llu and amlagentd needs %d at least: raise it "
			"(ulimit -n, or LimitNOFILE= of its service)",
			(unsigned long long)limit.rlim_max, DESCRIPTORS_MIN);
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

int agent_init(struct agent *agent, const struct agent_options *options, struct error *err)
{
	static int (*const steps[])(struct agent * agent, struct error * err) = { lock_state,
		find_programs, find_cgroups, open_history, open_store, make_runs, open_listener,
		make_server, start };
	int r;

	*agent = (struct agent){ .options = *options, .lock_fd = -EBADF, .listen_fd = -EBADF };
	agent->started_us = clock_utc();
	r = raise_descriptor_limit(err);
	if (r < 0)
		return error_default(err, r, "cannot raise the limit of open files");
	r = uv_loop_init(&agent->loop);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot make the event loop");
	agent->has_loop = true;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		r = steps[i](agent, err);
		if (r < 0)
			return error_default(err, r, "cannot start");
	}
	return 0;
}

void agent_run(struct agent *agent)
{
	while (!agent->stopping)
		uv_run(&agent->loop, UV_RUN_DEFAULT);
}

/* ---- taken down in reverse ---- */

static void part_freed(void *data)
{
	*(bool *)data = true;
}

static void wait_for(struct agent *agent, const bool *freed)
{
	while (!*freed && uv_run(&agent->loop, UV_RUN_ONCE))
		;
}

static void close_handles(struct agent *agent)
{
	if (agent->has_signals) {
		uv_close((uv_handle_t *)&agent->terminate, NULL);
		uv_close((uv_handle_t *)&agent->interrupt, NULL);
	}
	if (agent->has_idle)
		uv_close((uv_handle_t *)&agent->idle, NULL);
	if (agent->has_poll)
		uv_close((uv_handle_t *)&agent->history_poll, NULL);
}

void agent_release(struct agent *agent)
{
	bool server = false, runs = false, executor = false, watch = false;

	/* First nobody is heard any more, then what is under way comes to its end. */
	if (agent->server) {
		http_server_free(agent->server, part_freed, &server);
		wait_for(agent, &server);
	}
	if (agent->runs) {
		run_manager_free(agent->runs, part_freed, &runs);
		wait_for(agent, &runs);
	}
	if (agent->executor) {
		agent->executor->ops->free(agent->executor, part_freed, &executor);
		wait_for(agent, &executor);
	}
	if (agent->watch) {
		watch_free(agent->watch, part_freed, &watch);
		wait_for(agent, &watch);
	}
	if (agent->has_loop) {
		close_handles(agent);
		uv_run(&agent->loop, UV_RUN_DEFAULT);
		uv_loop_close(&agent->loop);
	}
	api_free(agent->api);
	history_close(agent->history);
	store_close(agent->store);
	fd_close(agent->listen_fd);
	fd_close(agent->lock_fd);
	free(agent->supervisor_path);
	free(agent->git_helper);
	free(agent->cgroup_parent);
	free(agent->openapi_path);
}
