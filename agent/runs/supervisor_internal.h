/* SPDX-License-Identifier: MIT */
/*
 * supervisor_internal - what the parts of the real executor share; see supervisor_executor.h
 *
 *	supervisor_executor.c  start, reattach, stop; what a run's folder and supervisor say of it
 *	supervisor_sweep.c     the processes of runs whose supervisors are dead
 *	supervisor_pulse.c     supervisors that live and do not move
 *
 * Threads: the loop's, but for the sweep's look.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "common/run_dir.h"
#include "runs/executor.h"

/* Between two looks for what is left of lost runs; longer each time for one that does not die. */
#define STRAYS_MS 10

struct supervised {
	TAILQ_ENTRY(supervised) all;
	struct supervisor_executor *owner;
	void *run; /* the caller's */
	char *dir; /* absolute */
	int dirfd;
	enum executor_found stage;    /* what its directory said when we looked */
	int exit_status;              /* the supervisor's; -1: not known */
	struct pid_watch *supervisor; /* it lives; NULL while its pid is not known */
	unsigned stopped;             /* how many times in a row it was found stopped */
	int64_t doubt_us;             /* since when sweeps are in doubt of it; 0: they are not */
	struct watch_item *status;    /* until it is known that the command runs */
	bool told_started;
	uid_t uid; /* whose it is; STRAY_ANYBODY: not known */
	int64_t seen_us;
	struct run_exit exit;
};

struct supervisor_executor {
	struct executor executor;
	uv_loop_t *loop;
	char *supervisor_path;
	char *cgroup; /* for the supervisors, there or not; NULL: none */
	char boot_id[37];
	struct watch *watch;
	uv_timer_t timer;
	uv_timer_t pulse; /* while there are runs */
	TAILQ_HEAD(supervised_list, supervised) runs;
	struct sweep *sweep; /* on its thread; NULL: none */
	uint64_t sweep_ms;   /* until the next one */
	unsigned closing;    /* handles that are to say so */
	void (*freed)(void *data);
	void *freed_data;
};

/* Look at all runs, at the latest then. */
void supervisor_look_within(struct supervisor_executor *owner, uint64_t ms);
/* Nothing of the run is left: it is forgotten, and its end is told. record NULL: lost. */
void supervised_end(struct supervised *run, const struct run_exit *record, int64_t seen_us);
/* One of those that closing waits for. */
void supervisor_handle_closed(struct supervisor_executor *owner);

/* End the processes of those that are EXECUTOR_LOST, then the runs. Any number of times. */
void supervisor_sweep(struct supervisor_executor *owner);

/* There is a run: its supervisor is looked after from now on. */
void supervisor_pulse_start(struct supervisor_executor *owner);
