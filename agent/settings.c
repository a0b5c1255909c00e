/* SPDX-License-Identifier: MIT */
/* settings - the configuration, and what its names mean on this machine; see settings.h */
#include "settings.h"

#include <errno.h>
#include <grp.h>
#include <stddef.h>
#include <string.h>

#include "common/log.h"
#include "common/mem.h"
#include "gpu/gpu.h"

#define GROUP_ROOM_MAX (16u << 20)

enum effect {
	AT_ONCE,
	AT_RESTART,
};

enum kind {
	NUMBER,
	LEVEL,
	TEXT,
};

/* clang-format off */
#define KEYS(number, level, text) \
	number(max_running_runs, AT_ONCE) \
	number(stop_grace_seconds, AT_RESTART) \
	number(keep_work_days, AT_RESTART) \
	number(snapshot_max_bytes, AT_RESTART) \
	number(snapshot_max_files, AT_RESTART) \
	number(snapshot_warn_bytes, AT_RESTART) \
	number(snapshot_warn_files, AT_RESTART) \
	number(max_request_bytes, AT_RESTART) \
	level(log_level, AT_ONCE) \
	number(cpus, AT_ONCE) \
	number(memory_bytes, AT_ONCE) \
	number(max_running_runs_per_user, AT_ONCE) \
	number(max_queued_runs_per_user, AT_ONCE) \
	number(max_cpus_per_user, AT_ONCE) \
	number(max_gpus_per_user, AT_ONCE) \
	number(max_user_priority, AT_ONCE) \
	number(fair_share_seconds, AT_ONCE) \
	number(max_processes_per_run, AT_ONCE) \
	number(max_connections_per_user, AT_ONCE) \
	number(max_requests_per_second_per_user, AT_ONCE) \
	number(request_timeout_seconds, AT_ONCE) \
	text(admin_group, AT_ONCE) \
	text(users_group, AT_ONCE) \
	text(share_with_group, AT_ONCE) \
	text(gpus, AT_RESTART) \
	text(cgroup_parent, AT_RESTART)
/* clang-format on */

#define MEMBER_SIZE(name, effect) +sizeof(((struct config *)NULL)->name)
_Static_assert(0 KEYS(MEMBER_SIZE, MEMBER_SIZE, MEMBER_SIZE) == sizeof(struct config),
	"a key of the configuration is not in the table");

#define ROW(name, kind, effect) \
	{ #name, kind, effect, offsetof(struct config, name), \
		sizeof(((struct config *)NULL)->name) },
#define NUMBER_ROW(name, effect) ROW(name, NUMBER, effect)
#define LEVEL_ROW(name, effect) ROW(name, LEVEL, effect)
#define TEXT_ROW(name, effect) ROW(name, TEXT, effect)

static const struct key {
	const char *name;
	enum kind kind;
	enum effect effect;
	size_t offset, size;
} keys[] = { KEYS(NUMBER_ROW, LEVEL_ROW, TEXT_ROW) };

static const void *field(const struct config *config, const struct key *key)
{
	return (const char *)config + key->offset;
}

static int64_t number(const struct config *config, const struct key *key)
{
	return *(const int64_t *)field(config, key);
}

/* NULL: a number. */
static const char *text(const struct config *config, const struct key *key)
{
	if (key->kind == LEVEL)
		return log_level_name((enum log_level)number(config, key));
	return key->kind == TEXT ? field(config, key) : NULL;
}

/* ---- shown ---- */

void settings_format(const struct config *config, struct strbuf *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = text(config, &keys[i]);

		strbuf_addf(ret, "%s =", keys[i].name);
		if (!value)
			strbuf_addf(ret, " %lld", (long long)number(config, &keys[i]));
		else if (value[0])
			strbuf_addf(ret, " %s", value);
		strbuf_addc(ret, '\n');
	}
}

struct json *settings_to_json(const struct config *config)
{
	struct json *json = json_new_object();

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = text(config, &keys[i]);

