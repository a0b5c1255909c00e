/* SPDX-License-Identifier: MIT */
/* run_limits - the resource limits of whoever submits a run; see run_limits.h */
#include "common/run_limits.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/file.h"

#define UNLIMITED "unlimited"
#define PROC_TEXT_MAX 16384

static const struct {
	const char *name;
	const char *proc_name; /* as /proc/PID/limits has it */
	int resource;
} kinds[] = {
	{ "as", "Max address space", RLIMIT_AS },
	{ "core", "Max core file size", RLIMIT_CORE },
	{ "cpu", "Max cpu time", RLIMIT_CPU },
	{ "data", "Max data size", RLIMIT_DATA },
	{ "fsize", "Max file size", RLIMIT_FSIZE },
	{ "locks", "Max file locks", RLIMIT_LOCKS },
	{ "memlock", "Max locked memory", RLIMIT_MEMLOCK },
	{ "msgqueue", "Max msgqueue size", RLIMIT_MSGQUEUE },
	{ "nice", "Max nice priority", RLIMIT_NICE },
	{ "nofile", "Max open files", RLIMIT_NOFILE },
	{ "nproc", "Max processes", RLIMIT_NPROC },
	{ "rss", "Max resident set", RLIMIT_RSS },
	{ "rtprio", "Max realtime priority", RLIMIT_RTPRIO },
	{ "rttime", "Max realtime timeout", RLIMIT_RTTIME },
	{ "sigpending", "Max pending signals", RLIMIT_SIGPENDING },
	{ "stack", "Max stack size", RLIMIT_STACK },
};
_Static_assert(ARRAY_SIZE(kinds) == RUN_LIMITS_COUNT, "one item a kind");

/* A number or "unlimited"; *at is moved behind it. */
static bool take_value(const char **at, rlim_t *ret)
{
	char *end;

	if (!strncmp(*at, UNLIMITED, sizeof(UNLIMITED) - 1)) {
		*at += sizeof(UNLIMITED) - 1;
		*ret = RLIM_INFINITY;
		return true;
	}
	if (!isdigit((unsigned char)**at))
		return false;
	errno = 0;
	*ret = strtoull(*at, &end, 10);
	*at = end;
	return !errno;
}

static void set(struct run_limits *limits, size_t kind, struct rlimit limit)
{
	limits->items[kind] = limit;
	limits->known |= UINT32_C(1) << kind;
}

static bool is_known(const struct run_limits *limits, size_t kind)
{
	return limits->known & UINT32_C(1) << kind;
}

/* ---- of a process ---- */

/* "Max open files            1024                 524288               files" */
static bool take_proc_line(const char *line, const char *name, struct rlimit *ret)
{
	size_t size = strlen(name);

	if (strncmp(line, name, size) != 0 || line[size] != ' ')
		return false;
	line += size + strspn(line + size, " ");
	if (!take_value(&line, &ret->rlim_cur) || *line != ' ')
		return false;
	line += strspn(line, " ");
	return take_value(&line, &ret->rlim_max) && ret->rlim_cur <= ret->rlim_max;
}

int run_limits_parse_proc(const char *text, struct run_limits *ret)
{
	struct run_limits limits = { 0 };

	for (const char *line = text; *line; line += *line == '\n') {
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
			struct rlimit limit;

			if (take_proc_line(line, kinds[i].proc_name, &limit))
				set(&limits, i, limit);
		}
		line = strchrnul(line, '\n');
	}
	if (!limits.known)
		return -EBADMSG;
	*ret = limits;
	return 0;
}

static int read_proc(int processfd, const char *name, struct strbuf *ret)
{
	int r = file_read(processfd, name, PROC_TEXT_MAX, ret);

	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	return ret->size ? 0 : -ESRCH;
}

static int check_user(int processfd, uid_t uid)
{
	static const char key[] = "\nUid:";
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = read_proc(processfd, "status", &text);
	const char *line = r < 0 ? NULL : strstr(text.data, key);
	unsigned real, effective;

	if (r < 0)
		return r;
	if (!line || sscanf(line + sizeof(key) - 1, "%u %u", &real, &effective) != 2)
		return -EBADMSG;
	return (uid_t)effective == uid ? 0 : -EPERM;
}

/* The directory stays that of one process: what is read through it is of that one. */
int run_limits_of_process(pid_t pid, uid_t uid, struct run_limits *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(closep) int fd = -EBADF;
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = pid > 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;
	if (fd < 0)
		return pid <= 0 || errno == ENOENT ? -ESRCH : -errno;
	r = check_user(fd, uid);
	if (r >= 0)
		r = read_proc(fd, "limits", &text);
	return r < 0 ? r : run_limits_parse_proc(text.data, ret);
}

/* ---- text ---- */

static void add_value(struct strbuf *to, rlim_t value)
{
	if (value == RLIM_INFINITY)
		strbuf_adds(to, UNLIMITED);
	else
		strbuf_addf(to, "%llu", (unsigned long long)value);
}

void run_limits_format(const struct run_limits *limits, struct strbuf *ret)
{
	bool first = true;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!is_known(limits, i))
			continue;
		strbuf_addf(ret, "%s%s=", first ? "" : " ", kinds[i].name);
		add_value(ret, limits->items[i].rlim_cur);
		strbuf_addc(ret, ':');
		add_value(ret, limits->items[i].rlim_max);
		first = false;
	}
}

static bool name_is(const char *text, size_t size, const char *name)
{
	return strlen(name) == size && !memcmp(text, name, size);
}

/* One "name=soft:hard". */
static int take_item(const char **at, struct run_limits *limits)
{
	const char *name = *at;
	size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz");
	struct rlimit limit;

	if (!size || name[size] != '=')
		return -EBADMSG;
	*at = name + size + 1;
	if (!take_value(at, &limit.rlim_cur) || *(*at)++ != ':' ||
		!take_value(at, &limit.rlim_max) || limit.rlim_cur > limit.rlim_max)
		return -EBADMSG;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!name_is(name, size, kinds[i].name))
			continue;
		if (is_known(limits, i))
			return -EBADMSG;
		set(limits, i, limit);
	}
	return 0;
}

int run_limits_parse(const char *text, struct run_limits *ret)
{
	struct run_limits limits = { 0 };
	const char *at = text;

	if (strnlen(text, RUN_LIMITS_TEXT_MAX + 1) > RUN_LIMITS_TEXT_MAX)
		return -EBADMSG;
	while (*at) {
		int r = take_item(&at, &limits);

		if (r < 0)
			return r;
		if (*at == ' ' && at[1])
			at++;
		else if (*at)
			return -EBADMSG;
	}
	*ret = limits;
	return 0;
}

/* ---- being limited ---- */

static void apply(int resource, struct rlimit limit)
{
	struct rlimit now;

	if (setrlimit(resource, &limit) == 0 || getrlimit(resource, &now) < 0)
		return;
	if (limit.rlim_max > now.rlim_max)
		limit.rlim_max = now.rlim_max;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	setrlimit(resource, &limit);
}

void run_limits_apply(const struct run_limits *limits)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (is_known(limits, i))
			apply(kinds[i].resource, limits->items[i]);
}
