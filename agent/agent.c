/* SPDX-License-Identifier: MIT */
/* agent - the map of the daemon; see agent.h */
#include "agent.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "api/api.h"
#include "common/audit.h"
#include "common/clock.h"
#include "common/cgroup.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/paths.h"
#include "ending.h"
#include "history/history.h"
#include "http/http_server.h"
#include "reload.h"
#include "runs/run_manager.h"
#include "runs/supervisor_executor.h"
#include "runs/watch.h"
#include "service.h"
#include "state_lock.h"
#include "store/store.h"

#define MAX_CONNECTIONS 1000
#define DESCRIPTORS_MIN 64
#define IDLE_CONNECTION_SECONDS 120
#define BODY_SECONDS 30

/* ---- made in order ---- */

static int lock_state(struct agent *agent, struct error *err)
{
	const char *dir = agent->options.state_dir;
	mode_t mode = agent->options.system ? 0711 : 0700;
	int r = dir_make(dir, mode);

	/* The work of every user's runs is below the system's. */
	if (r >= 0 && agent->options.system && chmod(dir, mode) < 0)
		r = -errno;
	if (r < 0)
		return error_errno(err, r, dir, "cannot make the state folder %s", dir);
	agent->lock_fd = state_lock_take(dir, err);
	return agent->lock_fd < 0 ? agent->lock_fd : 0;
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
	const char *setting = agent->settings.config.cgroup_parent;
	int r = cgroup_find_parent(setting, &agent->cgroup_parent);

	if (r < 0)
		return error_errno(err, r, "cgroup_parent",
			"cgroup_parent = %s: no cgroups can be made there", setting);
	return 0;
}

/* The system's socket is everybody's; a folder that is there already has the mode it was given. What
 * goes wrong is said by paths_prepare_socket_dir(). */
static void make_public_folder(const char *socket_path)
{
	const char *slash = strrchr(socket_path, '/');
	_cleanup_(freep) char *dir =
		slash ? mem_strndup(socket_path, (size_t)(slash - socket_path)) : NULL;

	if (dir && dir[0])
		(void)dir_make(dir, 0755);
}

static int find_gpus(struct agent *agent, struct error *err)
{
	int r = gpus_find(agent->settings.config.gpus, &agent->gpus, err);

	if (r >= 0 && agent->gpus.count)
		log_info("%zu GPUs to give out", agent->gpus.count);
	return r;
}

