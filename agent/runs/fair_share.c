/* SPDX-License-Identifier: MIT */
/* fair_share - how much each user has used of late; see fair_share.h */
#include "runs/fair_share.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

#define NEXT_TO_NOTHING 1.0

double fair_share_rate(int64_t cpus, int64_t gpus)
{
	return FAIR_SHARE_CPU * (double)cpus + FAIR_SHARE_GPU * (double)gpus;
}

void fair_share_init(struct fair_share *share, int64_t half_life_us)
{
	*share = (struct fair_share){ .half_life_us = half_life_us };
}

void fair_share_release(struct fair_share *share)
{
	free(share->items);
	*share = (struct fair_share){ 0 };
}

/* Where he is, or would be. */
static size_t find(const struct fair_share *share, uid_t uid)
{
	size_t low = 0, high = share->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (share->items[middle].uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct fair_share_use *get(struct fair_share *share, uid_t uid, int64_t now_us)
{
	size_t at = find(share, uid);

	if (at < share->count && share->items[at].uid == uid)
		return &share->items[at];
	if (share->count == share->room) {
		fair_share_forget(share, now_us);
		at = find(share, uid);
	}
	GROW(share->items, share->count, share->room);
	memmove(&share->items[at + 1], &share->items[at],
		(share->count++ - at) * sizeof(*share->items));
	share->items[at] = (struct fair_share_use){ .uid = uid, .at_us = now_us };
	return &share->items[at];
}

/* What is left of 1 after so long. */
static double decay(const struct fair_share *share, int64_t us)
{
	return us > 0 ? exp2(-(double)us / (double)share->half_life_us) : 1;
}

/* Of 1 a second for so long: what is there at its end. */
static double accrue(const struct fair_share *share, int64_t us)
{
	double mean_life = (double)share->half_life_us / M_LN2 / USEC_PER_SEC;

	return us > 0 ? mean_life * -expm1(-(double)us * M_LN2 / (double)share->half_life_us) : 0;
}

static double used_at(
	const struct fair_share *share, const struct fair_share_use *use, int64_t now_us)
{
	int64_t span = now_us - use->at_us;

	return use->used * decay(share, span) + use->rate * accrue(share, span);
}

static void settle(const struct fair_share *share, struct fair_share_use *use, int64_t now_us)
{
	use->used = used_at(share, use, now_us);
	if (now_us > use->at_us)
		use->at_us = now_us;
}

void fair_share_set_half_life(struct fair_share *share, int64_t half_life_us, int64_t now_us)
{
	for (size_t i = 0; i < share->count; i++)
		settle(share, &share->items[i], now_us);
	share->half_life_us = half_life_us;
}

void fair_share_charge(struct fair_share *share, uid_t uid, double rate, int64_t from_us,
	int64_t to_us, int64_t now_us)
{
	struct fair_share_use *use = get(share, uid, now_us);

	settle(share, use, now_us);
	use->used += rate * accrue(share, to_us - from_us) * decay(share, now_us - to_us);
}

static void change_rate(struct fair_share *share, uid_t uid, double by, int64_t now_us)
{
	struct fair_share_use *use = get(share, uid, now_us);

	settle(share, use, now_us);
	use->rate += by;
	if (use->rate < 0)
		use->rate = 0;
}

void fair_share_begin(struct fair_share *share, uid_t uid, double rate, int64_t now_us)
{
	change_rate(share, uid, rate, now_us);
}

void fair_share_end(struct fair_share *share, uid_t uid, double rate, int64_t now_us)
{
	change_rate(share, uid, -rate, now_us);
}

double fair_share_read(const struct fair_share *share, uid_t uid, int64_t now_us)
{
	size_t at = find(share, uid);

	if (at == share->count || share->items[at].uid != uid)
		return 0;
	return used_at(share, &share->items[at], now_us);
}

void fair_share_forget(struct fair_share *share, int64_t now_us)
{
	size_t kept = 0;

	for (size_t i = 0; i < share->count; i++) {
		const struct fair_share_use *use = &share->items[i];

		if (use->rate > 0 || used_at(share, use, now_us) >= NEXT_TO_NOTHING)
			share->items[kept++] = *use;
	}
	share->count = kept;
}
