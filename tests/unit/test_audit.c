/* SPDX-License-Identifier: MIT */
/*
 * test_audit - the audit's line whatever its values hold, and the journal's datagram
 */
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "common/audit.h"
#include "common/cleanup.h"
#include "common/journal.h"
#include "common/log.h"
#include "common/utf8.h"

static void assert_line(const struct audit_event *event, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;

	audit_format(event, &line);
	assert_string_equal(line.data, expected);
}

static void what_is_not_known_is_left_out(void **state)
{
	(void)state;
	assert_line(&(struct audit_event){ .action = "drain", .result = AUDIT_OK },
		"audit: action=drain uid=0 result=ok");
	assert_line(&(struct audit_event){ "submit", "ana", 1001, 12, "exp_1700000000_0a1b2c3d",
			    AUDIT_DENIED, "not in the group \"lab\"" },
		"audit: action=submit user=ana uid=1001 pid=12 run=exp_1700000000_0a1b2c3d "
		"result=denied reason=\"not in the group \\\"lab\\\"\"");
}

static void no_value_forges_a_line_or_a_field(void **state)
{
	static const struct {
		const char *user, *expected;
	} cases[] = {
		{ "a b", "\"a b\"" },
		{ "", "\"\"" },
		{ "ana result=ok", "\"ana result=ok\"" },
		{ "x\" result=ok reason=\"", "\"x\\\" result=ok reason=\\\"\"" },
		{ "x\\", "\"x\\\\\"" },
		{ "x\naudit: action=drain", "\"x\\naudit: action=drain\"" },
		{ "x\r\t\x1b[2J\x7f", "\"x\\x0d\\t\\x1b[2J\\x7f\"" },
		{ "\xff\xc3(", "\"\\xff\\xc3(\"" },
		{ "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"" },   /* a surrogate */
		{ "\xc2\x85", "\"\\xc2\\x85\"" },            /* next line */
		{ "\xe2\x80\xa8x", "\"\\xe2\\x80\\xa8x\"" }, /* line separator */
		{ "\xe2\x80\xaex", "\"\\xe2\\x80\\xaex\"" }, /* from right to left */
		{ "\xef\xbb\xbf", "\"\\xef\\xbb\\xbf\"" },
		{ "J\xc3\xbcrgen", "\"J\xc3\xbcrgen\"" },
		{ "DOM+ana@x.y", "DOM+ana@x.y" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct audit_event event = { .action = "a", .user = cases[i].user };
		char expected[256];

		snprintf(expected, sizeof(expected), "audit: action=a user=%s uid=0",
			cases[i].expected);
		assert_line(&event, expected);
	}
}

static void any_bytes_make_one_line_of_text(void **state)
{
	(void)state;
	srandom(1);
	for (int round = 0; round < 20000; round++) {
		_cleanup_(strbuf_release) struct strbuf line = STRBUF_INIT;
		char bytes[24] = { 0 };

		for (size_t i = 0; i < sizeof(bytes) - 1; i++)
			bytes[i] = (char)(1 + random() % 255);
		audit_format(&(struct audit_event){ .action = bytes, .reason = bytes }, &line);
		assert_true(utf8_valid(line.data, line.size));
		for (size_t i = 0; i < line.size; i++)
			assert_true((unsigned char)line.data[i] >= 0x20 && line.data[i] != 0x7f);
		assert_memory_equal(line.data, "audit: action=\"", 15);
		assert_int_equal(line.data[line.size - 1], '"');
	}
}

/* ---- the journal ---- */

static void a_value_is_framed_by_its_length(void **state)
{
	static const struct journal_field fields[] = {
		{ "MESSAGE", "two\nlines\nPRIORITY=0" },
		{ "ABSENT", NULL },
		{ "EMPTY", "" },
	};
	static const char expected[] = "MESSAGE\n\x14\0\0\0\0\0\0\0two\nlines\nPRIORITY=0\n"
				       "EMPTY\n\0\0\0\0\0\0\0\0\n";
	_cleanup_(strbuf_release) struct strbuf entry = STRBUF_INIT;

	(void)state;
	journal_format(fields, ARRAY_SIZE(fields), &entry);
	assert_int_equal(entry.size, sizeof(expected) - 1);
	assert_memory_equal(entry.data, expected, entry.size);
}

static void only_the_stream_that_is_named_is_the_journals(void **state)
{
	static const char *const others[] = { "", "8", "8:", "8:1", "0:0", "x:y", "1:2:3" };

	(void)state;
	unsetenv("JOURNAL_STREAM");
	assert_false(journal_is_stderr());
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		setenv("JOURNAL_STREAM", others[i], 1);
		assert_false(journal_is_stderr());
	}
	unsetenv("JOURNAL_STREAM");
}

/* ---- the log ---- */

/* What is written to stderr meanwhile. */
static void capture(void (*speak)(void), char *to, size_t room)
{
	int ends[2];
	int saved = dup(STDERR_FILENO);
	ssize_t size;

	assert_int_equal(pipe(ends), 0);
	assert_true(saved >= 0 && dup2(ends[1], STDERR_FILENO) >= 0);
	speak();
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	close(ends[1]);
	size = read(ends[0], to, room - 1);
	close(ends[0]);
	to[size > 0 ? size : 0] = '\0';
}

static void speak_lines(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	log_info("not said");
	log_error("one\ntwo\x1b[31m\tthree");
	audit(&(struct audit_event){ .action = "cancel", .result = AUDIT_OK });
	log_set_level(LOG_LEVEL_INFO);
}

static void a_line_is_a_line_and_the_audit_has_no_level(void **state)
{
	char text[1024];

	(void)state;
	capture(speak_lines, text, sizeof(text));
	assert_null(strstr(text, "not said"));
	assert_non_null(strstr(text, "Z one\\ntwo\\x1b[31m\tthree\n"));
	assert_non_null(strstr(text, "Z audit: action=cancel uid=0 result=ok\n"));
}

static void speak_at_length(void)
{
	log_error("%04000d", 7);
}

static void a_long_line_is_cut(void **state)
{
	char text[8192];

	(void)state;
	capture(speak_at_length, text, sizeof(text));
	assert_true(strlen(text) > 2000 && strlen(text) < 2200);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_known_is_left_out),
		cmocka_unit_test(no_value_forges_a_line_or_a_field),
		cmocka_unit_test(any_bytes_make_one_line_of_text),
		cmocka_unit_test(a_value_is_framed_by_its_length),
		cmocka_unit_test(only_the_stream_that_is_named_is_the_journals),
		cmocka_unit_test(a_line_is_a_line_and_the_audit_has_no_level),
		cmocka_unit_test(a_long_line_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
