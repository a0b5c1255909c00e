/* SPDX-License-Identifier: MIT */
/* main - amlagentd: options, configuration, the daemon, the loop */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "check/check_state.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/quantity.h"
#include "common/run_request.h"

struct options {
	bool user;
	bool check_config;
	bool check_state;
	bool quick; /* of check_state */
	bool json;  /* of check_state and check_config */
	char *socket, *state_dir, *config;
	bool config_was_named;
	int64_t idle_exit_seconds;
	int ready_fd;
};

static const char help[] =
	"usage: amlagentd [--user] [OPTIONS]\n"
	"\n"
	"The daemon that runs ML training jobs on this machine. amlctl talks to it, and starts\n"
	"one per user by itself when none answers; by hand it is needed only as a service.\n"
	"\n"
	"  --user              a daemon of this user (sockets and state in the user's folders);\n"
	"                      without it, of the system: /run/amlagent, /var/lib/amlagent\n"
	"  --state-dir DIR     keep everything in DIR; the socket is DIR/amlagentd.sock then\n"
	"  --socket PATH       listen here\n"
	"  --config FILE       read this configuration; it must be there\n"
	"  --check-config      say whether the configuration is right, and what is in force with\n"
	"                      it, and end: 0 right, 1 not\n"
	"  --check-state       say whether all that the state folder should hold is there, and\n"
	"                      end: 0 yes, 1 no, 125 cannot look; a daemon may run meanwhile\n"
	"  --quick             of --check-state: do not read the blobs\n"
	"  -o, --output FORMAT of --check-state, --check-config: table (for people) or json\n"
	"  --idle-exit TIME    end after this long without runs and clients (900, 15m); 0: never\n"
	"  --ready-fd N        write \"READY\" to this descriptor when requests are taken\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n"
	"\n"
	"It ends on SIGTERM and SIGINT. Runs go on without it; the next one finds them.\n"
	"On SIGHUP it reads the configuration again; one that is not right changes nothing.\n";

enum {
	OPTION_USER = 256,
	OPTION_STATE,
	OPTION_SOCKET,
	OPTION_CONFIG,
	OPTION_CHECK,
	OPTION_CHECK_STATE,
	OPTION_QUICK,
	OPTION_IDLE,
	OPTION_READY
};

static int parse_idle(const char *text, struct options *options)
{
	if (!strcmp(text, "0")) {
		options->idle_exit_seconds = 0;
		return 0;
	}
	return duration_parse(text, &options->idle_exit_seconds);
}

static int parse_output(const char *text, struct options *options)
{
	options->json = !strcmp(text, "json");
	return options->json || !strcmp(text, "table") ? 0 : -EINVAL;
}

/* 0 to go on, 1 to end well, -EINVAL for wrong usage. */
static int take_option(int option, const char *value, struct options *options)
{
	switch (option) {
	case OPTION_USER:
		options->user = true;
		return 0;
	case OPTION_STATE:
		mem_replace(&options->state_dir, value);
		return 0;
	case OPTION_SOCKET:
		mem_replace(&options->socket, value);
		return 0;
	case OPTION_CONFIG:
		mem_replace(&options->config, value);
		return 0;
	case OPTION_CHECK:
		options->check_config = true;
		return 0;
	case OPTION_CHECK_STATE:
		options->check_state = true;
		return 0;
	case OPTION_QUICK:
		options->quick = true;
		return 0;
	case 'o':
		return parse_output(value, options);
	case OPTION_IDLE:
		return parse_idle(value, options);
	case OPTION_READY:
		options->ready_fd = atoi(value);
		return options->ready_fd > 2 ? 0 : -EINVAL;
	case 'h':
		fputs(help, stdout);
		return 1;
	case 'V':
		puts("amlagentd " AMLAGENT_VERSION);
		return 1;
	default:
		return -EINVAL;
	}
}

static int parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "user", no_argument, NULL, OPTION_USER },
		{ "state-dir", required_argument, NULL, OPTION_STATE },
		{ "socket", required_argument, NULL, OPTION_SOCKET },
		{ "config", required_argument, NULL, OPTION_CONFIG },
		{ "check-config", no_argument, NULL, OPTION_CHECK },
		{ "check-state", no_argument, NULL, OPTION_CHECK_STATE },
		{ "quick", no_argument, NULL, OPTION_QUICK },
		{ "output", required_argument, NULL, 'o' },
		{ "idle-exit", required_argument, NULL, OPTION_IDLE },
		{ "ready-fd", required_argument, NULL, OPTION_READY },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;
	int r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "hVo:", known, NULL)) >= 0) {
		r = take_option(option, optarg, options);
		if (r == -EINVAL && option != '?')
			fprintf(stderr, "amlagentd: \"%s\" is no value for this option\n", optarg);
	}
	if (r == 0 && optind < argc) {
		fprintf(stderr, "amlagentd: takes no argument \"%s\"\n", argv[optind]);
		r = -EINVAL;
	}
	if (r == 0 && !options->check_state &&
		(options->quick || (options->json && !options->check_config))) {
		fputs("amlagentd: --quick and --output go with --check-state (--output also with "
		      "--check-config)\n",
			stderr);
		r = -EINVAL;
	}
	if (r == -EINVAL)
		fputs("see amlagentd --help\n", stderr);
	return r;
}

