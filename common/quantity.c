/* SPDX-License-Identifier: MIT */
/* quantity - durations and sizes as people write and read them; see quantity.h */
#include "common/quantity.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"

struct unit {
	const char *name;
	double factor;
};

static int parse_quantity(const char *text, const struct unit *units, size_t count, double *ret)
{
	char *end;
	double number;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	number = strtod(text, &end);
	if (strpbrk(text, "xXpP") || !isfinite(number))
		return -EINVAL; /* strtod reads hexadecimal too */
	for (size_t i = 0; i < count; i++)
		if (!strcasecmp(end, units[i].name)) {
			*ret = number * units[i].factor;
			return 0;
		}
	return -EINVAL;
}

int duration_parse(const char *text, int64_t *ret_seconds)
{
	static const struct unit units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "min", 60 },
		{ "h", 3600 }, { "d", 86400 } };
	double seconds;

	if (parse_quantity(text, units, ARRAY_SIZE(units), &seconds) < 0 || seconds < 1 ||
		seconds > 1e10)
		return -EINVAL;
	*ret_seconds = (int64_t)ceil(seconds);
	return 0;
}

int size_parse(const char *text, int64_t *ret_bytes)
{
	static const struct unit units[] = { { "", 1 }, { "B", 1 }, { "K", 0x1p10 },
		{ "KB", 0x1p10 }, { "KiB", 0x1p10 }, { "M", 0x1p20 }, { "MB", 0x1p20 },
		{ "MiB", 0x1p20 }, { "G", 0x1p30 }, { "GB", 0x1p30 }, { "GiB", 0x1p30 },
		{ "T", 0x1p40 }, { "TB", 0x1p40 }, { "TiB", 0x1p40 } };
	double bytes;

	if (parse_quantity(text, units, ARRAY_SIZE(units), &bytes) < 0 || bytes < 1 ||
		bytes > 0x1p52)
		return -EINVAL;
	*ret_bytes = (int64_t)bytes;
	return 0;
}

char *size_text(int64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	/* 1023.96 would round to a fourth digit. */
	return mem_printf(unit && value < 99.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}
