/* SPDX-License-Identifier: MIT */
/*
 * draw - the decisions of a chaos run, each from its own place in a sequence
 *
 * A draw depends on the seed, on what is decided and on its number (of the round, of the run), and
 * on nothing else: not on when it is asked, nor on how often. So the same seed gives the same
 * decisions although no two machines, and no two kills, take the same time. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum chaos_stream {
	CHAOS_DRAW_KILL,   /* by round: which kind of kill */
	CHAOS_DRAW_MOMENT, /* by round: when */
	CHAOS_DRAW_AFTER,  /* by round: after what */
	CHAOS_DRAW_GAP,    /* by round: how long there is no daemon */
	CHAOS_DRAW_TARGET, /* by round: how many runs at a time */
	CHAOS_DRAW_VICTIM, /* by round: which supervisor */
	CHAOS_DRAW_ORDER,  /* by round: who dies first */
	CHAOS_DRAW_BURST,  /* by round: submits in flight */
	CHAOS_DRAW_JOB,    /* by run: its kind */
	CHAOS_DRAW_VALUE,  /* by run: exit code, signal, ... */
	CHAOS_DRAW_LINES,  /* by run: lines of log */
	CHAOS_DRAW_FOLLOW, /* by run: does somebody follow its log? */
};

/* From 0 to below - 1. */
uint64_t chaos_draw(uint64_t seed, enum chaos_stream stream, int64_t number, uint64_t below);
/* An index into weights: each as likely as its share of their sum. */
size_t chaos_draw_weighted(uint64_t seed, enum chaos_stream stream, int64_t number,
	const unsigned *weights, size_t count);
/* $AMLAGENT_CHAOS_SEED, else one of the kernel's. -EINVAL when the variable holds no number. */
int chaos_draw_seed(uint64_t *ret);
