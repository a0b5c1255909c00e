/* SPDX-License-Identifier: MIT */
/* slots - who holds which part of the machine; see slots.h */
#include "runs/slots.h"

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

void slots_init(struct slots *slots, size_t gpu_count)
{
	*slots = (struct slots){ .total.gpus = (int64_t)gpu_count };
	slots->gpus = mem_alloc((gpu_count + 1) * sizeof(*slots->gpus));
}

void slots_release(struct slots *slots)
{
	free(slots->gpus);
	*slots = (struct slots){ 0 };
}

void slots_set_total(struct slots *slots, const struct slots_amount *total)
{
	int64_t gpus = slots->total.gpus;

	slots->total = *total;
	slots->total.gpus = gpus;
}

void slots_set_aside(struct slots *slots, size_t gpu, bool aside)
{
	slots->gpus[gpu].aside = aside;
}

void slots_amount_add(struct slots_amount *amount, const struct slots_amount *more)
{
	amount->places += more->places;
	amount->cpus += more->cpus;
	amount->memory_bytes += more->memory_bytes;
	amount->gpus += more->gpus;
}

void slots_amount_subtract(struct slots_amount *amount, const struct slots_amount *less)
{
	amount->places -= less->places;
	amount->cpus -= less->cpus;
	amount->memory_bytes -= less->memory_bytes;
	amount->gpus -= less->gpus;
}

/* What is not asked for may be short. */
static bool part_fits(int64_t part, int64_t into)
{
	return !part || part <= into;
}

bool slots_amount_fits(const struct slots_amount *amount, const struct slots_amount *into)
{
	return part_fits(amount->places, into->places) && part_fits(amount->cpus, into->cpus) &&
	       part_fits(amount->memory_bytes, into->memory_bytes) &&
	       part_fits(amount->gpus, into->gpus);
}

/* Those nobody holds that are not for giving out. */
static int64_t count_aside(const struct slots *slots)
{
	int64_t count = 0;

	for (int64_t i = 0; i < slots->total.gpus; i++)
		count += slots->gpus[i].aside && !slots->gpus[i].holder;
	return count;
}

struct slots_amount slots_all(const struct slots *slots)
{
	struct slots_amount all = slots->total;

	all.gpus -= count_aside(slots);
	return all;
}

struct slots_amount slots_free(const struct slots *slots)
{
	struct slots_amount left = slots_all(slots);

	slots_amount_subtract(&left, &slots->used);
	return left;
}

static void grant_gpu(
	struct slots *slots, size_t gpu, const void *holder, struct slots_grant *grant)
{
	slots->gpus[gpu].holder = holder;
	grant->gpus[grant->amount.gpus++] = gpu;
}

int slots_take(struct slots *slots, const struct slots_amount *amount, const void *holder,
	struct slots_grant *ret)
{
	struct slots_amount left = slots_free(slots);
	struct slots_grant grant = { .amount = *amount };

	if (!slots_amount_fits(amount, &left))
		return -EBUSY;
	grant.gpus = mem_alloc(((size_t)amount->gpus + 1) * sizeof(*grant.gpus));
	grant.amount.gpus = 0;
	for (size_t i = 0; grant.amount.gpus < amount->gpus; i++)
		if (!slots->gpus[i].holder && !slots->gpus[i].aside)
			grant_gpu(slots, i, holder, &grant);
	slots_amount_add(&slots->used, &grant.amount);
	*ret = grant;
	return 0;
}

void slots_claim(struct slots *slots, const struct slots_amount *amount, const size_t *gpus,
	size_t gpu_count, const void *holder, struct slots_grant *ret)
{
	struct slots_grant grant = { .amount = *amount };

	grant.gpus = mem_alloc((gpu_count + 1) * sizeof(*grant.gpus));
	grant.amount.gpus = 0;
	for (size_t i = 0; i < gpu_count; i++)
		if (!slots->gpus[gpus[i]].holder)
			grant_gpu(slots, gpus[i], holder, &grant);
	slots_amount_add(&slots->used, &grant.amount);
	*ret = grant;
}

void slots_give(struct slots *slots, struct slots_grant *grant)
{
	for (int64_t i = 0; i < grant->amount.gpus; i++)
		slots->gpus[grant->gpus[i]].holder = NULL;
	slots_amount_subtract(&slots->used, &grant->amount);
	free(grant->gpus);
	*grant = (struct slots_grant){ 0 };
}

bool slots_are_sound(
	const struct slots *slots, const struct slots_grant *const *grants, size_t count)
{
	_cleanup_(freep) int *holders =
		mem_alloc(((size_t)slots->total.gpus + 1) * sizeof(*holders));
	struct slots_amount sum = { 0 };

	for (size_t i = 0; i < count; i++) {
		slots_amount_add(&sum, &grants[i]->amount);
		for (int64_t j = 0; j < grants[i]->amount.gpus; j++)
			holders[grants[i]->gpus[j]]++;
	}
	for (int64_t i = 0; i < slots->total.gpus; i++)
		if (holders[i] != (slots->gpus[i].holder != NULL))
			return false;
	return !memcmp(&sum, &slots->used, sizeof(sum));
}
