/* SPDX-License-Identifier: MIT */
/* install - programs, configuration, socket and daemon, Python; see doctor.h */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/doctor/doctor.h"
#include "common/config.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/strv.h"

#define PROGRAM_MS 10000
#define ANSWER_MS 10000

/* ---- the daemon, and what this is about ---- */

static char *absolute(const char *path)
{
	char *full = path_absolute(path);

	return full ? full : mem_strdup(path);
}

/* The one that answered; else the first that would be tried (endpoint.h). */
static char *find_socket(const struct endpoint *endpoint)
{
	const char *from_env = getenv("AMLAGENT_SOCKET");

	if (endpoint->answered)
		return mem_strdup(endpoint->answered);
	if (endpoint->socket)
		return absolute(endpoint->socket);
	if (endpoint->state_dir) {
		_cleanup_(freep) char *path = paths_state_socket(endpoint->state_dir);

		return absolute(path);
	}
	if (from_env && from_env[0])
		return absolute(from_env);
	return paths_user_socket();
}

static int read_answer(struct client *client, struct json **ret, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const char *piece;
	ssize_t n;
	int r = client_head(client, err);

	if (r < 0)
		return r;
	while ((n = client_body(client, &piece, err)) > 0)
		strbuf_add(&text, piece, (size_t)n);
	return n < 0 ? (int)n : json_parse(text.data ? text.data : "", text.size, ret, err);
}

/* Not client_get(): that waits for a daemon that is restarted, and for one that hangs for ever. */
static int ask_status(struct doctor *doctor)
{
	struct client *client = &doctor->cli->client;
	struct error *err = &doctor->connect_err;
	int r;

	client->fd = endpoint_connect_existing(&doctor->cli->endpoint, err);
	if (client->fd < 0)
		return client->fd;
	r = client_send(client, "GET", "/v1/status", NULL, err);
	if (r >= 0)
		r = client_poll(client, ANSWER_MS);
	if (r == 0)
		return error_set(err, -ETIMEDOUT, NULL,
			"a daemon has the socket and does not answer within %d s",
			ANSWER_MS / 1000);
	return r < 0 ? r : read_answer(client, &doctor->status, err);
}

/* As the daemon says; where none answers (or one of before it said so), by the folder. */
static bool is_system(const struct doctor *doctor)
{
	const struct json *said = json_get(doctor->status, "system");

	return said ? json_bool(said) : !strcmp(doctor->state_dir, PATHS_SYSTEM_STATE);
}

void doctor_meet(struct doctor *doctor)
{
	const struct endpoint *endpoint = &doctor->cli->endpoint;
	const char *said;
	int r = ask_status(doctor);

	doctor->connected = r < 0 ? r : 0;
	doctor->amlagentd = paths_program("amlagentd");
	doctor->socket = find_socket(endpoint);
	said = json_string(json_get(doctor->status, "state_directory"));
	if (endpoint->state_dir)
		doctor->state_dir = absolute(endpoint->state_dir);
	else
		doctor->state_dir = said ? mem_strdup(said) : paths_user_state();
	doctor->system = is_system(doctor);
	doctor->state_exists = access(doctor->state_dir, R_OK | X_OK) == 0;
}

void doctor_release(struct doctor *doctor)
{
	free(doctor->amlagentd);
	free(doctor->socket);
	free(doctor->state_dir);
	json_free(doctor->status);
	json_free(doctor->record);
}

/* ---- programs ---- */

/* "0.1.0" of "amlagentd 0.1.0\n"; NULL when it does not say so. */
static char *version_of(const char *program)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char *const argv[] = { (char *)program, "--version", NULL };
	const char *space;

	if (doctor_program(argv, true, PROGRAM_MS, &text) != 0)
		return NULL;
	text.data[strcspn(text.data, "\n")] = '\0';
	space = strrchr(text.data, ' ');
	return space ? mem_strdup(space + 1) : NULL;
}

/* The daemon goes on with the file that it was started from, also when a newer one has its name. */
static bool daemon_was_replaced(const struct doctor *doctor)
{
	static const char mark[] = " (deleted)";
	_cleanup_(freep) char *link = NULL;
	char path[PATH_MAX];
	ssize_t size;

	if (!doctor->status)
		return false;
	link = mem_printf("/proc/%lld/exe", (long long)json_int(json_get(doctor->status, "pid")));
	size = readlink(link, path, sizeof(path) - 1);
	if (size < (ssize_t)sizeof(mark))
		return false;
	path[size] = '\0';
	return !strcmp(path + size - (sizeof(mark) - 1), mark);
}