		if (value)
			json_set_string(json, keys[i].name, value);
		else
			json_set_int(json, keys[i].name, number(config, &keys[i]));
	}
	return json;
}

/* ---- compared ---- */

static bool is_same(const struct config *a, const struct config *b, const struct key *key)
{
	if (key->kind == TEXT)
		return !strcmp(field(a, key), field(b, key));
	return number(a, key) == number(b, key);
}

void settings_compare(const struct config *was, const struct config *is, struct strbuf *ret_at_once,
	struct strbuf *ret_restart)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct strbuf *ret = keys[i].effect == AT_ONCE ? ret_at_once : ret_restart;

		if (!is_same(was, is, &keys[i]))
			strbuf_addf(ret, "%s%s", ret->size ? ", " : "", keys[i].name);
	}
}

void settings_keep(const struct config *was, struct config *is)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].effect == AT_RESTART)
			memcpy((char *)is + keys[i].offset, field(was, &keys[i]), keys[i].size);
}

/* ---- loaded ---- */

/* A large group does not fit into what sysconf() says. -ENOENT: no such group. */
static int look_up_group(const char *name, gid_t *ret)
{
	struct group entry, *found = NULL;
	int r = ERANGE;

	for (size_t room = 4096; r == ERANGE && room <= GROUP_ROOM_MAX; room *= 4) {
		_cleanup_(freep) char *buffer = mem_alloc(room);

		r = getgrnam_r(name, &entry, buffer, room, &found);
	}
	if (r)
		return -r;
	if (!found)
		return -ENOENT;
	*ret = entry.gr_gid;
	return 0;
}

struct group_key {
	const char *name;
	size_t offset;     /* in struct config */
	size_t gid_offset; /* in struct settings */
};

static int find_group(
	struct settings *settings, const char *path, const struct group_key *key, struct error *err)
{
	const char *name = (const char *)&settings->config + key->offset;
	gid_t *ret = (gid_t *)((char *)settings + key->gid_offset);
	_cleanup_(freep) char *where = NULL;
	int r;

	*ret = SETTINGS_NO_GROUP;
	if (!name[0])
		return 0;
	where = config_where(path, &settings->lines, key->name);
	r = look_up_group(name, ret);
	if (r == -ENOENT)
		return error_set(err, r, where,
			"%s: %s: there is no group \"%s\" on this machine: make it (groupadd), or "
			"correct the name",
			where, key->name, name);
	return r < 0 ? error_errno(err, r, where, "%s: %s: cannot look up the group \"%s\"", where,
			       key->name, name)
		     : 0;
}

static int find_groups(struct settings *settings, const char *path, struct error *err)
{
	static const struct group_key groups[] = {
		{ "admin_group", offsetof(struct config, admin_group),
			offsetof(struct settings, admin_gid) },
		{ "users_group", offsetof(struct config, users_group),
			offsetof(struct settings, users_gid) },
		{ "share_with_group", offsetof(struct config, share_with_group),
			offsetof(struct settings, share_with_gid) },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(groups) && r >= 0; i++)
		r = find_group(settings, path, &groups[i], err);
	return r;
}

static int check_gpus(const struct settings *settings, const char *path, struct error *err)
{
	_cleanup_(freep) char *where = config_where(path, &settings->lines, "gpus");
	int r = gpus_check(settings->config.gpus, err);

	if (r < 0)
		error_prefix(err, where);
	return r;
}

int settings_load(const char *path, bool must_exist, struct settings *ret, struct error *err)
{
	struct settings settings = { 0 };
	int r = 0;

	if (!must_exist && access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		config_default(&settings.config);
	else
		r = config_load(path, &settings.config, &settings.lines, err);
	if (r >= 0)
		r = find_groups(&settings, path, err);
	if (r >= 0)
		r = check_gpus(&settings, path, err);
	if (r < 0)
		return r;
	*ret = settings;
	return 0;
}
