/* SPDX-License-Identifier: MIT */
/* python_probe - prove that a program is a Python by asking it; see python_probe.h */
#include "capture/python_probe.h"

#include <ctype.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "capture/child_process.h"
#include "common/cleanup.h"
#include "common/mem.h"
#include "common/utf8.h"

#define MARKER "amlagent-python"
#define ANSWER_MAX ((size_t)64 * 1024)
#define SHOWN_MAX ((size_t)300)
#define MEMORY_SIZE 64

/*
 * The marker is put together by the program, so that one which merely prints its arguments does not
 * pass. The current directory goes from sys.path before anything is imported from there.
 */
static const char question[] =
	"import sys; sys.path = [p for p in sys.path if p]; import os; "
	"f = getattr(os, 'fsencode', lambda s: s); "
	"os.write(1, f('\\0').join([f(s) for s in ('amlagent' + '-python', sys.version.split()[0], "
	"sys.executable or '', sys.prefix, '')]))";

/* A file as it is now; all zero when it is not there. */
struct file_state {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed, modified;
};

static struct {
	pthread_mutex_t lock;
	struct memory {
		char *path;
		struct file_state program, venv;
		struct python_answer answer;
	} entries[MEMORY_SIZE];
	size_t next; /* the one to replace */
} memory = { .lock = PTHREAD_MUTEX_INITIALIZER };

void python_answer_release(struct python_answer *answer)
{
	free(answer->version);
	free(answer->executable);
	free(answer->prefix);
	*answer = (struct python_answer){ 0 };
}

static void answer_copy(const struct python_answer *from, struct python_answer *ret)
{
	*ret = (struct python_answer){
		.version = mem_strdup(from->version),
		.executable = mem_strdup(from->executable),
		.prefix = mem_strdup(from->prefix),
		.is_script = from->is_script,
	};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_state(const struct file_state *a, const struct file_state *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       same_time(&a->changed, &b->changed) && same_time(&a->modified, &b->modified);
}

static struct file_state state_of(const char *path)
{
	struct stat st;

	if (!path || stat(path, &st) < 0)
		return (struct file_state){ 0 };
	return (struct file_state){ st.st_dev, st.st_ino, st.st_size, st.st_ctim, st.st_mtim };
}

static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash > path ? mem_strndup(path, (size_t)(slash - path)) : mem_strdup("/");
}

static bool has_venv_file(const char *dir)
{
	_cleanup_(freep) char *path = mem_printf("%s/pyvenv.cfg", dir);
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Beside the executable or one above; the prefix is one above in both cases. */
char *python_venv_of(const char *executable)
{
	_cleanup_(freep) char *bin = parent_of(executable);
	_cleanup_(freep) char *prefix = parent_of(bin);

	return has_venv_file(bin) || has_venv_file(prefix) ? TAKE(prefix) : NULL;
}

static struct file_state venv_state(const char *path)
{
	_cleanup_(freep) char *venv = python_venv_of(path);
	_cleanup_(freep) char *file = venv ? mem_printf("%s/pyvenv.cfg", venv) : NULL;

	return state_of(file);
}

static bool is_elf(const char *path)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char magic[4];

	return fd >= 0 && read(fd, magic, sizeof(magic)) == sizeof(magic) &&
	       !memcmp(magic, "\177ELF", sizeof(magic));
}

static bool recall(const struct memory *wanted, struct python_answer *ret)
{
	bool found = false;

	pthread_mutex_lock(&memory.lock);
	for (size_t i = 0; i < MEMORY_SIZE && !found; i++) {
		const struct memory *entry = &memory.entries[i];

		found = entry->path && !strcmp(entry->path, wanted->path) &&
			same_state(&entry->program, &wanted->program) &&
			same_state(&entry->venv, &wanted->venv);
		if (found)
			answer_copy(&entry->answer, ret);
	}
	pthread_mutex_unlock(&memory.lock);
	return found;
}

static void remember(const struct memory *known, const struct python_answer *answer)
{
	struct memory *entry;

	pthread_mutex_lock(&memory.lock);
	entry = &memory.entries[memory.next++ % MEMORY_SIZE];
	free(entry->path);
	python_answer_release(&entry->answer);
	*entry = *known;
	entry->path = mem_strdup(known->path);
	answer_copy(answer, &entry->answer);
	pthread_mutex_unlock(&memory.lock);
}

/* What a program printed, fit for one line of a message: malloc'ed, "" when there is nothing. */
static char *shown(const struct strbuf *printed)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
	bool space = false;

	for (size_t i = 0; i < printed->size && line.size < SHOWN_MAX; i++) {
		unsigned char c = (unsigned char)printed->data[i];

		if (c <= ' ' || c == 0x7f) {
			space = line.size > 0;
			continue;
		}
		if (space)
			strbuf_addc(&line, ' ');
		space = false;
		strbuf_addc(&line, (char)c);
	}
	return utf8_sanitize(line.data ? line.data : "", line.size);
}

