/* SPDX-License-Identifier: MIT */
/*
 * test_ignore - every rule of gitignore(5), by name
 *
 * The comparison with git itself, over random rules, is tests/property/test_ignore_git.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "capture/ignore.h"
#include "common/clock.h"
#include "common/strbuf.h"

/* One rule file; dir is "" or ends in '/'. The last of an array has no dir. */
struct rule_file {
	const char *dir;
	const char *text;
};

static const struct ignore_rules *rules_of(
	const struct rule_file *files, const char *dir, size_t size, struct ignore_rules **ret)
{
	*ret = NULL;
	for (; files->dir; files++)
		if (strlen(files->dir) == size && !memcmp(files->dir, dir, size))
			*ret = ignore_rules_parse(files->text, strlen(files->text));
	return *ret;
}

/* Go down to path as a walk does, from the directory whose path has base_len bytes. */
static bool left_out_below(const struct rule_file *files, const struct ignore_level *parent,
	const char *path, size_t base_len)
{
	_cleanup_(ignore_rules_freep) struct ignore_rules *rules = NULL;
	const char *slash = strchr(path + base_len, '/');
	size_t size = slash ? (size_t)(slash - path) : strlen(path);
	struct ignore_level level = { parent, NULL, base_len };

	level.rules = rules_of(files, path, base_len, &rules);
	if (ignore_match(&level, path, size, slash != NULL))
		return true;
	return slash && slash[1] && left_out_below(files, &level, path, size + 1);
}

/* A path that ends in '/' is a directory. */
static bool tree_left_out(const struct rule_file *files, const char *path)
{
	return left_out_below(files, NULL, path, 0);
}

static bool left_out(const char *text, const char *path)
{
	const struct rule_file files[] = { { "", text }, { 0 } };

	return tree_left_out(files, path);
}

#define assert_out(rules, path) assert_true(left_out(rules, path))
#define assert_in(rules, path) assert_false(left_out(rules, path))

static void no_rules_leave_nothing_out(void **state)
{
	(void)state;
	assert_in("", "a");
	assert_in("", "a/b/");
	assert_false(ignore_match(NULL, "a", 1, false));
	ignore_rules_free(NULL);
	ignore_rules_free(ignore_rules_parse(NULL, 0));
}

static void blank_lines_match_nothing(void **state)
{
	(void)state;
	assert_in("\n\n\r\n   \n", "a");
	assert_in("   \n", " ");
	assert_out("\n\na\n\n", "a");
}

static void a_hash_begins_a_comment(void **state)
{
	(void)state;
	assert_in("#a\n", "#a");
	assert_in("# *\n", "a");
	assert_out("\\#a\n", "#a");
	assert_out("a#b\n", "a#b");
	assert_out("*\n!#a\n", "b");
	assert_in("*\n!#a\n", "#a");
	assert_out(" #a\n", " #a");
}

static void trailing_spaces_are_dropped_unless_escaped(void **state)
{
	(void)state;
	assert_out("a  \n", "a");
	assert_in("a  \n", "a  ");
	assert_out("a\\ \n", "a ");
	assert_out("a\\ \\ \n", "a  ");
	assert_out("a\\   \n", "a ");
	assert_in("a\\   \n", "a   ");
	assert_out("a b \n", "a b");
	assert_out("  a\n", "  a");
	assert_out("a\t\n", "a\t");
	assert_out("a/  \n", "a/");
	assert_in("a/  \n", "a");
	assert_out("a", "a");
	assert_out("a ", "a");
}

static void an_exclamation_mark_negates(void **state)
{
	(void)state;
	assert_in("*.o\n!a.o\n", "a.o");
	assert_out("*.o\n!a.o\n", "b.o");
	assert_out("\\!a\n", "!a");
	assert_in("\\!a\n", "a");
	assert_in("*\n!!a\n", "!a");
	assert_out("*\n!\n", "a");
}

static void the_last_rule_that_matches_decides(void **state)
{
	(void)state;
	assert_out("a\n!a\na\n", "a");
	assert_in("a\na\n!a\n", "a");
	assert_out("!a\na\n", "a");
	assert_in("*\n!*.c\n", "x.c");
}

