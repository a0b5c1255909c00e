/* SPDX-License-Identifier: MIT */
/* test_verdict - every way a run can end, and what is said of it */
#include "test.h"

#include "common/mem.h"
#include "runs/verdict.h"

static void check(const struct verdict_facts *facts, enum run_cause cause, const char *part)
{
	struct verdict verdict;

	verdict_of(facts, &verdict);
	assert_int_equal(verdict.cause, cause);
	if (part) {
		assert_non_null(verdict.message);
		assert_non_null(strstr(verdict.message, part));
	} else {
		assert_null(verdict.message);
	}
	free(verdict.message);
}

static void each_end_has_its_cause(void **state)
{
	static const struct {
		struct run_exit exit;
		enum run_cause cause;
		const char *part;
	} ends[] = {
		{ { .exit_code = 0 }, RUN_CAUSE_NONE, NULL },
		{ { .exit_code = 3 }, RUN_CAUSE_USER_ERROR, "code 3" },
		{ { .exit_code = -1, .signal = 11 }, RUN_CAUSE_KILLED, "signal 11 (SIGSEGV)" },
		{ { .exit_code = -1, .signal = 9, .oom = true, .peak_bytes = 64 << 20 },
			RUN_CAUSE_OUT_OF_MEMORY, "64 MiB" },
		{ { .exit_code = -1, .exec_errno = ENOENT }, RUN_CAUSE_SETUP_ERROR,
			"/bin/nothing" },
		{ { .exit_code = 0, .stopped = RUN_STOP_LIMIT },
			RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED, "60" },
		{ { .exit_code = -1, .signal = 15, .stopped = RUN_STOP_CANCEL },
			RUN_CAUSE_CANCELED_BY_USER, "ana" },
		{ { .exit_code = -1, .signal = 15, .stopped = RUN_STOP_SHUTDOWN }, RUN_CAUSE_KILLED,
			"SIGTERM" },
		{ { .exit_code = -1 }, RUN_CAUSE_LOST, "no exit status" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct verdict_facts facts = { .exit = &ends[i].exit,
			.limit_seconds = 60,
			.canceled_by = "ana",
			.program = "/bin/nothing" };

		check(&facts, ends[i].cause, ends[i].part);
	}
}

static void a_lost_run_says_when_it_was_last_seen_and_invents_no_status(void **state)
{
	struct verdict_facts facts = { .seen_us = INT64_C(1700000000000000) };
	struct verdict verdict;

	(void)state;
	verdict_of(&facts, &verdict);
	assert_int_equal(verdict.cause, RUN_CAUSE_LOST);
	assert_int_equal(verdict.exit_code, -1);
	assert_int_equal(verdict.signal, 0);
	assert_non_null(strstr(verdict.message, "2023-11-14T22:13:20"));
	free(verdict.message);
	facts.rebooted = true;
	check(&facts, RUN_CAUSE_LOST, "restarted");
}

static void a_failure_carries_the_end_of_the_log(void **state)
{
	struct run_exit exit = { .exit_code = 1 };
	struct verdict_facts facts = { .exit = &exit, .log_tail = "ValueError: no" };

	(void)state;
	check(&facts, RUN_CAUSE_USER_ERROR, "ValueError: no");
}

static void tail(const char *log, size_t size, const char *expected)
{
	_cleanup_(freep) char *text = verdict_log_tail(log, size);

	assert_string_equal(text, expected);
}

static void the_tail_is_the_last_ten_lines_as_a_terminal_shows_them(void **state)
{
	char many[400] = "";
	char expected[200] = "";
	char line[16];

	(void)state;
	for (int i = 1; i <= 30; i++) {
		snprintf(line, sizeof(line), "line %d\n", i);
		strcat(many, line);
		if (i > 20)
			strcat(expected, line);
	}
	expected[strlen(expected) - 1] = '\0';
	tail(many, strlen(many), expected);
	tail("", 0, "");
	tail("\n\n", 2, "");
	tail("10%\r50%\r100%\r\n", 14, "100%");
	tail("a\xff"
	     "b\0c",
		5,
		"a\xef\xbf\xbd"
		"b\xef\xbf\xbd"
		"c");
}

static void a_log_without_newlines_is_cut(void **state)
{
	_cleanup_(freep) char *log = mem_alloc(100000);
	_cleanup_(freep) char *text = NULL;

	(void)state;
	memset(log, 'x', 100000);
	text = verdict_log_tail(log, 100000);
	assert_in_range(strlen(text), 1, 1600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_has_its_cause),
		cmocka_unit_test(a_lost_run_says_when_it_was_last_seen_and_invents_no_status),
		cmocka_unit_test(a_failure_carries_the_end_of_the_log),
		cmocka_unit_test(the_tail_is_the_last_ten_lines_as_a_terminal_shows_them),
		cmocka_unit_test(a_log_without_newlines_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