static int not_python(const char *path, const char *what, const char *detail, struct error *err)
{
	return error_set(err, -ENOEXEC, PYTHON_TARGET, "%s is not a Python interpreter: %s%s%s; %s",
		path, what, detail && *detail ? ": " : "", detail ? detail : "", PYTHON_ADVICE);
}

static int explain_end(
	const char *path, const struct child_process *child, int timeout_ms, struct error *err)
{
	_cleanup_(freep) char *complaint = shown(&child->complaint);
	_cleanup_(freep) char *output = shown(&child->output);
	_cleanup_(freep) char *what = NULL;
	const char *signal_name;

	switch (child->end) {
	case CHILD_PROCESS_TIMED_OUT:
		return error_set(err, -ETIMEDOUT, PYTHON_TARGET,
			"%s did not say which Python it is within %d ms; %s", path, timeout_ms,
			PYTHON_ADVICE);
	case CHILD_PROCESS_TOO_MUCH_OUTPUT:
		return not_python(path, "it prints without end", NULL, err);
	case CHILD_PROCESS_SIGNALED:
		signal_name = sigdescr_np(child->status);
		what = mem_printf("signal %d (%s) ended it", child->status,
			signal_name ? signal_name : "unknown");
		return not_python(path, what, complaint, err);
	case CHILD_PROCESS_EXITED:
		break;
	}
	if (child->status == 0)
		return not_python(path, *output ? "it printed" : "it printed nothing", output, err);
	what = mem_printf("it exited with status %d", child->status);
	return not_python(path, what, *complaint ? complaint : output, err);
}

static int explain_start(const char *path, int r, struct error *err)
{
	if (r == -ENOENT)
		return error_set(err, r, PYTHON_TARGET,
			"%s cannot be executed: the program that its first line (or its ELF "
			"header) names is not there; %s",
			path, PYTHON_ADVICE);
	if (r == -ENOEXEC)
		return not_python(
			path, "it is no program that this machine can execute", NULL, err);
	return error_set(err, r, PYTHON_TARGET, "%s cannot be executed: %s; %s", path, strerror(-r),
		PYTHON_ADVICE);
}

/* The next field of the answer, which ends in a NUL; NULL when there is none. */
static const char *next_field(const char **at, const char *end)
{
	const char *field = *at;
	const char *nul = field < end ? memchr(field, '\0', (size_t)(end - field)) : NULL;

	*at = nul ? nul + 1 : end;
	return nul ? field : NULL;
}

static bool read_answer(const struct strbuf *output, struct python_answer *ret)
{
	const char *at = output->data, *end = at + output->size;
	const char *marker = next_field(&at, end);
	const char *version = next_field(&at, end);
	const char *executable = next_field(&at, end);
	const char *prefix = next_field(&at, end);

	if (!marker || !version || !executable || !prefix)
		return false;
	if (strcmp(marker, MARKER) != 0 || !isdigit((unsigned char)*version))
		return false;
	ret->version = mem_strdup(version);
	ret->executable = mem_strdup(executable);
	ret->prefix = mem_strdup(prefix);
	return true;
}

static int ask(const char *path, const char *cwd, char *const *env, int timeout_ms,
	struct python_answer *ret, struct error *err)
{
	char *const argv[] = { (char *)path, "-E", "-s", "-S", "-c", (char *)question, NULL };
	_cleanup_(child_process_release) struct child_process child = { 0 };
	struct child_process_options options = { argv, env, cwd, ANSWER_MAX, timeout_ms };
	int r = child_process_run(&options, &child);

	if (r < 0)
		return explain_start(path, r, err);
	if (child.end == CHILD_PROCESS_EXITED && child.status == 0 &&
		read_answer(&child.output, ret))
		return 0;
	return explain_end(path, &child, timeout_ms, err);
}

int python_probe(const char *path, const char *cwd, char *const *env, int timeout_ms,
	struct python_answer *ret, struct error *err)
{
	bool elf = is_elf(path);
	struct memory known = {
		.path = (char *)path, .program = state_of(path), .venv = venv_state(path)
	};
	_cleanup_(python_answer_release) struct python_answer answer = { .is_script = !elf };
	char *venv;
	int r;

	if (elf && recall(&known, ret))
		return 0;
	r = ask(path, cwd, env, timeout_ms, &answer, err);
	if (r < 0)
		return r;
	/* A shim's own folder says nothing; that of the Python behind it does. */
	venv = python_venv_of(elf || !*answer.executable ? path : answer.executable);
	if (venv) {
		free(answer.prefix);
		answer.prefix = venv;
	}
	if (elf)
		remember(&known, &answer);
	*ret = answer;
	answer = (struct python_answer){ 0 };
	return 0;
}