static void nothing_comes_back_below_a_directory_left_out(void **state)
{
	const struct rule_file files[] = { { "", "d/\n" }, { "d/", "!*\n" }, { 0 } };

	(void)state;
	assert_out("d/\n!d/a\n", "d/a");
	assert_out("d\n!a\n", "d/e/a");
	assert_true(tree_left_out(files, "d/a"));
	assert_in("d/*\n!d/a\n", "d/a");
	assert_out("d/*\n!d/a\n", "d/b");
	assert_in("/*\n!/foo\n/foo/*\n!/foo/bar\n", "foo/bar");
	assert_out("/*\n!/foo\n/foo/*\n!/foo/bar\n", "foo/baz");
	assert_out("/*\n!/foo\n/foo/*\n!/foo/bar\n", "baz");
}

static void a_slash_at_the_end_wants_a_directory(void **state)
{
	(void)state;
	assert_out("d/\n", "d/");
	assert_in("d/\n", "d");
	assert_out("d/\n", "x/d/");
	assert_out("d/\n", "x/d/a");
	assert_out("x/d/\n", "x/d/");
	assert_in("x/d/\n", "x/d");
	assert_in("d//\n", "d/");
	assert_in("/\n", "d/");
	assert_in("//\n", "d/");
	assert_out("*/\n", "d/");
	assert_in("*/\n", "d");
}

static void without_a_slash_any_depth_matches(void **state)
{
	(void)state;
	assert_out("a\n", "a");
	assert_out("a\n", "x/a");
	assert_out("a\n", "x/y/a");
	assert_in("a\n", "x/ab");
	assert_in("a\n", "ba");
	assert_out("a?\n", "x/y/ab");
}

static void with_a_slash_the_path_from_the_file_matches(void **state)
{
	(void)state;
	assert_out("/a\n", "a");
	assert_in("/a\n", "x/a");
	assert_out("x/a\n", "x/a");
	assert_in("x/a\n", "y/x/a");
	assert_out("/x/a\n", "x/a");
	assert_in("//a\n", "a");
	assert_out("/*.c\n", "a.c");
	assert_in("/*.c\n", "x/a.c");
	assert_in("a/b\n", "a/");
}

static void rules_hold_from_their_directory_on(void **state)
{
	const struct rule_file files[] = {
		{ "", "*.log\n/top\n" },
		{ "d/", "!keep.log\n/here\nsub/a\nname\n" },
		{ "d/sub/", "keep.log\n" },
		{ 0 },
	};

	(void)state;
	assert_true(tree_left_out(files, "keep.log"));
	assert_false(tree_left_out(files, "d/keep.log"));
	assert_true(tree_left_out(files, "d/x.log"));
	assert_true(tree_left_out(files, "d/sub/keep.log"));
	assert_true(tree_left_out(files, "d/here"));
	assert_false(tree_left_out(files, "here"));
	assert_false(tree_left_out(files, "d/sub/here"));
	assert_false(tree_left_out(files, "d/top"));
	assert_true(tree_left_out(files, "d/sub/a"));
	assert_true(tree_left_out(files, "d/sub/name"));
	assert_false(tree_left_out(files, "name"));
}

static void a_star_takes_anything_but_a_slash(void **state)
{
	(void)state;
	assert_out("*\n", "a");
	assert_out("*.o\n", "a.o");
	assert_out("*.o\n", ".o");
	assert_in("*.o\n", "a.oo");
	assert_out("a*\n", "a");
	assert_out("a*b*c\n", "a1b2bc");
	assert_in("a*b*c\n", "acb");
	assert_out("x/*\n", "x/a");
	assert_in("x/*\n!x/y/\n", "x/y/a");
	assert_out("x/*/a\n", "x/y/a");
	assert_in("x/*/a\n", "x/y/z/a");
	assert_in("x/*/a\n", "x/a");
	assert_in("x*a\n", "x/ya/b");
	assert_out("/x*/a\n", "xy/a");
	assert_out("/*a/b\n", "aa/b");
}

static void a_question_mark_takes_one_byte_but_a_slash(void **state)
{
	(void)state;
	assert_out("a?c\n", "abc");
	assert_in("a?c\n", "ac");
	assert_in("a?c\n", "abbc");
	assert_in("x?a\n", "x/a");
	assert_in("/x?a\n", "x/a");
	assert_out("?\?\n", "\xc3\xa9");
	assert_in("?\n", "\xc3\xa9");
}

