/* SPDX-License-Identifier: MIT */
/* config - amlagentd.conf by table; see config.h */
#include "common/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/quantity.h"

static int parse_number(const char *text, int64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoll(text, &end, 10);
	return errno || end == text || *end ? -EINVAL : 0;
}

/* A duration of 0 is a number too: no grace. */
static int parse_seconds(const char *text, int64_t *ret)
{
	return parse_number(text, ret) == 0 ? 0 : duration_parse(text, ret);
}

/* 0 is a size too: all there is. */
static int parse_size(const char *text, int64_t *ret)
{
	return parse_number(text, ret) == 0 ? 0 : size_parse(text, ret);
}

static int parse_level(const char *text, int64_t *ret)
{
	enum log_level level;
	int r = log_parse_level(text, &level);

	if (r == 0)
		*ret = level;
	return r;
}

/* As they may be written, the largest first. */
struct unit {
	const char *name;
	int64_t size;
};

static const struct unit no_units[] = { { "", 1 } };
static const struct unit time_units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };
static const struct unit size_units[] = { { "T", INT64_C(1) << 40 }, { "G", 1 << 30 },
	{ "M", 1 << 20 }, { "K", 1 << 10 }, { "", 1 } };

struct kind {
	const char *what;
	int (*parse)(const char *text, int64_t *ret);
	const struct unit *units; /* NULL: `what` names all there are */
};

static const struct kind number_kind = { "a number", parse_number, no_units };
static const struct kind days_kind = { "a number of days", parse_number, no_units };
static const struct kind duration_kind = { "a duration", parse_seconds, time_units };
static const struct kind size_kind = { "a size", parse_size, size_units };
static const struct kind level_kind = { "error, warning, info or debug", parse_level, NULL };

/* clang-format off */
static const struct key {
	const char *name;
	const struct kind *kind;
	size_t offset;
	int64_t fallback, low, high;
} keys[] = {
#define KEY(name) #name
#define AT(name) offsetof(struct config, name)
	{ KEY(max_running_runs),    &number_kind,   AT(max_running_runs),    0, 1, 100000 },
	{ KEY(stop_grace_seconds),  &duration_kind, AT(stop_grace_seconds),  10, 0, 86400 },
	{ KEY(keep_work_days),      &days_kind,     AT(keep_work_days),      7, 0, 36500 },
	{ KEY(snapshot_max_bytes),  &size_kind,     AT(snapshot_max_bytes),  INT64_C(10) << 30, 1, INT64_C(1) << 52 },
	{ KEY(snapshot_max_files),  &number_kind,   AT(snapshot_max_files),  200000, 1, 100000000 },
	{ KEY(snapshot_warn_bytes), &size_kind,     AT(snapshot_warn_bytes), INT64_C(300) << 20, 1, INT64_C(1) << 52 },
	{ KEY(snapshot_warn_files), &number_kind,   AT(snapshot_warn_files), 2000, 1, 100000000 },
	{ KEY(max_request_bytes),   &size_kind,     AT(max_request_bytes),   INT64_C(4) << 20, 65536, INT64_C(1) << 30 },
	{ KEY(log_level),           &level_kind,    AT(log_level),           LOG_LEVEL_INFO, 0, 7 },
	{ KEY(cpus),                &number_kind,   AT(cpus),                0, 0, 65536 },
	{ KEY(memory_bytes),        &size_kind,     AT(memory_bytes),        0, 0, INT64_C(1) << 52 },
	{ KEY(max_running_runs_per_user), &number_kind, AT(max_running_runs_per_user), 0, 0, 100000 },
	{ KEY(max_queued_runs_per_user), &number_kind, AT(max_queued_runs_per_user), 10000, 0, 1000000 },
	{ KEY(max_cpus_per_user),   &number_kind,   AT(max_cpus_per_user),   0, 0, 65536 },
	{ KEY(max_gpus_per_user),   &number_kind,   AT(max_gpus_per_user),   0, 0, 1024 },
	{ KEY(max_user_priority),   &number_kind,   AT(max_user_priority),   100, -1000, 1000 },
	{ KEY(fair_share_seconds),  &duration_kind, AT(fair_share_seconds),  86400, 60, 31536000 },
	{ KEY(max_processes_per_run), &number_kind, AT(max_processes_per_run), 0, 0, 4194304 },
	{ KEY(max_connections_per_user), &number_kind, AT(max_connections_per_user), 256, 0, 100000 },
	{ KEY(max_requests_per_second_per_user), &number_kind, AT(max_requests_per_second_per_user), 0, 0, 1000000 },
	{ KEY(request_timeout_seconds), &duration_kind, AT(request_timeout_seconds), 10, 1, 3600 },
};
/* clang-format on */

