/* SPDX-License-Identifier: MIT */
/* test_table - columns line up, fit the terminal, and times read well */
#include "test.h"

#include "cli/table.h"
#include "common/clock.h"
#include "common/mem.h"

static const struct table_column columns[] = {
	{ "NAME", TABLE_LEFT, true },
	{ "SIZE", TABLE_RIGHT, false },
	{ "NOTE", TABLE_LEFT, true },
};

static char *format(const struct table *table, unsigned width, bool colour)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	table_format(table, width, colour, &text);
	return strbuf_steal(&text);
}

static void expect_table(const char *const *cells, unsigned width, const char *expected)
{
	_cleanup_(table_release) struct table table;
	_cleanup_(freep) char *text = NULL;

	table_init(&table, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; cells[i]; i++)
		table_add(&table, cells[i]);
	text = format(&table, width, false);
	assert_string_equal(text, expected);
}

static void columns_line_up(void **state)
{
	static const char *const cells[] = { "a", "1 B", "x", "longer", "1000 B", "", NULL };

	(void)state;
	expect_table(cells, 0,
		"NAME      SIZE  NOTE\n"
		"a          1 B  x\n"
		"longer  1000 B\n");
}

static void wide_characters_take_two_columns(void **state)
{
	static const char *const cells[] = { "\xe6\x97\xa5\xe6\x9c\xac", "1", "x", "caf\xc3\xa9",
		"2", "y", NULL };

	(void)state;
	expect_table(cells, 0,
		"NAME  SIZE  NOTE\n"
		"\xe6\x97\xa5\xe6\x9c\xac     1  x\n"
		"caf\xc3\xa9     2  y\n");
}

static void lines_are_cut_to_a_terminal_only(void **state)
{
	static const char *const cells[] = { "name-of-a-run-that-must-stay", "1",
		"a message that is much too long for it", NULL };

	(void)state;
	expect_table(cells, 40,
		"NAME              SIZE  NOTE\n"
		"name-of-a-run-t\xe2\x80\xa6     1  a message that \xe2\x80\xa6\n");
	expect_table(cells, 0,
		"NAME                          SIZE  NOTE\n"
		"name-of-a-run-that-must-stay     1  a message that is much too long for it\n");
	/* Narrower than can be: the columns keep their least width. */
	expect_table(cells, 3,
		"NAME      SIZE  NOTE\n"
		"name-of\xe2\x80\xa6     1  a messa\xe2\x80\xa6\n");
}

static void control_characters_are_shown_not_sent(void **state)
{
	static const char *const cells[] = { "a\nb\tc", "\033[31m", "\xff\xc2\x9b\x7f", NULL };

	(void)state;
	expect_table(cells, 0,
		"NAME         SIZE  NOTE\n"
		"a\\nb\\tc  \\033[31m  \\377\\302\\233\\177\n");
}

static void colours_do_not_count(void **state)
{
	_cleanup_(table_release) struct table table;
	_cleanup_(freep) char *plain = NULL;
	_cleanup_(freep) char *coloured = NULL;

	(void)state;
	table_init(&table, columns, ARRAY_SIZE(columns));
	table_add_coloured(&table, "red", "\033[31m");
	table_add(&table, NULL);
	table_addf(&table, "%d", 7);
	plain = format(&table, 0, false);
	coloured = format(&table, 0, true);
	assert_string_equal(plain, "NAME  SIZE  NOTE\nred      -  7\n");
	assert_string_equal(coloured, "NAME  SIZE  NOTE\n\033[31mred\033[0m      -  7\n");
}

static void times_are_told_as_people_do(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {
		{ 0, "just now" },
		{ -3, "just now" },
		{ 59, "59 s ago" },
		{ 60, "1 min ago" },
		{ 3599, "59 min ago" },
		{ 7200, "2 h ago" },
		{ 86400, "1 day ago" },
		{ 5 * 86400, "5 days ago" },
		{ 40 * 86400, "2026-10-13" },
		{ -86400, "2026-11-23" },
	};
	int64_t now;

	(void)state;
	assert_int_equal(clock_parse("2026-11-22T12:00:00Z", &now), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(freep) char *text =
			time_relative(now, now - cases[i].seconds * USEC_PER_SEC);

		assert_string_equal(text, cases[i].text);
	}
}

static void durations_are_short(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} durations[] = {
		{ -1, "0 ms" },
		{ 449, "449 ms" },
		{ 9999, "9.9 s" },
		{ 12000, "12 s" },
		{ 200000, "3 min 20 s" },
		{ 7500000, "2 h 05 min" },
		{ 273600000, "3 d 4 h" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(durations); i++) {
		_cleanup_(freep) char *text = time_duration(durations[i].ms * 1000);

		assert_string_equal(text, durations[i].text);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_line_up),
		cmocka_unit_test(wide_characters_take_two_columns),
		cmocka_unit_test(lines_are_cut_to_a_terminal_only),
		cmocka_unit_test(control_characters_are_shown_not_sent),
		cmocka_unit_test(colours_do_not_count),
		cmocka_unit_test(times_are_told_as_people_do),
		cmocka_unit_test(durations_are_short),
	};

	alarm(60);
	setenv("LC_ALL", "C.UTF-8", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