static void leading_two_stars_mean_any_directory(void **state)
{
	(void)state;
	assert_out("**/foo\n", "foo");
	assert_out("**/foo\n", "a/b/foo");
	assert_in("**/foo\n", "a/bfoo");
	assert_out("/**/foo\n", "a/foo");
	assert_out("**/foo/bar\n", "foo/bar");
	assert_out("**/foo/bar\n", "a/b/foo/bar");
	assert_in("**/foo/bar\n", "foo/a/bar");
	assert_out("***/foo/bar\n", "a/foo/bar");
	assert_out("**/*a*/b\n", "x/xa/xay/b");
	assert_in("**//\n", "a/");
}

static void trailing_two_stars_mean_everything_inside(void **state)
{
	(void)state;
	assert_out("abc/**\n", "abc/x");
	assert_out("abc/**\n", "abc/x/y");
	assert_in("abc/**\n", "abc/");
	assert_in("abc/**\n", "x/abc/y");
	assert_out("abc/**/\n", "abc/x/");
	assert_in("abc/**/\n", "abc/x");
	assert_out("**\n", "a");
	assert_out("/**\n", "a");
}

static void inner_two_stars_mean_zero_or_more_directories(void **state)
{
	(void)state;
	assert_out("a/**/b\n", "a/b");
	assert_out("a/**/b\n", "a/x/b");
	assert_out("a/**/b\n", "a/x/y/b");
	assert_in("a/**/b\n", "a/xb");
	assert_in("a/**/b\n", "ab");
	assert_out("a/**/**/b\n", "a/b");
	assert_out("a/**/x/**/b\n", "a/1/x/2/3/b");
	assert_in("a/**/x/**/b\n", "a/1/2/b");
	assert_out("**/a/*/**/b*c\n", "x/a/y/a/q/b1c");
	assert_in("a/**\\/b\n", "a/b");
	assert_out("a/**\\/b\n", "a/x/b");
	assert_out("a/**\\/b\n", "a/x/y/b");
}

static void other_stars_in_a_row_are_one_star(void **state)
{
	(void)state;
	assert_out("a**b\n", "axxb");
	assert_in("/a**b\n", "a/b");
	assert_in("x/a**/b\n", "x/ay/z/b");
	assert_out("x/a**/b\n", "x/ay/b");
	assert_in("foo**/bar\n", "foobar");
	assert_out("foo**/bar\n", "foo/bar");
	assert_in("x/**b\n", "x/y/b");
	assert_out("x/**b\n", "x/yb");
}

static void a_backslash_takes_the_meaning_away(void **state)
{
	(void)state;
	assert_out("a\\*\n", "a*");
	assert_in("a\\*\n", "ab");
	assert_out("\\?\n", "?");
	assert_in("\\?\n", "a");
	assert_out("\\[a]\n", "[a]");
	assert_out("\\\\a\n", "\\a");
	assert_out("\\a\\b\n", "ab");
	assert_out("x\\/a\n", "x/a");
	assert_in("x\\/a\n", "y/x/a");
	assert_out("*\\*\n", "a*");
}

static void a_backslash_at_the_end_matches_nothing(void **state)
{
	(void)state;
	assert_in("a\\\n", "a");
	assert_in("a\\\n", "a\\");
	assert_in("a\\/\n", "a/");
	assert_in("a\\/\n", "a\\/");
	assert_out("a\\\n*\n", "a");
}

static void brackets_take_one_byte_of_a_set(void **state)
{
	(void)state;
	assert_out("[ab]\n", "a");
	assert_in("[ab]\n", "c");
	assert_in("[ab]\n", "ab");
	assert_out("a[.]b\n", "a.b");
	assert_out("*.py[cod]\n", "x/a.pyc");
	assert_in("*.py[cod]\n", "a.py");
	assert_in("[A]\n", "a");
	assert_out("[*?]\n", "?");
	assert_out("[\xc3]\xa9\n", "\xc3\xa9");
}

static void brackets_negate(void **state)
{
	(void)state;
	assert_in("[!a]\n", "a");
	assert_out("[!a]\n", "b");
	assert_in("[^a]\n", "a");
	assert_out("[^a]\n", "\xff");
	assert_out("[a!]\n", "!");
	assert_out("[a^]\n", "^");
}

static void brackets_hold_ranges(void **state)
{
	(void)state;
	assert_out("[a-c]\n", "b");
	assert_in("[a-c]\n", "d");
	assert_out("[a-c-e]\n", "-");
	assert_in("[a-c-e]\n", "d");
	assert_out("[-a]\n", "-");
	assert_out("[a-]\n", "-");
	assert_in("[c-a]\n", "b");
	assert_out("[c-a]\n", "c");
	assert_out("[--0]\n", ".");
	assert_out("[a-\\c]\n", "b");
	assert_out("[\x80-\xff]\n", "\x90");
}

