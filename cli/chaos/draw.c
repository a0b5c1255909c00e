/* SPDX-License-Identifier: MIT */
/* draw - the decisions of a chaos run; see draw.h */
#include "cli/chaos/draw.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define SEED_VARIABLE "AMLAGENT_CHAOS_SEED"
#define SEED_MAX UINT32_MAX /* short enough to be typed */

/* splitmix64's step and finaliser: neighbouring numbers give independent values. */
static uint64_t mix(uint64_t value)
{
	value += UINT64_C(0x9e3779b97f4a7c15);
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

uint64_t chaos_draw(uint64_t seed, enum chaos_stream stream, int64_t number, uint64_t below)
{
	uint64_t bits = mix(mix(mix(seed) ^ (uint64_t)stream) ^ (uint64_t)number);

	return below ? bits % below : 0;
}

size_t chaos_draw_weighted(uint64_t seed, enum chaos_stream stream, int64_t number,
	const unsigned *weights, size_t count)
{
	uint64_t sum = 0;
	uint64_t at;
	size_t i = 0;

	for (size_t j = 0; j < count; j++)
		sum += weights[j];
	at = chaos_draw(seed, stream, number, sum);
	while (i < count && at >= weights[i])
		at -= weights[i++];
	return i;
}

int chaos_draw_seed(uint64_t *ret)
{
	const char *text = getenv(SEED_VARIABLE);
	uint64_t seed;
	char *end;

	if (!text || !text[0]) {
		if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
			return -errno;
		*ret = seed % SEED_MAX;
		return 0;
	}
	errno = 0;
	seed = strtoull(text, &end, 10);
	if (errno || *end || !isdigit((unsigned char)text[0]))
		return -EINVAL;
	*ret = seed;
	return 0;
}
