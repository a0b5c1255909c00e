/* SPDX-License-Identifier: MIT */
/*
 * fair_share - how much each user has used of late
 *
 * A run uses so much a second (fair_share_rate()): 1 for a CPU, 10 for a GPU, which is what one
 * costs in a lab machine. What was used counts half after the half-life, a quarter after two, and so
 * on. What goes on now counts at every moment, not only when it ends: it is known by its rate.
 *
 * All times are UTC, in microseconds. A clock that is set back lets nothing decay until it has caught
 * up.
 *
 * Pure: no clock, no disk. Errors: none. Who frees: fair_share_release().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FAIR_SHARE_CPU 1.0
#define FAIR_SHARE_GPU 10.0

/* One user's. */
struct fair_share_use {
	uid_t uid;
	double used; /* as of at_us */
	double rate; /* of what goes on */
	int64_t at_us;
};

struct fair_share {
	int64_t half_life_us;
	struct fair_share_use *items; /* by uid */
	size_t count, room;
};

double fair_share_rate(int64_t cpus, int64_t gpus);

void fair_share_init(struct fair_share *share, int64_t half_life_us);
void fair_share_release(struct fair_share *share);
/* From now on. */
void fair_share_set_half_life(struct fair_share *share, int64_t half_life_us, int64_t now_us);

/* He used so much a second from then till then. */
void fair_share_charge(struct fair_share *share, uid_t uid, double rate, int64_t from_us,
	int64_t to_us, int64_t now_us);
/* He uses so much more a second, from now on; and so much less. */
void fair_share_begin(struct fair_share *share, uid_t uid, double rate, int64_t now_us);
void fair_share_end(struct fair_share *share, uid_t uid, double rate, int64_t now_us);

/* 0 for one who is not known. */
double fair_share_read(const struct fair_share *share, uid_t uid, int64_t now_us);
/* Drop users of whom nothing goes on and next to nothing (a CPU-second) is left. Happens by itself
 * before the list is made larger. */
void fair_share_forget(struct fair_share *share, int64_t now_us);