static bool is_cgroup_parent(const char *text)
{
	return !strcmp(text, CGROUP_PARENT_AUTO) || !strcmp(text, CGROUP_PARENT_NONE) ||
	       (text[0] == '/' && text[1] && path_is_inside(text + 1));
}

/* Whether there is such a group is asked when it counts: names may come from the network. */
static bool is_group_name(const char *text)
{
	return !strpbrk(text, " \t:,");
}

static bool is_gpu_list(const char *text)
{
	return !strcmp(text, "auto") || !strcmp(text, "none") || text[0] == '/';
}

/* clang-format off */
static const struct text_key {
	const char *name;
	bool (*is_valid)(const char *text);
	size_t offset;
	const char *fallback;
	const char *what;
} text_keys[] = {
	{ KEY(cgroup_parent), is_cgroup_parent, AT(cgroup_parent), CGROUP_PARENT_AUTO, "auto, none or an absolute path without \"..\"" },
	{ KEY(admin_group),   is_group_name,    AT(admin_group),   "", "the name of a group" },
	{ KEY(users_group),   is_group_name,    AT(users_group),   "", "the name of a group" },
	{ KEY(share_with_group), is_group_name, AT(share_with_group), "", "the name of a group" },
	{ KEY(gpus),          is_gpu_list,      AT(gpus),          "auto", "auto, none or device files separated by commas" },
};
/* clang-format on */

#define KEY_COUNT (ARRAY_SIZE(keys) + ARRAY_SIZE(text_keys))
_Static_assert(KEY_COUNT <= CONFIG_KEYS_MAX, "struct config_lines has no room for every key");

static char *text_field(struct config *config, const struct text_key *key)
{
	return (char *)config + key->offset;
}

static int64_t *field(struct config *config, const struct key *key)
{
	return (int64_t *)((char *)config + key->offset);
}

void config_default(struct config *ret)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		*field(ret, &keys[i]) = keys[i].fallback;
	for (size_t i = 0; i < ARRAY_SIZE(text_keys); i++)
		strcpy(text_field(ret, &text_keys[i]), text_keys[i].fallback);
	ret->max_running_runs = cpus > 0 ? cpus : 1;
}

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	while (isspace((unsigned char)*text))
		text++;
	return text;
}

/* Its number, the texts after the others; KEY_COUNT: there is none of that name. */
static size_t find_key(const char *name)
{
	size_t key = 0;

	while (key < ARRAY_SIZE(keys) && strcmp(keys[key].name, name) != 0)
		key++;
	if (key < ARRAY_SIZE(keys))
		return key;
	while (key < KEY_COUNT && strcmp(text_keys[key - ARRAY_SIZE(keys)].name, name) != 0)
		key++;
	return key;
}

/* ---- a file that is read ---- */

/* What it says so far, and the line that it is at. */
struct reading {
	struct config config;
	struct config_lines lines;
	int line;
	const char *where; /* "FILE:LINE" */
};

static char *bound_text(const struct kind *kind, int64_t value)
{
	const struct unit *unit = kind->units;

	while (value % unit->size)
		unit++;
	return mem_printf("%lld%s", (long long)(value / unit->size), value ? unit->name : "");
}

static int refuse_number(
	const struct reading *reading, const struct key *key, const char *value, struct error *err)
{
	_cleanup_(freep) char *low = NULL;
	_cleanup_(freep) char *high = NULL;

	if (!key->kind->units)
		return error_set(err, -EINVAL, reading->where, "%s: %s: must be %s, not \"%.80s\"",
			reading->where, key->name, key->kind->what, value);
	low = bound_text(key->kind, key->low);
	high = bound_text(key->kind, key->high);
	return error_set(err, -EINVAL, reading->where,
		"%s: %s: must be %s from %s to %s, not \"%.80s\"", reading->where, key->name,
		key->kind->what, low, high, value);
}