#define ADVICE_RESTART \
	"end it with SIGTERM (the next command starts the new one) or `systemctl restart " \
	"amlagentd`; runs go on meanwhile"

static void compare_versions(
	const struct doctor *doctor, const char *installed, struct doctor_finding *ret)
{
	const char *running = json_string(json_get(doctor->status, "version"));

	if (!installed)
		doctor_problem(ret, "install amlagent again", "%s does not run", doctor->amlagentd);
	else if (strcmp(installed, AMLAGENT_VERSION) != 0)
		doctor_note(ret, "install both from the same version", "amlctl is %s, %s is %s",
			AMLAGENT_VERSION, doctor->amlagentd, installed);
	else if (running && strcmp(running, installed) != 0)
		doctor_note(ret, ADVICE_RESTART, "the daemon that runs is %s, installed is %s",
			running, installed);
	else if (daemon_was_replaced(doctor))
		doctor_note(ret, ADVICE_RESTART,
			"the daemon that runs is of a file that has been replaced since");
	else
		doctor_ok(ret, "amlctl%s and amlagentd %s, amlagent-supervisor, amlagent-git-info",
			running ? ", the daemon that runs" : "", installed);
}

void doctor_check_programs(struct doctor *doctor, struct doctor_finding *ret)
{
	_cleanup_(freep) char *supervisor = paths_program("amlagent-supervisor");
	_cleanup_(freep) char *git = paths_program("amlagent-git-info");
	_cleanup_(freep) char *helper = paths_program("amlagent-user-helper");
	_cleanup_(freep) char *installed = NULL;

	if (!doctor->amlagentd && doctor->status) {
		doctor_note(ret, "nothing to do while it runs",
			"amlagentd is not installed beside amlctl; one that somebody else started "
			"answers");
		return;
	}
	if (!doctor->amlagentd || !supervisor) {
		doctor_problem(ret, "install it beside amlctl, or in " AMLAGENT_LIBEXECDIR,
			"%s is not found", doctor->amlagentd ? "amlagent-supervisor" : "amlagentd");
		return;
	}
	installed = version_of(doctor->amlagentd);
	compare_versions(doctor, installed, ret);
	if (doctor->system && !helper)
		doctor_problem(ret, "install it beside amlctl, or in " AMLAGENT_LIBEXECDIR,
			"amlagent-user-helper is not found: the system service cannot read its "
			"users' files");
	else if (ret->result == DOCTOR_OK && !git)
		doctor_note(ret, "install it beside amlctl, or in " AMLAGENT_LIBEXECDIR,
			"amlagent-git-info is not found: runs will have no git properties");
}

char *doctor_config_path(const struct doctor *doctor)
{
	const char *named = doctor->cli->endpoint.config;
	const char *said = json_string(json_get(doctor->status, "configuration_file"));

	if (named)
		return absolute(named);
	if (said)
		return mem_strdup(said);
	return doctor->system ? mem_strdup(PATHS_SYSTEM_CONFIG) : paths_user_config();
}

