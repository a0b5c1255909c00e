/* SPDX-License-Identifier: MIT */
#include "common/quantity.h"

#include <errno.h>

#include "common/cleanup.h"
#include "test.h"

struct reading {
	const char *text;
	int64_t value; /* or an errno */
};

static void assert_reads(
	int (*parse)(const char *text, int64_t *ret), const struct reading *readings, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int64_t value = 0;
		int r = parse(readings[i].text, &value);

		assert_int_equal(r < 0 ? r : value, readings[i].value);
	}
}

static void durations_are_read_in_seconds(void **state)
{
	static const struct reading readings[] = {
		{ "90", 90 },
		{ "90s", 90 },
		{ "90m", 5400 },
		{ "2min", 120 },
		{ "1.5h", 5400 },
		{ "7d", 604800 },
		{ "1.2", 2 },
		{ "0.2", -EINVAL },
		{ "0", -EINVAL },
		{ "-5", -EINVAL },
		{ "5 m", -EINVAL },
		{ "5 ", -EINVAL },
		{ "0x10", -EINVAL },
		{ "inf", -EINVAL },
		{ "1e400", -EINVAL },
		{ "1e11", -EINVAL },
		{ "h", -EINVAL },
		{ "", -EINVAL },
	};

	(void)state;
	assert_reads(duration_parse, readings, ARRAY_SIZE(readings));
}

static void sizes_are_read_in_powers_of_1024(void **state)
{
	static const struct reading readings[] = {
		{ "512", 512 },
		{ "512b", 512 },
		{ "1k", 1024 },
		{ "1KB", 1024 },
		{ "1.5KiB", 1536 },
		{ "8G", INT64_C(8) << 30 },
		{ "2TiB", INT64_C(2) << 40 },
		{ "0.5", -EINVAL },
		{ "-1G", -EINVAL },
		{ "1 G", -EINVAL },
		{ "12Q", -EINVAL },
		{ "0x10", -EINVAL },
		{ "nan", -EINVAL },
		{ "9999999T", -EINVAL },
		{ "", -EINVAL },
	};

	(void)state;
	assert_reads(size_parse, readings, ARRAY_SIZE(readings));
}

static void sizes_are_shown_in_few_digits(void **state)
{
	static const struct {
		int64_t bytes;
		const char *text;
	} sizes[] = {
		{ 0, "0 B" },
		{ 1023, "1023 B" },
		{ 1536, "1.5 KiB" },
		{ 102400, "100 KiB" },
		{ 241172480, "230 MiB" },
		{ 1048575, "1024 KiB" },
		{ INT64_C(1) << 40, "1.0 TiB" },
		{ INT64_MAX, "8192 PiB" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		_cleanup_(freep) char *text = size_text(sizes[i].bytes);

		assert_string_equal(text, sizes[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_read_in_seconds),
		cmocka_unit_test(sizes_are_read_in_powers_of_1024),
		cmocka_unit_test(sizes_are_shown_in_few_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
