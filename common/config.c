/* SPDX-License-Identifier: MIT */
/* config - amlagentd.conf by table; see config.h */
#include "common/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/cgroup.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/run_request.h"

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

/* clang-format off */
static const struct key {
	const char *name;
	int (*parse)(const char *text, int64_t *ret);
	size_t offset;
	int64_t fallback, low, high;
	const char *what;
} keys[] = {
#define KEY(name) #name
#define AT(name) offsetof(struct config, name)
	{ KEY(max_running_runs),    parse_number,  AT(max_running_runs),    0, 1, 100000, "a number" },
	{ KEY(stop_grace_seconds),  parse_seconds, AT(stop_grace_seconds),  10, 0, 86400, "a duration" },
	{ KEY(keep_work_days),      parse_number,  AT(keep_work_days),      7, 0, 36500, "a number of days" },
	{ KEY(snapshot_max_bytes),  size_parse,    AT(snapshot_max_bytes),  INT64_C(10) << 30, 1, INT64_C(1) << 52, "a size" },
	{ KEY(snapshot_max_files),  parse_number,  AT(snapshot_max_files),  200000, 1, 100000000, "a number" },
	{ KEY(snapshot_warn_bytes), size_parse,    AT(snapshot_warn_bytes), INT64_C(300) << 20, 1, INT64_C(1) << 52, "a size" },
	{ KEY(snapshot_warn_files), parse_number,  AT(snapshot_warn_files), 2000, 1, 100000000, "a number" },
	{ KEY(max_request_bytes),   size_parse,    AT(max_request_bytes),   INT64_C(4) << 20, 65536, INT64_C(1) << 30, "a size" },
	{ KEY(log_level),           parse_level,   AT(log_level),           LOG_LEVEL_INFO, 0, 7, "error, warning, info or debug" },
	{ KEY(cpus),                parse_number,  AT(cpus),                0, 0, 65536, "a number" },
	{ KEY(memory_bytes),        parse_size,    AT(memory_bytes),        0, 0, INT64_C(1) << 52, "a size" },
	{ KEY(max_running_runs_per_user), parse_number, AT(max_running_runs_per_user), 0, 0, 100000, "a number" },
	{ KEY(max_queued_runs_per_user), parse_number, AT(max_queued_runs_per_user), 10000, 0, 1000000, "a number" },
	{ KEY(max_cpus_per_user),   parse_number,  AT(max_cpus_per_user),   0, 0, 65536, "a number" },
	{ KEY(max_gpus_per_user),   parse_number,  AT(max_gpus_per_user),   0, 0, 1024, "a number" },
	{ KEY(max_user_priority),   parse_number,  AT(max_user_priority),   100, -1000, 1000, "a number" },
	{ KEY(fair_share_seconds),  parse_seconds, AT(fair_share_seconds),  86400, 60, 31536000, "a duration" },
	{ KEY(max_processes_per_run), parse_number, AT(max_processes_per_run), 0, 0, 4194304, "a number" },
	{ KEY(max_connections_per_user), parse_number, AT(max_connections_per_user), 256, 0, 100000, "a number" },
	{ KEY(max_requests_per_second_per_user), parse_number, AT(max_requests_per_second_per_user), 0, 0, 1000000, "a number" },
	{ KEY(request_timeout_seconds), parse_seconds, AT(request_timeout_seconds), 10, 1, 3600, "a duration" },
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

static int set_text(struct config *config, const struct text_key *key, const char *value,
	const char *where, struct error *err)
{
	if (strlen(value) >= CONFIG_TEXT_SIZE || !key->is_valid(value))
		return error_set(err, -EINVAL, where, "%s: %s: \"%.80s\" is not %s", where,
			key->name, value, key->what);
	strcpy(text_field(config, key), value);
	return 0;
}

static int set_key(struct config *config, const char *name, const char *value, const char *where,
	struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		int64_t number;

		if (strcmp(keys[i].name, name))
			continue;
		if (keys[i].parse(value, &number) < 0 || number < keys[i].low ||
			number > keys[i].high)
			return error_set(err, -EINVAL, where,
				"%s: %s: \"%.80s\" is not %s in its bounds", where, name, value,
				keys[i].what);
		*field(config, &keys[i]) = number;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(text_keys); i++)
		if (!strcmp(text_keys[i].name, name))
			return set_text(config, &text_keys[i], value, where, err);
	return error_set(err, -EINVAL, where, "%s: unknown key \"%.80s\"", where, name);
}

static int parse_line(struct config *config, char *line, const char *where, struct error *err)
{
	char *equals;

	line = trim(line);
	if (!line[0] || line[0] == '#')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return error_set(err, -EINVAL, where, "%s: must be \"key = value\"", where);
	*equals = '\0';
	return set_key(config, trim(line), trim(equals + 1), where, err);
}

int config_parse(
	const char *text, size_t size, const char *name, struct config *ret, struct error *err)
{
	_cleanup_(freep) char *copy = mem_strndup(text, size);
	struct config config;
	int number = 1;

	config_default(&config);
	for (char *line = copy, *end; line; line = end, number++) {
		_cleanup_(freep) char *where = mem_printf("%s:%d", name, number);
		int r;

		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		r = parse_line(&config, line, where, err);
		if (r < 0)
			return r;
	}
	*ret = config;
	return 0;
}

int config_load(const char *path, struct config *ret, struct error *err)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(AT_FDCWD, path, 1 << 20, &text);

	if (r < 0)
		return error_errno(err, r, path, "cannot read the configuration %s", path);
	return config_parse(text.data ? text.data : "", text.size, path, ret, err);
}
