/* SPDX-License-Identifier: MIT */
/*
 * prepare - the blocking part of getting a run ready: interpreter, environment, work/, `launch`
 *
 * prepare_carry_out() makes the run directory ready for a supervisor: it finds and activates the
 * interpreter, lays the snapshot out into work/ with outputs/, logs/ and user_logs/, and writes
 * `launch`. What an earlier attempt left is removed first.
 *
 * With `as` the daemon is root and the run another user's: the interpreter is looked for with his
 * rights (capture/user_interpreter.h); the snapshot is laid out by root in a work/ that nobody else
 * can enter, then all of it is given to him, work/ itself last; the log is his. Nothing that he named
 * is opened. The limits that he submitted with (RUN_LIMITS_FILE in the run directory) go into
 * `launch`.
 *
 * What the script sees of variables, later ones winning: the submitter's environment (or a clean
 * one), the interpreter's activation, the request's variables, AZUREML_*, CUDA_VISIBLE_DEVICES where
 * slots say what it is (with CUDA_DEVICE_ORDER=PCI_BUS_ID, which ids that are numbers are counted
 * in); PYTHONUNBUFFERED=1 unless set.
 *
 * A preparation that the daemon does not live through is tried again by the next one, but not for
 * ever: after PREPARE_ATTEMPTS_MAX of them the run is at fault, and ends.
 *
 * Threads: any (a work thread). Errors: negative errno with err saying what to do: SetupError.
 */
#pragma once

#include "capture/interpreter.h"
#include "common/digest.h"
#include "common/run_request.h"

/* Fewer than the starts in a row that systemd allows (StartLimitBurst). */
#define PREPARE_ATTEMPTS_MAX 9

struct store;

struct prepare {
	/* in */
	struct store *store;
	const char *run_dir; /* absolute */
	const char *run_id;
	const struct run_request *request;
	struct digest snapshot_id;
	int64_t grace_us;
	const char *cgroup_parent; /* NULL: the run has no cgroup */
	const struct identity *as; /* whose it is; NULL: ours */
	char *const *gpu_ids;      /* strv of those given to it; NULL: none */
	bool hide_gpus;            /* it is to see no others */
	/* What its cgroup is to hold it to; 0: nothing. */
	int64_t memory_max; /* bytes */
	int64_t pids_max;
	int64_t cpus; /* its weight */
	/* out */
	struct interpreter interpreter; /* path NULL: none is needed (command) */
	char *program;                  /* what is executed: argv[0] */
};

int prepare_carry_out(struct prepare *prepare, struct error *err);
void prepare_release(struct prepare *prepare);

/* $NAME and ${NAME} replaced from env; a name that is not set stays as it is. malloc'ed. NULL: it
 * would be longer than RUN_ARGUMENT_BYTES_MAX. */
char *prepare_expand(const char *text, char *const *env);
