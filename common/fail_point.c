/* SPDX-License-Identifier: MIT */
/* fail_point - the steps that can be made to fail; see fail_point.h */
#include "common/fail_point.h"

#ifdef AMLAGENT_FAIL_POINTS

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"

#define VARIABLE "AMLAGENT_FAIL"
#define LOG_VARIABLE "AMLAGENT_FAIL_LOG"
#define NAME_MAX_SIZE 64

enum mode { NOTHING, KILL, KILL_AFTER, ABORT, FAIL, INTERRUPT, SHORT, DELAY };

struct setting {
	enum mode mode;
	int value; /* FAIL: a negative errno; DELAY: milliseconds */
	unsigned first, last;
	atomic_uint passed;
};

#define FAIL_POINT_NAME(point, name) name,
static const char *const names[] = { FAIL_POINTS(FAIL_POINT_NAME) };
static struct setting settings[FAIL_POINT_COUNT];
static const char *log_path;

/* What is to happen until a point is left: INTERRUPT, SHORT, KILL_AFTER. */
static _Thread_local enum mode within;
static _Thread_local enum fail_point within_point;
static _Thread_local bool interrupted; /* the call before was */

static void complain(const char *text, size_t size)
{
	dprintf(STDERR_FILENO, "%s: \"%.*s\" says nothing\n", VARIABLE, (int)size, text);
	abort();
}

static int errno_of(const char *name)
{
	for (int number = 1; number < 134; number++) {
		const char *known = strerrorname_np(number);

		if (known && !strcmp(known, name))
			return number;
	}
	return 0;
}

static bool parse_mode(const char *text, struct setting *ret)
{
	static const struct {
		const char *name;
		enum mode mode;
	} modes[] = { { "kill", KILL }, { "kill-after", KILL_AFTER }, { "abort", ABORT },
		{ "interrupt", INTERRUPT }, { "short", SHORT } };

	int end;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(text, modes[i].name))
			ret->mode = modes[i].mode;
	if (sscanf(text, "delay-%d%n", &ret->value, &end) == 1 && !text[end]) {
		ret->mode = DELAY;
	} else if (ret->mode == NOTHING) {
		ret->mode = FAIL;
		ret->value = -errno_of(text);
	}
	return ret->mode != FAIL || ret->value;
}

/* name=mode[:nth[:times]] */
static bool parse_one(char *text)
{
	char *mode = strchr(text, '=');
	unsigned nth = 1, times = 1;
	char *numbers;

	if (!mode)
		return false;
	*mode++ = '\0';
	numbers = strchr(mode, ':');
	if (numbers) {
		*numbers++ = '\0';
		if (sscanf(numbers, "%u:%u", &nth, &times) < 1 || nth == 0)
			return false;
	}
	for (size_t i = 0; i < FAIL_POINT_COUNT; i++) {
		if (strcmp(names[i], text))
			continue;
		settings[i].first = nth;
		settings[i].last = times ? nth + times - 1 : ~0u;
		return parse_mode(mode, &settings[i]);
	}
	return false;
}

__attribute__((constructor)) static void read_settings(void)
{
	const char *at = getenv(VARIABLE);

	log_path = getenv(LOG_VARIABLE);
	while (at && *at) {
		size_t size = strcspn(at, ",");
		char one[NAME_MAX_SIZE];

		snprintf(one, sizeof(one), "%.*s", (int)size, at);
		if (size >= sizeof(one) || !parse_one(one))
			complain(at, size);
		at += size + (at[size] == ',');
	}
}

static void note(enum fail_point point)
{
	_cleanup_(closep) int fd =
		log_path ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -EBADF;

	if (fd >= 0)
		dprintf(fd, "%s\n", names[point]);
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static void wait_ms(int ms)
{
	const struct timespec span = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&span, NULL);
}

int fail_point_enter(enum fail_point point)
{
	struct setting *setting = &settings[point];
	unsigned nth = atomic_fetch_add(&setting->passed, 1) + 1;

	note(point);
	if (setting->mode == NOTHING || nth < setting->first || nth > setting->last)
		return 0;
	switch (setting->mode) {
	case KILL:
		die();
		break;
	case ABORT:
		abort();
	case DELAY:
		wait_ms(setting->value);
		break;
	case FAIL:
		errno = -setting->value;
		return setting->value;
	default:
		within = setting->mode;
		within_point = point;
		break;
	}
	return 0;
}

void fail_point_leave(enum fail_point point)
{
	if (within == NOTHING || within_point != point)
		return;
	if (within == KILL_AFTER)
		die();
	within = NOTHING;
}

ssize_t fail_point_write(int fd, const void *data, size_t size)
{
	interrupted = within == INTERRUPT && !interrupted;
	if (interrupted) {
		errno = EINTR;
		return -1;
	}
	return write(fd, data, within == SHORT && size > 1 ? size / 2 : size);
}

int fail_point_fsync(int fd)
{
	interrupted = within == INTERRUPT && !interrupted;
	if (interrupted) {
		errno = EINTR;
		return -1;
	}
	return fsync(fd);
}

char *const *fail_point_environment(void)
{
	static char values[2][4096];
	static char *list[3];
	static const char *const variables[] = { VARIABLE, LOG_VARIABLE };
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		const char *value = getenv(variables[i]);

		if (!value)
			continue;
		snprintf(values[i], sizeof(values[i]), "%s=%s", variables[i], value);
		list[count++] = values[i];
	}
	list[count] = NULL;
	return list;
}

#endif