static int open_listener(struct agent *agent, struct error *err)
{
	const char *path = agent->options.socket_path;
	bool system = agent->options.system;
	int r;

	agent->listen_fd = TAKE_FD(agent->options.notify.listen_fd);
	agent->was_handed_socket = agent->listen_fd >= 0;
	if (agent->was_handed_socket)
		return 0;
	if (system)
		make_public_folder(path);
	r = paths_prepare_socket_dir(path, err);
	if (r < 0)
		return r;
	/* Who may do what is asked of each request. */
	agent->listen_fd = unix_socket_listen(path, system ? 0666 : 0600);
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

static struct queue_options queue_options(const struct agent *agent)
{
	gid_t share_with = agent->settings.share_with_gid;
	struct queue_options options = { 0 };

	queue_options_of_config(&agent->settings.config, &options);
	options.share_with_gid = share_with == SETTINGS_NO_GROUP ? 0 : share_with;
	return options;
}

static int make_runs(struct agent *agent, struct error *err)
{
	const struct config *config = &agent->settings.config;
	struct run_manager_options options = {
		.loop = &agent->loop,
		.store = agent->store,
		.history = agent->history,
		.state_dir = agent->options.state_dir,
		.git_helper = agent->git_helper,
		.cgroup_parent = agent->cgroup_parent,
		.system_service = agent->options.system,
		.gpus = &agent->gpus,
		.queue = queue_options(agent),
		.limits = {
			.max_bytes = (uint64_t)config->snapshot_max_bytes,
			.max_files = (uint64_t)config->snapshot_max_files,
			.warn_bytes = (uint64_t)config->snapshot_warn_bytes,
			.warn_files = (uint64_t)config->snapshot_warn_files,
		},
		.keep_work_us = config->keep_work_days * 86400 * USEC_PER_SEC,
		.grace_us = config->stop_grace_seconds * USEC_PER_SEC,
	};
	int r = watch_new(&agent->loop, &agent->watch);

	if (r < 0)
		return error_errno(err, r, NULL, "cannot watch files (inotify)");
	options.watch = agent->watch;
	r = run_manager_new(&options, &agent->runs, err);
	if (r < 0)
		return r;
	r = supervisor_executor_new(&agent->loop, agent->supervisor_path, agent->cgroup_parent,
		run_manager_executor_events(), &agent->executor);
	if (r < 0)
		return error_errno(err, r, NULL, "cannot make the executor");
	run_manager_set_executor(agent->runs, agent->executor);
	return 0;
}

static struct http_limits http_limits(const struct config *config)
{
	return (struct http_limits){
		.max_connections_per_user = (unsigned)config->max_connections_per_user,
		.max_requests_per_second_per_user =
			(unsigned)config->max_requests_per_second_per_user,
		.request_timeout_seconds = (unsigned)config->request_timeout_seconds,
		.body_timeout_seconds = BODY_SECONDS,
	};
}

static void http_log(const char *text)
{
	log_debug("http: %s", text);
}

static void http_limited(uid_t uid, pid_t pid, const char *message)
{
	audit(&(struct audit_event){
		.action = "request",
		.uid = uid,
		.pid = pid,
		.result = AUDIT_DENIED,
		.reason = message,
	});
}

_Static_assert(SETTINGS_NO_GROUP == API_NO_GROUP, "one word for none");

static struct api_access api_access(const struct agent *agent)
{
	const struct settings *settings = &agent->settings;

	return (struct api_access){
		.system = agent->options.system,
		.admin_gid = settings->admin_gid,
		.users_gid = settings->users_gid,
		.admin_group = settings->config.admin_group,
		.users_group = settings->config.users_group,
	};
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
		.config_path = agent->options.config_path,
		.openapi_path = agent->openapi_path,
		.started_us = agent->started_us,
		.access = api_access(agent),
	};
	struct http_options http = {
		.max_body = (size_t)agent->settings.config.max_request_bytes,
		.max_connections = MAX_CONNECTIONS,
		.idle_timeout_seconds = IDLE_CONNECTION_SECONDS,
		.finish_seconds = ENDING_SECONDS - 1,
		.limits = http_limits(&agent->settings.config),
		.log = http_log,
		.limited = http_limited,
	};
	struct http_handler handler;

	agent->api = api_new(&api);
	handler = api_handler(agent->api);
	return http_server_new(
		&agent->loop, TAKE_FD(agent->listen_fd), &handler, &http, &agent->server, err);
}

/* ---- the outside: signals, the service manager ---- */

static void end(void *data)
{
	struct agent *agent = data;

	if (agent->releasing)
		return;
	agent->stopping = true;
	service_stopping(agent->service);
	uv_stop(&agent->loop);
}

static bool is_busy(void *data)
{
	struct agent *agent = data;
	struct run_counts counts;

	if (agent->releasing)
		return true;
	run_manager_count(agent->runs, &counts);
	return counts.running || counts.queued || counts.finalizing ||
	       http_server_connections(agent->server);
}

static void reload_began(void *data)
{
	struct agent *agent = data;

	if (!agent->releasing)
		service_reloading(agent->service);
}

/* What takes effect at once; settings.c says which keys. */
static void apply(struct agent *agent)
{
	const struct queue_options queue = queue_options(agent);
	const struct http_limits limits = http_limits(&agent->settings.config);
	const struct api_access access = api_access(agent);

	log_set_level((enum log_level)agent->settings.config.log_level);
	run_manager_set_options(agent->runs, &queue);
	http_server_set_limits(agent->server, &limits);
	api_set_access(agent->api, &access);
}

