/* SPDX-License-Identifier: MIT */
/* autostart - start the per-user daemon when none answers; see autostart.h */
#include "cli/autostart.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/output.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/paths.h"
#include "common/strv.h"

#define READY_FD 3
#define READY_FD_TEXT "3"
#define LOG_TAIL_MAX 65536
#define TELL_MS 1000

struct starting {
	char **argv;
	char *state;
	char *log_path;
	off_t log_start; /* what the log held before */
	pid_t pid;
	int ready; /* the reading end */
};

static void starting_release(struct starting *starting)
{
	strv_free(starting->argv);
	free(starting->state);
	free(starting->log_path);
	closep(&starting->ready);
}

/* A folder that is gone under us: the path as given has to do. */
static char *absolute(const char *path)
{
	char *full = path_absolute(path);

	return full ? full : mem_strdup(path);
}

/* Everybody who wants a daemon at this socket waits here in turn; the descriptor holds the lock. */
static int take_turn(const char *socket, struct error *err)
{
	_cleanup_(freep) char *path = mem_printf("%s.start", socket);
	_cleanup_(closep) int fd = -EBADF;
	int r = paths_prepare_socket_dir(socket, err);

	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_errno(err, -errno, path, "cannot make %s", path);
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return error_errno(err, -errno, path, "cannot lock %s", path);
	return TAKE_FD(fd);
}

static int make_command(
	struct starting *s, const char *socket, const char *config, struct error *err)
{
	char *program = paths_program("amlagentd");

	if (!program)
		return error_set(err, -ENOENT, "amlagentd",
			"no amlagentd answers, and the program is not installed beside amlctl; install "
			"it, or name a running daemon's socket with --socket");
	strv_take(&s->argv, program);
	strv_add(&s->argv, "--user");
	strv_add(&s->argv, "--socket");
	strv_add(&s->argv, socket);
	strv_add(&s->argv, "--state-dir");
	strv_add(&s->argv, s->state);
	if (config) {
		strv_add(&s->argv, "--config");
		strv_take(&s->argv, absolute(config));
	}
	strv_add(&s->argv, "--idle-exit");
	strv_add(&s->argv, AUTOSTART_IDLE_SECONDS);
	strv_add(&s->argv, "--ready-fd");
	strv_add(&s->argv, READY_FD_TEXT);
	return 0;
}

static int open_log(struct starting *s, struct error *err)
{
	_cleanup_(closep) int fd = -EBADF;
	struct stat st;
	int r = dir_make(s->state, 0700);

	if (r < 0)
		return error_errno(err, r, s->state,
			"cannot make the state folder %s (choose another with --state-dir)",
			s->state);
	fd = open(s->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY,
		0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, -errno, s->log_path, "cannot write %s", s->log_path);
	s->log_start = st.st_size;
	return TAKE_FD(fd);
}

/* In the child: become the daemon. Only calls that are safe after fork(); 127 when it cannot be. */
static void become_daemon(char *const *argv, int log, int ready)
{
	sigset_t none;
	int null;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* Above all targets first, so that no dup2 closes what a later one needs. */
	log = fcntl(log, F_DUPFD_CLOEXEC, 10);
	ready = fcntl(ready, F_DUPFD_CLOEXEC, 10);
	if (null < 0 || log < 0 || ready < 0 || chdir("/") < 0)
		_exit(127);
	if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0 || dup2(ready, READY_FD) < 0)
		_exit(127);
	/* What the shell left open for us is not the daemon's to keep. */
	close_range(READY_FD + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	execv(argv[0], argv);
	_exit(127);
}

static int spawn(struct starting *s, int log, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_errno(err, -errno, NULL, "cannot make a pipe");
	s->pid = fork();
	if (s->pid == 0)
		become_daemon(s->argv, log, ends[1]);
	close(ends[1]);
	s->ready = ends[0];
	return s->pid < 0 ? error_errno(err, -errno, NULL, "cannot start amlagentd") : 0;
}

