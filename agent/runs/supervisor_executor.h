/* SPDX-License-Identifier: MIT */
/*
 * supervisor_executor - the real executor: one amlagent-supervisor per run
 *
 * Starts `supervisor_path RUN_DIR` in a session of its own and watches the run directory: inotify
 * for `status` (it runs now), a pidfd for the supervisor's end, then `exit` or, without one, lost.
 * A run found after a restart is watched the same way; its supervisor's pid is believed only while
 * the lock is held and the boot id is this one. See common/run_dir.h for the contract.
 *
 * Supervisors are started in the cgroup CGROUP_SUPERVISORS_NAME of cgroup_parent, where that is there
 * (common/cgroup.h).
 *
 * Owns: its watches and pidfds, never the processes: they outlive it.
 * Threads: the loop's alone.
 */
#pragma once

#include <uv.h>

#include "runs/executor.h"

/* cgroup_parent NULL: none. */
int supervisor_executor_new(uv_loop_t *loop, const char *supervisor_path, const char *cgroup_parent,
	const struct executor_events *events, struct executor **ret);
