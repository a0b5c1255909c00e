/* SPDX-License-Identifier: MIT */
/*
 * run_cgroup - the run's own cgroup, from the directory that is made to the one that is removed
 *
 * What tree.h does by looking the kernel does here by itself: nothing leaves the cgroup, and all of
 * it is killed at one instant. Both are used: a process may have been moved out of the cgroup, or
 * into it by somebody else (a "guest": no descendant of ours, and of the run all the same).
 *
 * A run without a cgroup has fd -EBADF; everything here then does nothing. What fails is said in
 * supervisor.log, and the run goes on without. No heap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/run_dir.h"

/* A longer path is not used: `status` has to hold it. */
#define RUN_CGROUP_PATH_SIZE 2048

struct run_cgroup {
	int fd;
	int events_fd;                   /* for sources_watch() */
	char path[RUN_CGROUP_PATH_SIZE]; /* "": none */
};

#define RUN_CGROUP_INIT \
	{ \
		.fd = -EBADF, .events_fd = -EBADF \
	}

/* Take the path, absolute or NULL: from now on `status` can name it, and it should before it is made,
 * so that whoever cleans up after us finds it. */
void run_cgroup_plan(struct run_cgroup *cgroup, const char *path);
void run_cgroup_make(struct run_cgroup *cgroup);

/* Before the command is started: hold it to what `launch` asks for. What it asks for and does not get,
 * also for want of a cgroup, is named as run_exit has it. */
void run_cgroup_limit(const struct run_cgroup *cgroup, const struct run_launch *launch,
	char unenforced[static RUN_UNENFORCED_SIZE]);

/* The command could not be started in it, a negative errno: remove it and go on without. */
void run_cgroup_drop(struct run_cgroup *cgroup, int error);

bool run_cgroup_is_populated(const struct run_cgroup *cgroup);

/* Guests: how many; send them the signals. After tree_open(). */
int run_cgroup_count_guests(const struct run_cgroup *cgroup);
void run_cgroup_signal_guests(const struct run_cgroup *cgroup, const int *signals, size_t count);

void run_cgroup_kill(const struct run_cgroup *cgroup);

/* What it counted, where it did. */
void run_cgroup_take_evidence(const struct run_cgroup *cgroup, struct run_exit *exit);

/* When it is empty. */
void run_cgroup_remove(struct run_cgroup *cgroup);
