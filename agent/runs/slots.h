/* SPDX-License-Identifier: MIT */
/*
 * slots - who holds which part of the machine: places, CPUs, memory, GPUs by index
 *
 * A ledger. slots_take() gives what was asked for or nothing; slots_claim() writes down what a run
 * that was found holds already, there being room for it or not; slots_give() takes back what a grant
 * says, once. So `used` is always the sum of the grants that are out, and a GPU has one holder or
 * none: slots_are_sound() counts it all again.
 *
 * What is given out may shrink (a reload): what is held stays held then, `used` is above `total`, and
 * nothing fits until enough has come back. A GPU that is set aside is not given out; one that is held
 * may be set aside too, which counts when it has come back.
 *
 * Pure: no clock, no disk. Errors: -EBUSY. Who frees: slots_release(); a grant is released by
 * slots_give().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slots_amount {
	int64_t places; /* runs */
	int64_t cpus;
	int64_t memory_bytes;
	int64_t gpus;
};

struct slots_gpu {
	const void *holder; /* NULL: free */
	bool aside;
};

struct slots {
	struct slots_amount total, used;
	struct slots_gpu *gpus; /* total.gpus of them */
};

/* What one holder has. */
struct slots_grant {
	struct slots_amount amount;
	size_t *gpus; /* indices, amount.gpus of them */
};

void slots_init(struct slots *slots, size_t gpu_count);
void slots_release(struct slots *slots);
/* total.gpus does not change. */
void slots_set_total(struct slots *slots, const struct slots_amount *total);
void slots_set_aside(struct slots *slots, size_t gpu, bool aside);

/* What could be given now (a part below 0: more is held than there is), and what would be there if
 * all came back: a GPU that is set aside is in neither. */
struct slots_amount slots_free(const struct slots *slots);
struct slots_amount slots_all(const struct slots *slots);

bool slots_amount_fits(const struct slots_amount *amount, const struct slots_amount *into);
void slots_amount_add(struct slots_amount *amount, const struct slots_amount *more);
void slots_amount_subtract(struct slots_amount *amount, const struct slots_amount *less);

/* holder: not NULL. -EBUSY: it does not fit; nothing is taken. The GPUs of the lowest index. */
int slots_take(struct slots *slots, const struct slots_amount *amount, const void *holder,
	struct slots_grant *ret);
/* However much is there; amount->gpus is not read. Of the GPUs those that nobody else holds: fewer
 * than gpu_count may be granted. */
void slots_claim(struct slots *slots, const struct slots_amount *amount, const size_t *gpus,
	size_t gpu_count, const void *holder, struct slots_grant *ret);
/* It is a zeroed one afterwards; giving that is nothing. */
void slots_give(struct slots *slots, struct slots_grant *grant);

/* Is `used` what these grants say, and is each GPU held by one of them, or by nobody? */
bool slots_are_sound(
	const struct slots *slots, const struct slots_grant *const *grants, size_t count);
