/* SPDX-License-Identifier: MIT */
/*
 * agent - the map of the daemon: every part, made in order, taken down in reverse
 *
 * No part sees this struct; each is given what it needs when it is made.
 *
 * Threads: the loop's. Errors: negative errno with err saying what to do; agent_free() takes a
 * half-made one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/error.h"
#include "common/notify.h"
#include "gpu/gpu.h"
#include "settings.h"

struct agent_options {
	bool system;             /* serves every user, as root; else one user, and root */
	const char *socket_path; /* not used when notify has a listener */
	const char *state_dir;   /* absolute */
	const char *config_path;
	bool config_must_exist; /* else the defaults, where it does not */
	struct settings settings;
	struct notify notify;      /* its listener is taken over */
	int64_t idle_exit_seconds; /* end after that long without runs and clients; 0: never */
};

struct agent {
	struct agent_options options;
	struct settings settings; /* in force now */
	int64_t started_us;
	uv_loop_t loop;
	int lock_fd;   /* <state>/lock: one daemon per state folder */
	int listen_fd; /* until the server has it */
	bool was_handed_socket;
	char *git_helper;    /* NULL: git is not recorded */
	char *cgroup_parent; /* NULL: runs have no cgroups */
	char *openapi_path;  /* NULL: not installed */
	char *supervisor_path;
	struct gpus gpus;

	struct store *store;
	struct history *history;
	uv_poll_t history_poll; /* history_fd() -> history_dispatch() */
	struct watch *watch;
	struct executor *executor;
	struct run_manager *runs;
	struct api *api;
	struct http_server *server;

	struct service *service;
	struct reload *reload;
	struct ending *ending;
	bool stopping;  /* told to end */
	bool releasing; /* its parts go; signals are nothing to it any more */
	bool has_loop, has_poll;
};

int agent_init(struct agent *agent, const struct agent_options *options, struct error *err);
/* Until SIGTERM, SIGINT or idleness; runs go on without us. */
void agent_run(struct agent *agent);
/* Takes ten seconds at most: then the process ends (ending.h). */
void agent_release(struct agent *agent);
