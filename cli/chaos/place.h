/* SPDX-License-Identifier: MIT */
/*
 * place - the folder of a chaos run, and the witness in it
 *
 *	<$TMPDIR or /var/tmp>/amlagent-chaos-XXXXXX/
 *		amlagentd.conf, amlagentd.log
 *		source/job.sh    what the runs do
 *		witness          what the runs themselves say (job.h); appended to only
 *		state-N/         a state folder; a new one now and then, since a store only grows
 *		s                the socket
 *
 * Errors: a negative errno with err set.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/* What the witness says of a job, and what it may say. */
struct chaos_witnessed {
	unsigned char starts;
	unsigned char said_all;  /* how often it has printed and written all */
	unsigned char may_start; /* how often it may have started: 1 once it is accepted */
	bool left_over;          /* a process after its end has been told */
};

struct chaos_place {
	char *folder; /* absolute */
	char *config;
	char *log;
	char *source;
	char *witness;
	char *socket;
	char *state;
	int state_number;
	int witness_fd;
	int64_t witness_read;              /* bytes */
	struct chaos_witnessed *witnessed; /* by the job's number */
	int64_t witnessed_room;
};

int chaos_place_make(struct chaos_place *ret, struct error *err);
/* The next state folder; the one before is removed. */
int chaos_place_next_state(struct chaos_place *place, struct error *err);
/* Read what the witness has been told since. */
int chaos_place_read_witness(struct chaos_place *place, struct error *err);
/* Good until the next call of either. */
struct chaos_witnessed *chaos_place_witnessed(struct chaos_place *place, int64_t number);
/* All processes have ended: remove the cgroups of runs that had not. */
void chaos_place_end(const struct chaos_place *place);
/* Remove the folder. */
int chaos_place_remove(struct chaos_place *place, struct error *err);
void chaos_place_release(struct chaos_place *place);