/* A relative name says nothing where the current directory has been removed. */
static int make_absolute(const char *option, char **path)
{
	char *absolute = *path ? path_absolute(*path) : NULL;

	if (*path && !absolute) {
		log_error("%s %s: there is no current directory; give an absolute path", option,
			*path);
		return -ENOENT;
	}
	free(*path);
	*path = absolute;
	return 0;
}

static int fill_paths(struct options *options)
{
	if (make_absolute("--state-dir", &options->state_dir) < 0 ||
		make_absolute("--config", &options->config) < 0)
		return -ENOENT;
	options->config_was_named = options->config != NULL;
	if (options->state_dir && !options->socket)
		options->socket = paths_state_socket(options->state_dir);
	if (!options->state_dir)
		options->state_dir =
			options->user ? paths_user_state() : mem_strdup(PATHS_SYSTEM_STATE);
	if (!options->socket)
		options->socket =
			options->user ? paths_user_socket() : mem_strdup(PATHS_SYSTEM_SOCKET);
	if (!options->config)
		options->config =
			options->user ? paths_user_config() : mem_strdup(PATHS_SYSTEM_CONFIG);
	return 0;
}

static bool is_system(const struct options *options)
{
	return !options->user && geteuid() == 0;
}

static void say_ready(int fd)
{
	if (fd < 0)
		return;
	if (file_write_all(fd, "READY\n", 6) < 0)
		log_warning("nobody waits for us to be ready");
	close(fd);
}

static void say_what_serves(const struct agent *agent)
{
	const struct agent_options *options = &agent->options;

	log_info("amlagentd %s for %s: socket %s%s, state %s, cgroups %s", AMLAGENT_VERSION,
		options->system ? "all users" : "one user", options->socket_path,
		agent->was_handed_socket ? " (the service manager's)" : "", options->state_dir,
		agent->cgroup_parent ? agent->cgroup_parent : "none");
}

static int serve(const struct options *options, const struct settings *settings)
{
	struct error err = ERROR_INIT;
	struct agent_options agent_options = {
		.system = is_system(options),
		.socket_path = options->socket,
		.state_dir = options->state_dir,
		.config_path = options->config,
		.config_must_exist = options->config_was_named,
		.settings = *settings,
		.idle_exit_seconds = options->idle_exit_seconds,
	};
	struct agent agent;
	int r = notify_take(&agent_options.notify, &err);

	if (r < 0) {
		log_error("%s", err.message);
		return 1;
	}
	r = agent_init(&agent, &agent_options, &err);
	if (r < 0) {
		log_error("%s", err.message);
	} else {
		say_what_serves(&agent);
		say_ready(options->ready_fd);
		agent_run(&agent);
	}
	agent_release(&agent);
	return r < 0 ? 1 : 0;
}

static int look_at_state(const struct options *options)
{
	const struct check_state_options check = {
		.state_dir = options->state_dir,
		.quick = options->quick,
		.json = options->json,
	};

	return (int)check_state(&check);
}

static void prepare_process(const struct options *options)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN); /* until there is something to reload */
	/* Whoever started the system's service: its folders are for all, and so is what its runs
	 * begin with. */
	if (is_system(options))
		umask(022);
	/* Snapshots and collecting block; preparing one run must not wait for another's upload. Of a
	 * user's work two at a time at most (user_work.h), however long his file system hangs. */
	setenv("UV_THREADPOOL_SIZE", is_system(options) ? "32" : "8", 0);
}

static int show_settings(const struct options *options, const struct settings *settings)
{
	bool is_there = options->config_was_named || access(options->config, F_OK) == 0;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(json_freep) struct json *json = NULL;
	_cleanup_(freep) char *printed = NULL;

	if (options->json) {
		json = json_new_object();
		json_set_string(json, "file", is_there ? options->config : NULL);
		json_set(json, "settings", settings_to_json(&settings->config));
		printed = json_print_pretty(json);
		puts(printed);
	} else {
		settings_format(&settings->config, &text);
		printf("the configuration is right (%s%s); in force with it:\n\n%s",
			is_there ? "" : "all defaults: no ", options->config, text.data);
	}
	return fflush(stdout) == 0 ? 0 : 1;
}

static int check_or_serve(const struct options *options)
{
	struct error err = ERROR_INIT;
	struct settings settings;
	int r = settings_load(options->config, options->config_was_named, &settings, &err);

	if (r < 0) {
		log_error("%s", err.message);
		return 1;
	}
	if (options->check_config)
		return show_settings(options, &settings);
	log_set_level((enum log_level)settings.config.log_level);
	return serve(options, &settings);
}

int main(int argc, char **argv)
{
	struct options options = { .ready_fd = -1 };
	int r = parse_options(argc, argv, &options);
	int status = r < 0 ? 2 : 0;

	if (r == 0) {
		prepare_process(&options);
		if (fill_paths(&options) < 0)
			status = 1;
		else
			status = options.check_state ? look_at_state(&options)
						     : check_or_serve(&options);
	}
	free(options.socket);
	free(options.state_dir);
	free(options.config);
	return status;
}