static void brackets_hold_brackets_and_escapes(void **state)
{
	(void)state;
	assert_out("[]]\n", "]");
	assert_out("[]a]\n", "a");
	assert_in("[!]a]\n", "]");
	assert_out("[[]\n", "[");
	assert_out("[\\]]\n", "]");
	assert_out("[a\\-c]\n", "-");
	assert_in("[a\\-c]\n", "b");
	assert_out("[\\\\]\n", "\\");
}

static void brackets_hold_posix_classes(void **state)
{
	(void)state;
	assert_out("[[:alpha:]]\n", "x");
	assert_in("[[:alpha:]]\n", "1");
	assert_in("[[:alpha:]]\n", "\xe9");
	assert_out("[[:digit:][:upper:]_]\n", "Q");
	assert_out("[[:digit:][:upper:]_]\n", "7");
	assert_out("[[:digit:][:upper:]_]\n", "_");
	assert_in("[![:space:]]\n", "\t");
	assert_in("[[:space:]]\n", "\v");
	assert_out("[[:xdigit:]][[:punct:]]\n", "f~");
	assert_in("[[:bogus:]]\n", "b");
	assert_in("[[:alpha:]\n", "a");
	assert_out("[[:alpha]\n", ":");
	assert_out("[[:]\n", "[");
}

static void brackets_never_take_a_slash(void **state)
{
	(void)state;
	assert_in("x[/]a\n", "x/a");
	assert_in("x[!b]a\n", "x/a");
	assert_in("/x[!b]a\n", "x/a");
	assert_in("/x[.-0]a\n", "x/a");
	assert_in("a[b/c]d\n", "y/abd");
	assert_out("a[b/c]d\n", "abd");
}

static void open_brackets_match_nothing(void **state)
{
	(void)state;
	assert_in("[a\n", "a");
	assert_in("[a\n", "[a");
	assert_in("[]\n", "[]");
	assert_in("[!]\n", "!");
	assert_in("[a\\]\n", "a");
	assert_in("*[\n", "a[");
	assert_in("a\n![a\n!b[\n[c\n", "b");
	assert_out("[a\nb\n", "b");
}

static void line_ends_may_be_crlf(void **state)
{
	(void)state;
	assert_out("a\r\nb\r\n", "a");
	assert_out("a\r\nb\r\n", "b");
	assert_out("a \r\n", "a");
	assert_out("a\r", "a");
	assert_in("a\r\r\n", "a");
	assert_out("a\r\r\n", "a\r");
	assert_out("a\rb\n", "a\rb");
	assert_out("d/\r\n", "d/");
}

static void a_bom_at_the_start_is_skipped(void **state)
{
	(void)state;
	assert_out("\xef\xbb\xbf"
		   "a\n",
		"a");
	assert_in("\xef\xbb\xbf#a\n", "#a");
	assert_in("a\n\xef\xbb\xbf"
		  "b\n",
		"b");
	assert_out("\xef\xbb\xbf\xef\xbb\xbf"
		   "a\n",
		"\xef\xbb\xbf"
		"a");
	assert_in("\xef\xbb\xbf", "a");
}

static void a_nul_ends_the_rule_not_the_file(void **state)
{
	static const char text[] = "a\0b\nc\0 \n";
	struct ignore_rules *rules = ignore_rules_parse(text, sizeof(text) - 1);
	struct ignore_level level = { .rules = rules };

	(void)state;
	assert_true(ignore_match(&level, "a", 1, false));
	assert_true(ignore_match(&level, "c", 1, false));
	assert_false(ignore_match(&level, "b", 1, false));
	ignore_rules_free(rules);
}

static void case_matters(void **state)
{
	(void)state;
	assert_in("a\n", "A");
	assert_in("*.O\n", "a.o");
	assert_in("[a-z]\n", "A");
}

static void a_path_need_not_end_in_a_nul(void **state)
{
	struct ignore_rules *rules = ignore_rules_parse("*.o\n/x/a\n", 9);
	struct ignore_level level = { .rules = rules };

	(void)state;
	assert_true(ignore_match(&level, "a.oxx", 3, false));
	assert_true(ignore_match(&level, "x/abc", 3, false));
	assert_false(ignore_match(&level, "x/abc", 4, false));
	ignore_rules_free(rules);
}