void doctor_check_configuration(struct doctor *doctor, struct doctor_finding *ret)
{
	const char *named = doctor->cli->endpoint.config;
	_cleanup_(freep) char *path = doctor_config_path(doctor);
	struct error err = ERROR_INIT;
	struct config config;

	if (!named && access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		doctor_ok(ret, "all defaults (no %s)", path);
	else if (config_load(path, &config, NULL, &err) < 0)
		doctor_problem(
			ret, "correct it; amlagentd.conf(5) lists the keys", "%s", err.message);
	else
		doctor_ok(ret, "%s", path);
}

/* ---- the socket ---- */

static void judge_answering(const struct doctor *doctor, struct doctor_finding *ret)
{
	const char *state = json_string(json_get(doctor->status, "state_directory"));
	struct stat socket, said, named;

	if (stat(doctor->socket, &socket) < 0)
		doctor_problem(ret, "end the daemon with SIGTERM: the next one makes it again",
			"a daemon answers, and its socket %s is gone", doctor->socket);
	else if (state && stat(state, &said) == 0 && stat(doctor->state_dir, &named) == 0 &&
		 (said.st_dev != named.st_dev || said.st_ino != named.st_ino))
		doctor_problem(ret, "name the socket of the daemon that is meant with --socket",
			"the daemon at %s keeps the state folder %s, not %s", doctor->socket, state,
			doctor->state_dir);
	else if (!doctor->system && (socket.st_mode & 077))
		doctor_note(ret, "chmod 600 it",
			"a daemon answers at %s; others can connect to it, and are refused",
			doctor->socket);
	else
		doctor_ok(ret, "a daemon answers at %s (pid %lld)", doctor->socket,
			(long long)json_int(json_get(doctor->status, "pid")));
}

/* Nothing is made: paths_prepare_socket_dir() makes a folder only where none is. */
static void judge_absent(const struct doctor *doctor, struct doctor_finding *ret)
{
	_cleanup_(freep) char *dir = mem_strndup(
		doctor->socket, (size_t)(strrchr(doctor->socket, '/') - doctor->socket));
	struct error err = ERROR_INIT;
	struct stat st;

	if (lstat(doctor->socket, &st) == 0 && !S_ISSOCK(st.st_mode))
		doctor_problem(
			ret, "move it away", "%s is in the place of the socket", doctor->socket);
	else if (lstat(dir, &st) == 0 && paths_prepare_socket_dir(doctor->socket, &err) < 0)
		doctor_problem(ret, NULL, "%s", err.message);
	else if (lstat(dir, &st) == 0 && access(dir, W_OK | X_OK) < 0)
		doctor_problem(ret, "choose another with --socket or XDG_RUNTIME_DIR",
			"no socket can be made in %s: %s", dir, strerror(errno));
	else if (doctor->cli->endpoint.socket && !doctor->cli->endpoint.state_dir)
		doctor_note(ret, "start it, if it is one that you start yourself",
			"no daemon answers at %s", doctor->socket);
	else
		doctor_note(ret, "nothing: the first command that needs one starts it",
			"no daemon answers at %s", doctor->socket);
}

void doctor_check_socket(struct doctor *doctor, struct doctor_finding *ret)
{
	int r = doctor->connected;

	if (r == 0)
		judge_answering(doctor, ret);
	else if (r == -ENOENT || r == -ECONNREFUSED)
		judge_absent(doctor, ret);
	else if (r == -ETIMEDOUT)
		doctor_problem(ret,
			"its log (amlagentd.log in the state folder, or the journal) may say why; "
			"kill it, the next one takes over and no run is lost",
			"%s: %s", doctor->socket, doctor->connect_err.message);
	else
		doctor_problem(ret, NULL, "%s", doctor->connect_err.message);
}

/* ---- Python ---- */

/* As the daemon does it (capture/interpreter.h): the absolute parts of PATH. malloc'ed. */
static char *search_path(const char *name)
{
	const char *path = getenv("PATH");

	for (const char *part = path ? path : "/usr/local/bin:/usr/bin:/bin"; *part;) {
		size_t size = strcspn(part, ":");
		_cleanup_(freep) char *program = mem_printf("%.*s/%s", (int)size, part, name);
		struct stat st;

		if (*part == '/' && access(program, X_OK) == 0 && stat(program, &st) == 0 &&
			S_ISREG(st.st_mode))
			return TAKE(program);
		part += size + (part[size] == ':');
	}
	return NULL;
}

static char *python_version(const char *program)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	char *const argv[] = { (char *)program, "-I", "-c",
		"import sys; print('%d.%d.%d' % sys.version_info[:3])", NULL };

	if (doctor_program(argv, true, PROGRAM_MS, &text) != 0 || !text.size)
		return NULL;
	text.data[strcspn(text.data, "\n")] = '\0';
	return strbuf_steal(&text);
}

void doctor_check_python(struct doctor *doctor, struct doctor_finding *ret)
{
	static const char *const names[] = { "python", "python3" };

	(void)doctor;
	doctor_note(ret,
		"install Python 3, activate an environment before `amlctl run`, or name one with "
		"--python",
		"neither python nor python3 is on PATH");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_(freep) char *program = search_path(names[i]);
		_cleanup_(freep) char *version = program ? python_version(program) : NULL;

		if (version) {
			doctor_ok(ret, "%s is Python %s", program, version);
			return;
		}
		if (program)
			doctor_note(ret, "name another with --python",
				"%s does not answer as a Python does", program);
	}
}
