/* SPDX-License-Identifier: MIT */
/*
 * settings - the configuration, and what its names mean on this machine now
 *
 * config.h reads the file; the groups that it names are looked up here, because there must be such
 * a group: a mistyped name must not leave a machine without its admins, or open to everybody. So must
 * the device files of a list of GPUs be there. Each key is in one table, with what is done about it
 * when it has changed (reload.h).
 *
 * Threads: settings_load() asks the name service and may block; any. No heap: settings are copied
 * like any other value. Errors: negative errno with err, which names the line; ret is untouched then.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "common/config.h"
#include "common/error.h"
#include "common/json.h"
#include "common/strbuf.h"

#define SETTINGS_NO_GROUP ((gid_t)-1)

struct settings {
	struct config config;
	struct config_lines lines;
	/* SETTINGS_NO_GROUP: the configuration names none. */
	gid_t admin_gid;
	gid_t users_gid;
	gid_t share_with_gid;
};

/* must_exist: the file was asked for by name; else all defaults when it is not there. */
int settings_load(const char *path, bool must_exist, struct settings *ret, struct error *err);

/* "key = value" lines, as a file has them; an object, numbers as numbers. */
void settings_format(const struct config *config, struct strbuf *ret);
struct json *settings_to_json(const struct config *config);

/* The names of the keys that differ, separated by ", ": those that take effect at once, and those
 * that need a restart. */
void settings_compare(const struct config *was, const struct config *is, struct strbuf *ret_at_once,
	struct strbuf *ret_restart);
/* What was keeps its value where a change needs a restart. */
void settings_keep(const struct config *was, struct config *is);