/* One line: what is in force now, and what is not. */
static void say_what_changed(const struct strbuf *now, const struct strbuf *restart)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	if (now->size)
		strbuf_addf(&text, "changed %s", now->data);
	if (restart->size)
		strbuf_addf(&text,
			"%sthese have changed and need a restart (no run notices it): %s",
			now->size ? "; " : "", restart->data);
	log_line(restart->size ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "configuration read again: %s",
		text.size ? text.data : "nothing has changed");
}

static void put_in_force(struct agent *agent, const struct settings *settings)
{
	_cleanup_(strbuf_release) struct strbuf now = STRBUF_INIT, restart = STRBUF_INIT;
	struct settings next = *settings;

	settings_compare(&agent->settings.config, &next.config, &now, &restart);
	settings_keep(&agent->settings.config, &next.config);
	agent->settings = next;
	apply(agent);
	say_what_changed(&now, &restart);
}

static void reload_done(void *data, const struct settings *settings, const struct error *err)
{
	struct agent *agent = data;
	_cleanup_(freep) char *trouble = NULL;

	if (agent->releasing)
		return;
	if (settings) {
		put_in_force(agent, settings);
	} else {
		log_error("the configuration is not right, the old one stays in force: %s",
			err->message);
		trouble = mem_printf(
			"configuration refused, the old one is in force: %s", err->message);
	}
	service_set_trouble(agent->service, trouble);
	service_ready(agent->service);
}

static int listen_to_signals(struct agent *agent, struct error *err)
{
	const struct ending_options ending = {
		.loop = &agent->loop,
		.idle_seconds = agent->options.idle_exit_seconds,
		.is_busy = is_busy,
		.end = end,
		.data = agent,
	};
	const struct reload_options reload = {
		.loop = &agent->loop,
		.path = agent->options.config_path,
		.must_exist = agent->options.config_must_exist,
		.began = reload_began,
		.done = reload_done,
		.data = agent,
	};
	int r = ending_new(&ending, &agent->ending);

	if (r >= 0)
		r = reload_new(&reload, &agent->reload);
	return r < 0 ? error_errno(err, r, NULL, "cannot watch signals") : 0;
}

static int start(struct agent *agent, struct error *err)
{
	int live;

	agent->service = service_new(&agent->loop, agent->runs, &agent->options.notify);
	live = run_manager_recover(agent->runs, err);
	if (live < 0)
		return error_default(err, live, "cannot start");
	if (live)
		log_info("%d runs were not over", live);
	return listen_to_signals(agent, err);
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
		find_programs, find_cgroups, find_gpus, open_history, open_store, make_runs,
		open_listener, make_server, start };
	int r;

	*agent = (struct agent){
		.options = *options,
		.settings = options->settings,
		.lock_fd = -EBADF,
		.listen_fd = -EBADF,
	};
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
	service_ready(agent->service);
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
	ending_free(agent->ending);
	reload_free(agent->reload);
	if (agent->has_poll)
		uv_close((uv_handle_t *)&agent->history_poll, NULL);
}

void agent_release(struct agent *agent)
{
	bool server = false, runs = false, executor = false, watch = false;

	agent->releasing = true;
	if (agent->stopping) {
		state_lock_ending(agent->lock_fd);
		(void)ending_limit(ENDING_SECONDS, agent->lock_fd);
	}
	service_free(agent->service);
	/* First nobody new is heard and who was heard gets his answer, then what is under way comes to
	 * its end. */
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
	fd_close(agent->options.notify.listen_fd);
	fd_close(agent->listen_fd);
	fd_close(agent->lock_fd);
	gpus_release(&agent->gpus);
	free(agent->supervisor_path);
	free(agent->git_helper);
	free(agent->cgroup_parent);
	free(agent->openapi_path);
}