static void a_huge_text_has_no_rules(void **state)
{
	struct ignore_rules *rules = ignore_rules_parse("*\n", IGNORE_RULES_SIZE_MAX + 1);
	struct ignore_level level = { .rules = rules };

	(void)state;
	assert_false(ignore_match(&level, "a", 1, false));
	ignore_rules_free(rules);
}

/* A pattern of count times `part`, then `end`, against a path of 4096 bytes that almost matches. */
static bool hostile_match(const char *part, size_t count, const char *end, const char *piece)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	_cleanup_(ignore_rules_freep) struct ignore_rules *rules = NULL;
	struct ignore_level level = { 0 };

	while (count--)
		strbuf_adds(&text, part);
	strbuf_adds(&text, end);
	while (path.size < 4095)
		strbuf_adds(&path, piece);
	strbuf_addc(&path, 'a');
	rules = ignore_rules_parse(text.data, text.size);
	level.rules = rules;
	return ignore_match(&level, path.data, path.size, false);
}

static void hostile_patterns_take_bounded_time(void **state)
{
	int64_t begin = clock_boot();

	(void)state;
	assert_false(hostile_match("*a", 4, "*b\n", "a"));
	assert_false(hostile_match("*a", 1000, "*b\n", "a"));
	assert_false(hostile_match("a*", 2000, "b\n", "a"));
	assert_false(hostile_match("*a?[a]", 300, "b\n", "a"));
	assert_false(hostile_match("**/", 1000, "b\n", "a/"));
	assert_false(hostile_match("**/a/", 500, "b\n", "a/"));
	assert_false(hostile_match("**/*a*/", 500, "b\n", "aa/"));
	assert_false(hostile_match("**\\/", 500, "b\n", "a/"));
	assert_false(hostile_match("*/", 1000, "b\n", "a/"));
	assert_false(hostile_match("**/*a*a*a*a*a*a/*", 100, "/b\n", "aaaaaaaaaaaa/"));
	assert_true(hostile_match("*a", 1000, "*\n", "a"));
	assert_true(clock_boot() - begin < 5 * USEC_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_rules_leave_nothing_out),
		cmocka_unit_test(blank_lines_match_nothing),
		cmocka_unit_test(a_hash_begins_a_comment),
		cmocka_unit_test(trailing_spaces_are_dropped_unless_escaped),
		cmocka_unit_test(an_exclamation_mark_negates),
		cmocka_unit_test(the_last_rule_that_matches_decides),
		cmocka_unit_test(nothing_comes_back_below_a_directory_left_out),
		cmocka_unit_test(a_slash_at_the_end_wants_a_directory),
		cmocka_unit_test(without_a_slash_any_depth_matches),
		cmocka_unit_test(with_a_slash_the_path_from_the_file_matches),
		cmocka_unit_test(rules_hold_from_their_directory_on),
		cmocka_unit_test(a_star_takes_anything_but_a_slash),
		cmocka_unit_test(a_question_mark_takes_one_byte_but_a_slash),
		cmocka_unit_test(leading_two_stars_mean_any_directory),
		cmocka_unit_test(trailing_two_stars_mean_everything_inside),
		cmocka_unit_test(inner_two_stars_mean_zero_or_more_directories),
		cmocka_unit_test(other_stars_in_a_row_are_one_star),
		cmocka_unit_test(a_backslash_takes_the_meaning_away),
		cmocka_unit_test(a_backslash_at_the_end_matches_nothing),
		cmocka_unit_test(brackets_take_one_byte_of_a_set),
		cmocka_unit_test(brackets_negate),
		cmocka_unit_test(brackets_hold_ranges),
		cmocka_unit_test(brackets_hold_brackets_and_escapes),
		cmocka_unit_test(brackets_hold_posix_classes),
		cmocka_unit_test(brackets_never_take_a_slash),
		cmocka_unit_test(open_brackets_match_nothing),
		cmocka_unit_test(line_ends_may_be_crlf),
		cmocka_unit_test(a_bom_at_the_start_is_skipped),
		cmocka_unit_test(a_nul_ends_the_rule_not_the_file),
		cmocka_unit_test(case_matters),
		cmocka_unit_test(a_path_need_not_end_in_a_nul),
		cmocka_unit_test(a_huge_text_has_no_rules),
		cmocka_unit_test(hostile_patterns_take_bounded_time),
	};

	return cmocka_run_group_tests_name("ignore", tests, NULL, NULL);
}