/* The last line that the daemon wrote into its log since we started it; "" when there is none. */
static char *last_words(const struct starting *s)
{
	_cleanup_(closep) int fd = open(s->log_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	off_t from = size - s->log_start > LOG_TAIL_MAX ? size - LOG_TAIL_MAX : s->log_start;
	char *line;

	if (fd < 0 || lseek(fd, from, SEEK_SET) < 0 ||
		file_read_fd(fd, LOG_TAIL_MAX * 2, &text) < 0)
		return mem_strdup("");
	while (text.size && text.data[text.size - 1] == '\n')
		text.data[--text.size] = '\0';
	line = text.data ? strrchr(text.data, '\n') : NULL;
	return mem_strdup(line ? line + 1 : text.data ? text.data : "");
}

/* What it writes into its log before it is ready is why it takes so long: said once. */
static void tell_why(const struct starting *s, bool *told)
{
	_cleanup_(freep) char *line = NULL;

	if (*told)
		return;
	line = last_words(s);
	if (!line[0])
		return;
	say("waiting for amlagentd (pid %d): %s", (int)s->pid, line);
	*told = true;
}

/* 0 when the daemon said READY, -ETIMEDOUT, or -ECHILD when it ended without. */
static int await_ready(const struct starting *s)
{
	int64_t end = clock_boot() + AUTOSTART_READY_SECONDS * USEC_PER_SEC;
	char text[16] = "";
	size_t size = 0;
	bool told = false;

	while (size < sizeof(text) - 1 && !strchr(text, '\n')) {
		struct pollfd wait = { s->ready, POLLIN, 0 };
		int ready = poll(&wait, 1, TELL_MS);
		ssize_t n;

		if (ready == 0 && clock_boot() >= end)
			return -ETIMEDOUT;
		if (ready == 0) {
			tell_why(s, &told);
			continue;
		}
		n = ready > 0 ? read(s->ready, text + size, sizeof(text) - 1 - size) : -1;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -ECHILD;
		size += (size_t)n;
		text[size] = '\0';
	}
	return strcmp(text, "READY\n") ? -ECHILD : 0;
}

static int explain(const struct starting *s, int r, struct error *err)
{
	_cleanup_(freep) char *line = last_words(s);

	if (line[0])
		return error_set(err, r, NULL, "amlagentd did not start: %s", line);
	if (r == -ETIMEDOUT)
		return error_set(err, r, NULL,
			"amlagentd (pid %d) was not ready within %d s; see %s", (int)s->pid,
			AUTOSTART_READY_SECONDS, s->log_path);
	return error_set(
		err, r, NULL, "amlagentd did not start (%s); see %s", s->argv[0], s->log_path);
}

static int start(struct starting *s, const char *socket, const char *config, struct error *err)
{
	_cleanup_(closep) int log = -EBADF;
	int r = make_command(s, socket, config, err);

	if (r < 0)
		return r;
	log = open_log(s, err);
	if (log < 0)
		return log;
	r = spawn(s, log, err);
	if (r < 0)
		return r;
	r = await_ready(s);
	if (r < 0)
		return explain(s, r, err);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "amlctl: started amlagentd (pid %d)\n", (int)s->pid);
	return 0;
}

int autostart(const char *socket, const char *state_dir, const char *config, struct error *err)
{
	_cleanup_(starting_release) struct starting starting = { .ready = -EBADF };
	_cleanup_(closep) int lock = take_turn(socket, err);
	int fd;
	int r;

	if (lock < 0)
		return lock;
	fd = unix_socket_connect(socket);
	if (fd >= 0)
		return fd; /* somebody else started it meanwhile */
	starting.state = state_dir ? absolute(state_dir) : paths_user_state();
	starting.log_path = path_join(starting.state, "amlagentd.log");
	r = start(&starting, socket, config, err);
	if (r < 0)
		return r;
	fd = unix_socket_connect(socket);
	if (fd < 0)
		error_errno(
			err, fd, socket, "amlagentd is ready but does not answer at %s", socket);
	return fd;
}