static int set_number(
	struct reading *reading, const struct key *key, const char *value, struct error *err)
{
	int64_t number;

	if (key->kind->parse(value, &number) < 0 || number < key->low || number > key->high)
		return refuse_number(reading, key, value, err);
	*field(&reading->config, key) = number;
	return 0;
}

static int set_text(
	struct reading *reading, const struct text_key *key, const char *value, struct error *err)
{
	if (strlen(value) >= CONFIG_TEXT_SIZE || !key->is_valid(value))
		return error_set(err, -EINVAL, reading->where, "%s: %s: must be %s, not \"%.80s\"",
			reading->where, key->name, key->what, value);
	strcpy(text_field(&reading->config, key), value);
	return 0;
}

/* "2 # of four": no value has a word that begins so. */
static bool has_comment(const char *value)
{
	const char *mark = strchr(value, '#');

	while (mark && mark > value && !isspace((unsigned char)mark[-1]))
		mark = strchr(mark + 1, '#');
	return mark;
}

static int set_key(struct reading *reading, const char *name, const char *value, struct error *err)
{
	const char *where = reading->where;
	size_t key = find_key(name);

	if (key == KEY_COUNT)
		return error_set(err, -EINVAL, where, "%s: unknown key \"%.80s\"", where, name);
	if (reading->lines.of[key])
		return error_set(err, -EINVAL, where, "%s: %s is already set in line %d", where,
			name, reading->lines.of[key]);
	if (has_comment(value))
		return error_set(err, -EINVAL, where,
			"%s: %s: no comment may follow a value: comments stand on lines of their "
			"own",
			where, name);
	reading->lines.of[key] = reading->line;
	if (key < ARRAY_SIZE(keys))
		return set_number(reading, &keys[key], value, err);
	return set_text(reading, &text_keys[key - ARRAY_SIZE(keys)], value, err);
}

static int parse_line(struct reading *reading, char *line, struct error *err)
{
	char *equals;

	line = trim(line);
	if (!line[0] || line[0] == '#')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return error_set(err, -EINVAL, reading->where, "%s: must be \"key = value\"",
			reading->where);
	*equals = '\0';
	return set_key(reading, trim(line), trim(equals + 1), err);
}

int config_parse(const char *text, size_t size, const char *name, struct config *ret,
	struct config_lines *ret_lines, struct error *err)
{
	_cleanup_(freep) char *copy = mem_strndup(text, size);
	struct reading reading = { .line = 1 };

	config_default(&reading.config);
	for (char *line = copy, *end; line; line = end, reading.line++) {
		_cleanup_(freep) char *where = mem_printf("%s:%d", name, reading.line);
		int r;

		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		reading.where = where;
		r = parse_line(&reading, line, err);
		if (r < 0)
			return r;
	}
	*ret = reading.config;
	if (ret_lines)
		*ret_lines = reading.lines;
	return 0;
}

char *config_where(const char *path, const struct config_lines *lines, const char *name)
{
	size_t key = find_key(name);
	int line = key < KEY_COUNT ? lines->of[key] : 0;

	return line ? mem_printf("%s:%d", path, line) : mem_strdup(path);
}

/* A pipe would be waited for, and of a device even an open() may do something. /dev/null is empty. */
static bool is_file(const struct stat *st)
{
	return S_ISREG(st->st_mode) || (S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3));
}

static int open_file(const char *path, struct error *err)
{
	struct stat st;
	int fd;

	if (stat(path, &st) == 0 && !is_file(&st))
		return error_set(err, -EINVAL, path,
			"cannot read the configuration %s: it is no regular file", path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? error_errno(err, -errno, path, "cannot read the configuration %s", path)
		      : fd;
}

int config_load(
	const char *path, struct config *ret, struct config_lines *ret_lines, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(closep) int fd = open_file(path, err);
	int r;

	if (fd < 0)
		return fd;
	r = file_read_fd(fd, 1 << 20, &text);
	if (r < 0)
		return error_errno(err, r, path, "cannot read the configuration %s", path);
	return config_parse(text.data ? text.data : "", text.size, path, ret, ret_lines, err);
}
