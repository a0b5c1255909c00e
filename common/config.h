/* SPDX-License-Identifier: MIT */
/*
 * config - amlagentd.conf: every key, its default and its bounds, in one table (config.c)
 *
 * Lines of `key = value`, of a `#` comment, blank lines; a key is set once. Sizes take K, M, G, T;
 * durations take s, m, h, d.
 * No heap: a configuration is copied like any other value.
 * The same table makes conf/amlagentd.conf's tests: a key that is not there does not exist.
 *
 * Errors: -EINVAL with err's target "FILE:LINE" and what is wrong; nothing is changed then.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define CONFIG_TEXT_SIZE 1024
#define CONFIG_KEYS_MAX 32

struct config {
	int64_t max_running_runs;   /* how many run at once; the others wait in the queue */
	int64_t stop_grace_seconds; /* between SIGTERM and SIGKILL */
	int64_t keep_work_days;     /* how long work/ of a run that did not complete stays */
	int64_t snapshot_max_bytes;
	int64_t snapshot_max_files;
	int64_t snapshot_warn_bytes;
	int64_t snapshot_warn_files;
	int64_t max_request_bytes;
	int64_t log_level; /* enum log_level */
	/* The queue: what may be given out, and to one user. 0: all the machine has; no limit. */
	int64_t cpus;
	int64_t memory_bytes;
	int64_t max_running_runs_per_user;
	int64_t max_queued_runs_per_user;
	int64_t max_cpus_per_user;
	int64_t max_gpus_per_user;
	int64_t max_user_priority;     /* highest that one who is no admin may ask for */
	int64_t fair_share_seconds;    /* half-life of what a user has used */
	int64_t max_processes_per_run; /* pids.max, where there are cgroups; 0: no limit */
	/* The socket. Per user; 0: no limit. */
	int64_t max_connections_per_user;
	int64_t max_requests_per_second_per_user;
	int64_t request_timeout_seconds; /* for the headers of a request to come */
	/* Groups of the machine, by name; "": none. */
	char admin_group[CONFIG_TEXT_SIZE];      /* its members see and change all runs */
	char users_group[CONFIG_TEXT_SIZE];      /* only its members (and admins) are served */
	char share_with_group[CONFIG_TEXT_SIZE]; /* its members' runs are read by its members */
	/* "auto", "none", or device files: "/dev/nvidia0,/dev/nvidia1"; gpu/gpu.h */
	char gpus[CONFIG_TEXT_SIZE];
	/* Below which cgroup runs have theirs: "auto", "none" or an absolute path; cgroup.h */
	char cgroup_parent[CONFIG_TEXT_SIZE];
};

/* The line that sets each key, in the order of the table; 0: none does. */
struct config_lines {
	int of[CONFIG_KEYS_MAX];
};

/* Defaults; max_running_runs is the number of CPUs. */
void config_default(struct config *ret);
/* Defaults, then the file, which is a regular one (or /dev/null). -ENOENT: it is not there.
 * ret_lines may be NULL. */
int config_load(
	const char *path, struct config *ret, struct config_lines *ret_lines, struct error *err);
/* The same from memory; `name` is for messages. Pure: fuzzed. */
int config_parse(const char *text, size_t size, const char *name, struct config *ret,
	struct config_lines *ret_lines, struct error *err);
/* "FILE:LINE" that sets the key; "FILE" when none does. malloc'ed. */
char *config_where(const char *path, const struct config_lines *lines, const char *key);
