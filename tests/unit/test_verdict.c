/* SPDX-License-Identifier: MIT */
/* test_verdict - every way a run can end, and the sentence that says so */
#include "test.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/strv.h"
#include "runs/verdict.h"

#define SECONDS(n) ((int64_t)((n)*USEC_PER_SEC))
#define GIB(n) ((int64_t)((n)*1073741824.0))
/* 2023-11-14T22:13:20Z */
#define NOW INT64_C(1700000000000000)
/* Nobody counted kills, nobody looked at the disk. */
#define UNKNOWN .oom_kills = -1, .disk_free_bytes = -1
#define BY_SIGNAL(n) .exit_code = -1, .signal = (n)
#define STOPPED(why, after) \
	.stopped = (why), .stop_us = NOW, .end_us = NOW + SECONDS(after), \
	.gone_us = NOW + SECONDS(after)

#define BOOM \
	"Traceback (most recent call last):\n" \
	"  File \"/work/train.py\", line 42, in step\n" \
	"    raise ValueError(\"bad shape\")\n" \
	"ValueError: bad shape\n"
#define NO_SPACE \
	"Traceback (most recent call last):\n" \
	"  File \"/work/train.py\", line 9, in <module>\n" \
	"OSError: [Errno 28] No space left on device\n"
#define INTERRUPTED \
	"Traceback (most recent call last):\n" \
	"  File \"/work/train.py\", line 3, in wait\n" \
	"KeyboardInterrupt\n"
#define FATAL \
	"Fatal Python error: Segmentation fault\n\n" \
	"Current thread 0x0 (most recent call first):\n" \
	"  File \"/work/train.py\", line 4 in crash\n"

/* clang-format off */
static const struct row {
	struct run_exit exit;
	const char *log; /* NULL: it could not be read */
	bool shell;
	enum run_cause cause;
	const char *sentence; /* NULL: there is no error */
} rows[] = {
	/* exit 0 */
	{ { .exit_code = 0, UNKNOWN }, "done\n", false, RUN_CAUSE_NONE, NULL },
	{ { .exit_code = 0, UNKNOWN }, BOOM, false, RUN_CAUSE_NONE, NULL },

	/* exit other than 0 */
	{ { .exit_code = 1, UNKNOWN }, BOOM, false, RUN_CAUSE_USER_ERROR,
		"exited with code 1: ValueError: bad shape (train.py, line 42, in step)" },
	{ { .exit_code = 1, UNKNOWN }, BOOM "and on\n", false, RUN_CAUSE_USER_ERROR,
		"exited with code 1; the last traceback in its log: ValueError: bad shape (train.py, line 42, in step)" },
	{ { .exit_code = 2, UNKNOWN }, "usage: x\n  error: no such argument: --foo\n", false, RUN_CAUSE_USER_ERROR,
		"exited with code 2; the last line of its log: \"error: no such argument: --foo\"" },
	{ { .exit_code = 3, UNKNOWN }, "", false, RUN_CAUSE_USER_ERROR, "exited with code 3; it printed nothing" },
	{ { .exit_code = 3, UNKNOWN }, NULL, false, RUN_CAUSE_USER_ERROR, "exited with code 3" },
	{ { .exit_code = 120, UNKNOWN }, "", false, RUN_CAUSE_USER_ERROR,
		"exited with code 120 (Python's word for: its output could not be written); it printed nothing" },
	{ { .exit_code = 126, UNKNOWN }, NULL, true, RUN_CAUSE_USER_ERROR,
		"exited with code 126 (a shell's word for: the command cannot be executed)" },
	{ { .exit_code = 127, UNKNOWN }, "sh: 1: foo: not found\n", true, RUN_CAUSE_USER_ERROR,
		"exited with code 127 (a shell's word for: command not found); the last line of its log: \"sh: 1: foo: not found\"" },
	{ { .exit_code = 127, UNKNOWN }, NULL, false, RUN_CAUSE_USER_ERROR, "exited with code 127" },
	{ { .exit_code = 139, UNKNOWN }, NULL, true, RUN_CAUSE_USER_ERROR,
		"exited with code 139 (a shell's word for: its command was ended by signal 11 (SIGSEGV))" },
	{ { .exit_code = 139, UNKNOWN }, NULL, false, RUN_CAUSE_USER_ERROR, "exited with code 139" },
	{ { .exit_code = 255, UNKNOWN }, NULL, true, RUN_CAUSE_USER_ERROR, "exited with code 255" },
	{ { .exit_code = 1, .oom_kills = 1, .disk_free_bytes = -1 }, BOOM, false, RUN_CAUSE_USER_ERROR,
		"exited with code 1: ValueError: bad shape (train.py, line 42, in step); "
		"the kernel ended 1 of its processes for want of memory" },

	/* the disk */
	{ { .exit_code = 1, .oom_kills = -1, .disk_free_bytes = 0 }, NO_SPACE, false, RUN_CAUSE_USER_ERROR,
		"exited with code 1: OSError: [Errno 28] No space left on device (train.py, line 9); "
		"the disk of its folder was full (0 B free)" },
	{ { .exit_code = 1, .oom_kills = -1, .disk_free_bytes = GIB(3) }, NO_SPACE, false, RUN_CAUSE_USER_ERROR,
		"exited with code 1: OSError: [Errno 28] No space left on device (train.py, line 9); "
		"the disk of its folder had 3.0 GiB free when it ended" },
	{ { .exit_code = 1, .oom_kills = 0, .disk_free_bytes = GIB(3) }, BOOM, false, RUN_CAUSE_USER_ERROR,
		"exited with code 1: ValueError: bad shape (train.py, line 42, in step)" },
	{ { .exit_code = 4, .oom_kills = -1, .disk_free_bytes = 65536 }, "", false, RUN_CAUSE_USER_ERROR,
		"exited with code 4; it printed nothing; the disk of its folder was full (64.0 KiB free)" },
	{ { BY_SIGNAL(7), .oom_kills = -1, .disk_free_bytes = 0 }, NULL, false, RUN_CAUSE_KILLED,
		"ended by signal 7 (SIGBUS): a memory access that could not be carried out, as a rule the program's own "
		"fault; amlagent did not send it; the disk of its folder was full (0 B free)" },

	/* a signal it did not ask for */
	{ { BY_SIGNAL(11), UNKNOWN }, "epoch 3\n", false, RUN_CAUSE_KILLED,
		"ended by signal 11 (SIGSEGV): an invalid memory access, as a rule the program's own fault; "
		"amlagent did not send it; the last line of its log: \"epoch 3\"" },
	{ { BY_SIGNAL(11), UNKNOWN }, FATAL, false, RUN_CAUSE_KILLED,
		"ended by signal 11 (SIGSEGV): an invalid memory access, as a rule the program's own fault; amlagent did not "
		"send it; its log ends with: Fatal Python error: Segmentation fault (train.py, line 4, in crash)" },
	{ { BY_SIGNAL(6), UNKNOWN }, NULL, false, RUN_CAUSE_KILLED,
		"ended by signal 6 (SIGABRT): abort(), as a rule the program's own fault; amlagent did not send it" },
	{ { BY_SIGNAL(24), UNKNOWN }, "x\n", false, RUN_CAUSE_KILLED,
		"ended by signal 24 (SIGXCPU): it used more CPU time than its limit allows (ulimit -t)" },
	{ { BY_SIGNAL(25), UNKNOWN }, "x\n", false, RUN_CAUSE_KILLED,
		"ended by signal 25 (SIGXFSZ): it wrote a larger file than its limit allows (ulimit -f)" },
	{ { BY_SIGNAL(13), UNKNOWN }, "x\n", false, RUN_CAUSE_KILLED,
		"ended by signal 13 (SIGPIPE): it wrote to a pipe or socket that nobody reads; amlagent did not send the signal" },
	{ { BY_SIGNAL(15), UNKNOWN }, "x\n", false, RUN_CAUSE_KILLED,
		"ended by signal 15 (SIGTERM), which amlagent did not send" },
	{ { BY_SIGNAL(1), UNKNOWN }, NULL, false, RUN_CAUSE_KILLED,
		"ended by signal 1 (SIGHUP), which amlagent did not send" },
	{ { BY_SIGNAL(2), UNKNOWN }, INTERRUPTED, false, RUN_CAUSE_KILLED,
		"ended by signal 2 (SIGINT), which amlagent did not send; its log ends with: "
		"KeyboardInterrupt (train.py, line 3, in wait)" },
	{ { BY_SIGNAL(40), UNKNOWN }, NULL, false, RUN_CAUSE_KILLED,
		"ended by signal 40 (SIGRTMIN+6), which amlagent did not send" },
	{ { BY_SIGNAL(9), UNKNOWN }, "x\n", false, RUN_CAUSE_KILLED, "ended by signal 9 (SIGKILL), which amlagent did not send" },
	{ { BY_SIGNAL(9), .peak_bytes = GIB(14.9), UNKNOWN }, "x\n", false, RUN_CAUSE_KILLED,
		"ended by signal 9 (SIGKILL), which amlagent did not send; its peak memory was 14.9 GiB (the largest process)" },
	{ { BY_SIGNAL(9), .oom_kills = 0, .disk_free_bytes = GIB(1), .peak_bytes = 300 << 20, .peak_of_all = true }, NULL, false,
		RUN_CAUSE_KILLED, "ended by signal 9 (SIGKILL), which amlagent did not send; no out-of-memory kill was counted; "
		"its peak memory was 300 MiB (all processes together)" },
	{ { BY_SIGNAL(15), .oom_kills = 3, .disk_free_bytes = -1 }, NULL, false, RUN_CAUSE_KILLED,
		"ended by signal 15 (SIGTERM), which amlagent did not send; the kernel ended 3 of its processes for want of memory" },

	/* out of memory */
	{ { BY_SIGNAL(9), .oom = true, .oom_kills = 2, .disk_free_bytes = -1, .peak_bytes = GIB(14.9), .peak_of_all = true },
		NULL, false, RUN_CAUSE_OUT_OF_MEMORY, "killed by the kernel for want of memory: 2 out-of-memory kills in the run's group; "
		"its peak memory was 14.9 GiB (all processes together)" },
	{ { BY_SIGNAL(9), .oom_kills = 1, .disk_free_bytes = -1 }, NULL, false, RUN_CAUSE_OUT_OF_MEMORY,
		"killed by the kernel for want of memory: 1 out-of-memory kill in the run's group" },
	{ { BY_SIGNAL(9), .oom = true, .peak_bytes = 64 << 20, UNKNOWN }, NULL, false, RUN_CAUSE_OUT_OF_MEMORY,
		"ended by signal 9 (SIGKILL), and the kernel's out-of-memory killer was at work on this "
		"machine while it ran; "
		"its peak memory was 64.0 MiB (the largest process)" },

	/* the time limit */
	{ { BY_SIGNAL(15), STOPPED(RUN_STOP_LIMIT, 0.12), UNKNOWN }, "x\n", false, RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED,
		"stopped after its limit of 60 s (max_run_duration_seconds): it ended 0.1 s after SIGTERM, by that signal" },
	{ { BY_SIGNAL(9), STOPPED(RUN_STOP_LIMIT, 30), UNKNOWN }, NULL, false, RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED,
		"stopped after its limit of 60 s (max_run_duration_seconds): it did not end by itself, and got SIGKILL 30 s after SIGTERM" },
	{ { .exit_code = 0, STOPPED(RUN_STOP_LIMIT, 2.1), UNKNOWN }, NULL, false, RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED,
		"stopped after its limit of 60 s (max_run_duration_seconds): it exited with code 0, 2.1 s after SIGTERM" },

	/* a cancel */
	{ { .exit_code = 77, STOPPED(RUN_STOP_CANCEL, 2.1), UNKNOWN }, BOOM, false, RUN_CAUSE_CANCELED_BY_USER,
		"canceled by ana at 2023-11-14T22:13:20Z: it exited with code 77, 2.1 s after SIGTERM" },
	{ { BY_SIGNAL(9), STOPPED(RUN_STOP_CANCEL, 1), UNKNOWN }, NULL, false, RUN_CAUSE_CANCELED_BY_USER,
		"canceled by ana at 2023-11-14T22:13:20Z: it was ended by signal 9 (SIGKILL) 1.0 s after SIGTERM" },
	{ { BY_SIGNAL(11), STOPPED(RUN_STOP_CANCEL, 0.5), UNKNOWN }, NULL, false, RUN_CAUSE_CANCELED_BY_USER,
		"canceled by ana at 2023-11-14T22:13:20Z: it was ended by signal 11 (SIGSEGV) 0.5 s after SIGTERM" },
	{ { BY_SIGNAL(0), STOPPED(RUN_STOP_CANCEL, 0), UNKNOWN }, NULL, false, RUN_CAUSE_CANCELED_BY_USER,
		"canceled by ana at 2023-11-14T22:13:20Z: its command had not been started" },
	{ { BY_SIGNAL(15), .stopped = RUN_STOP_CANCEL, .stop_us = NOW, .end_us = NOW + SECONDS(1), .gone_us = NOW + SECONDS(5), UNKNOWN },
		NULL, false, RUN_CAUSE_CANCELED_BY_USER, "canceled by ana at 2023-11-14T22:13:20Z: it ended 1.0 s after SIGTERM, by that "
		"signal; the last of its processes was gone 4.0 s later" },
	{ { BY_SIGNAL(15), STOPPED(RUN_STOP_CANCEL, -3600), UNKNOWN }, NULL, false, RUN_CAUSE_CANCELED_BY_USER,
		"canceled by ana at 2023-11-14T22:13:20Z: it ended after SIGTERM, by that signal" },

	/* the machine or the session goes down */
	{ { BY_SIGNAL(15), STOPPED(RUN_STOP_SHUTDOWN, 0.1), UNKNOWN }, NULL, false, RUN_CAUSE_KILLED,
		"stopped at 2023-11-14T22:13:20Z because its supervisor got SIGTERM, as when the machine or the session is shut down: "
		"it ended 0.1 s after SIGTERM, by that signal" },

	/* could not be started */
	{ { .exit_code = -1, .exec_errno = ENOENT, UNKNOWN }, "", false, RUN_CAUSE_SETUP_ERROR,
		"cannot execute /bin/nothing: No such file or directory; it, or what its first line names, is not there" },
	{ { .exit_code = -1, .exec_errno = EIO, UNKNOWN }, "", false, RUN_CAUSE_SETUP_ERROR,
		"cannot execute /bin/nothing: Input/output error" },
	{ { .exit_code = -1, UNKNOWN }, NULL, false, RUN_CAUSE_LOST, "the command ended and left no exit status" },
};
/* clang-format on */

static void check_row(const struct row *row)
{
	struct verdict_facts facts = { .exit = &row->exit,
		.limit_seconds = 60,
		.grace_us = SECONDS(30),
		.canceled_by = "ana",
		.program = row->shell ? "/bin/sh" : "/bin/nothing",
		.shell = row->shell };
	struct log_tail tail = { 0 };
	struct verdict verdict;

	if (row->log) {
		log_tail_read(row->log, strlen(row->log), "/work", &tail);
		facts.log_tail = &tail;
	}
	verdict_of(&facts, &verdict);
	assert_int_equal(verdict.cause, row->cause);
	assert_int_equal(verdict.exit_code, row->exit.exit_code);
	assert_int_equal(verdict.signal, row->exit.signal);
	if (!row->sentence) {
		assert_null(verdict.message);
	} else {
		_cleanup_(freep) char *line =
			mem_strndup(verdict.message, strcspn(verdict.message, "\n"));

		assert_string_equal(line, row->sentence);
	}
	verdict_release(&verdict);
	log_tail_release(&tail);
}

static void each_end_has_its_cause_and_its_sentence(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(&rows[i]);
}

static char *message_of(const struct verdict_facts *facts)
{
	struct verdict verdict;
	char *message;

	verdict_of(facts, &verdict);
	message = TAKE(verdict.message);
	verdict_release(&verdict);
	return message;
}

/* ---- what is not known is not said ---- */

static void a_stop_by_nobody_known_names_nobody(void **state)
{
	struct run_exit exit = { BY_SIGNAL(15), .stopped = RUN_STOP_CANCEL, UNKNOWN };
	struct verdict_facts facts = { .exit = &exit };
	_cleanup_(freep) char *cancel = message_of(&facts);
	_cleanup_(freep) char *limit = NULL;

	(void)state;
	assert_string_equal(cancel, "canceled: it ended after SIGTERM, by that signal");
	exit.stopped = RUN_STOP_LIMIT;
	limit = message_of(&facts);
	assert_string_equal(limit, "stopped after its limit (max_run_duration_seconds): it ended "
				   "after SIGTERM, by that signal");
}

static void a_sigkill_is_ours_only_when_the_grace_was_over(void **state)
{
	struct run_exit exit = { BY_SIGNAL(9), STOPPED(RUN_STOP_LIMIT, 30), UNKNOWN };
	struct verdict_facts facts = { .exit = &exit, .grace_us = SECONDS(60) };
	_cleanup_(freep) char *early = message_of(&facts);
	_cleanup_(freep) char *unknown = NULL;

	(void)state;
	assert_non_null(strstr(early, "it was ended by signal 9 (SIGKILL) 30 s after SIGTERM"));
	facts.grace_us = 0;
	unknown = message_of(&facts);
	assert_string_equal(early, unknown);
}

static void a_lost_run_says_when_it_was_last_seen_and_invents_no_status(void **state)
{
	static const struct {
		struct verdict_facts facts;
		const char *message;
	} losses[] = {
		{ { .seen_us = NOW },
			"the run's supervisor was killed or died; it was last seen at "
			"2023-11-14T22:13:20Z; its exit status is not known" },
		{ { .seen_us = NOW, .swept = true },
			"the run's supervisor was killed or died; it was last seen at "
			"2023-11-14T22:13:20Z; its exit status is not known; what was found of the "
			"run was stopped" },
		{ { .seen_us = NOW, .swept = true, .rebooted = true },
			"the machine was restarted (or lost power) while the run went on; it was "
			"last seen at 2023-11-14T22:13:20Z; its exit status is not known" },
		{ { .seen_us = NOW, .swept = true, .folder_gone = true },
			"the run's folder is gone, and with it what it told of the end; it was "
			"last seen at 2023-11-14T22:13:20Z; its exit status is not known; what was "
			"found of the run was stopped" },
		{ { .seen_us = NOW, .rebooted = true, .damaged = "format=1 exit_code=0" },
			"the run's exit record is damaged; what can be read of it: \"format=1 "
			"exit_code=0\"; it was last seen at 2023-11-14T22:13:20Z; its exit status "
			"is not known" },
		{ { .damaged = "" },
			"the run's exit record is damaged, and nothing of it can be read; it was "
			"last seen at a time that is not known; its exit status is not known" },
		{ { .seen_us = 0 },
			"the run's supervisor was killed or died; it was last seen at a time that "
			"is not known; its exit status is not known" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(losses); i++) {
		struct verdict verdict;

		verdict_of(&losses[i].facts, &verdict);
		assert_int_equal(verdict.cause, RUN_CAUSE_LOST);
		assert_int_equal(verdict.exit_code, -1);
		assert_int_equal(verdict.signal, 0);
		assert_string_equal(verdict.message, losses[i].message);
		assert_null(verdict.warnings);
		verdict_release(&verdict);
	}
}

/* ---- length, and the lines below ---- */

static void the_sentence_stays_short_and_one_line_whatever_the_log_says(void **state)
{
	_cleanup_(freep) char *name = mem_alloc(5001);
	_cleanup_(freep) char *log = NULL;
	struct run_exit exit = { .exit_code = 1, .oom_kills = 2, .disk_free_bytes = 0 };
	struct verdict_facts facts = { .exit = &exit };
	struct log_tail tail;
	char *message;

	(void)state;
	memset(name, 'x', 5000);
	log = mem_printf("Traceback (most recent call last):\n  File \"/work/%s.py\", line 3, in %s"
			 "\nValueError: %s\t\a%s\n",
		name, name, name, name);
	log_tail_read(log, strlen(log), "/work", &tail);
	facts.log_tail = &tail;
	message = message_of(&facts);
	/* What is known for certain is not cut: all of it at once may make it longer. */
	assert_in_range(strcspn(message, "\n"), 150, VERDICT_SENTENCE_MAX + 150);
	assert_true(strlen(message) < 2000);
	free(message);
	exit.oom_kills = exit.disk_free_bytes = -1;
	message = message_of(&facts);
	assert_in_range(strcspn(message, "\n"), 150, VERDICT_SENTENCE_MAX);
	assert_non_null(strstr(message, "\xe2\x80\xa6"));
	free(message);
	log_tail_release(&tail);
}

static void the_lines_below_are_the_end_of_the_log(void **state)
{
	struct run_exit exit = { .exit_code = 1, UNKNOWN };
	struct verdict_facts facts = { .exit = &exit };
	struct log_tail tail;
	char *message;

	(void)state;
	log_tail_read("one\ntwo\n", 8, NULL, &tail);
	facts.log_tail = &tail;
	message = message_of(&facts);
	assert_string_equal(message, "exited with code 1; the last line of its log: \"two\"\n"
				     "last lines of the log:\none\ntwo");
	free(message);
	log_tail_release(&tail);
	log_tail_read("one\n" BOOM, strlen("one\n" BOOM), "/work", &tail);
	message = message_of(&facts);
	assert_non_null(strstr(message, "in step)\nlast traceback of the log:\nTraceback (most"));
	assert_null(strstr(message, "one"));
	free(message);
	log_tail_release(&tail);
}

/* ---- warnings ---- */

static void what_was_not_enforced_is_told_of_any_end(void **state)
{
	static const struct {
		const char *unenforced;
		int64_t memory;
		const char *warnings[4];
	} cases[] = {
		{ "", 5, { NULL } },
		{ "memory", (int64_t)2 << 30,
			{ "its memory limit of 2.0 GiB was not enforced: no cgroup with a memory "
			  "controller here; see amlctl doctor" } },
		{ "memory", 0,
			{ "its memory limit was not enforced: no cgroup with a memory controller here; "
			  "see amlctl doctor" } },
		{ "pids cpu", 1,
			{ "the limit of its processes (max_processes_per_run) was not enforced: no cgroup "
			  "with a pids controller here; see amlctl doctor",
				"its share of the CPUs was not enforced: no cgroup with a cpu controller "
				"here; see amlctl doctor" } },
		/* Of another build's words nothing is said. */
		{ "memoryx io  emory", 0, { NULL } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (int code = 0; code < 2; code++) {
			struct run_exit exit = { .exit_code = code, UNKNOWN };
			struct verdict_facts facts = { .exit = &exit,
				.memory_bytes = cases[i].memory };
			struct verdict verdict;
			size_t n = 0;

			strcpy(exit.unenforced, cases[i].unenforced);
			verdict_of(&facts, &verdict);
			for (; cases[i].warnings[n]; n++)
				assert_string_equal(verdict.warnings[n], cases[i].warnings[n]);
			assert_int_equal(strv_length(verdict.warnings), n);
			verdict_release(&verdict);
		}
}

static void memory_limit_is_named_where_it_was_in_force(void **state)
{
	struct run_exit exit = { BY_SIGNAL(9), .oom = true, UNKNOWN };
	struct verdict_facts facts = { .exit = &exit, .memory_bytes = 64 << 20 };
	char *message = message_of(&facts);

	(void)state;
	assert_null(strstr(message, "its limit"));
	free(message);
	exit.oom_kills = 2;
	message = message_of(&facts);
	assert_string_equal(message,
		"killed by the kernel for want of memory: 2 out-of-memory kills in "
		"the run's group; its limit was 64.0 MiB (--memory)");
	free(message);
}

static void who_was_ended_with_all_the_others_did_not_go_on(void **state)
{
	struct run_exit exit = { BY_SIGNAL(9), UNKNOWN, .leftovers = 2 };
	struct verdict_facts facts = { .exit = &exit, .memory_bytes = 64 << 20 };
	struct verdict verdict;

	(void)state;
	for (int kills = 0; kills < 2; kills++) {
		exit.oom_kills = 3 * kills;
		verdict_of(&facts, &verdict);
		assert_int_equal(strv_length(verdict.warnings), !kills);
		verdict_release(&verdict);
	}
}

static void limits_of_the_user_are_named(void **state)
{
	struct run_exit exit = { .exit_code = -1, .exec_errno = EUSERS, UNKNOWN };
	struct verdict_facts facts = { .exit = &exit, .program = "/usr/bin/python3" };
	struct verdict verdict;

	(void)state;
	verdict_of(&facts, &verdict);
	assert_int_equal(verdict.cause, RUN_CAUSE_SETUP_ERROR);
	assert_string_equal(verdict.message,
		"cannot execute /usr/bin/python3: the limits of its user leave no room for it; look at "
		"processes (ulimit -u) and address space (ulimit -v) where it was submitted");
	verdict_release(&verdict);
}

static void a_good_end_warns_of_what_was_not_good(void **state)
{
	static const struct {
		struct run_exit exit;
		const char *warning;
	} ends[] = {
		{ { .end_us = NOW, .gone_us = NOW + SECONDS(0.3), .leftovers = 2, UNKNOWN },
			"2 processes of the run went on when its command had ended; amlagent "
			"stopped them, the last was gone after 0.3 s" },
		{ { .end_us = NOW, .gone_us = NOW, .leftovers = 1, .exit_code = 1, UNKNOWN },
			"1 process of the run went on when its command had ended; amlagent "
			"stopped it" },
		{ { .oom_kills = 1, .disk_free_bytes = -1 },
			"the kernel ended 1 of the run's processes for want of memory, although "
			"its command exited with 0" },
		{ { .oom_kills = 0, .disk_free_bytes = 4096 },
			"the disk of the run's folder was full (4.0 KiB free) when its command "
			"exited with 0: see whether its outputs and log are whole" },
		{ { UNKNOWN }, NULL },
		{ { .disk_free_bytes = GIB(1) }, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct verdict_facts facts = { .exit = &ends[i].exit };
		struct verdict verdict;

		verdict_of(&facts, &verdict);
		assert_int_equal(strv_length(verdict.warnings), ends[i].warning ? 1 : 0);
		if (ends[i].warning)
			assert_string_equal(verdict.warnings[0], ends[i].warning);
		verdict_release(&verdict);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_has_its_cause_and_its_sentence),
		cmocka_unit_test(a_stop_by_nobody_known_names_nobody),
		cmocka_unit_test(a_sigkill_is_ours_only_when_the_grace_was_over),
		cmocka_unit_test(a_lost_run_says_when_it_was_last_seen_and_invents_no_status),
		cmocka_unit_test(the_sentence_stays_short_and_one_line_whatever_the_log_says),
		cmocka_unit_test(the_lines_below_are_the_end_of_the_log),
		cmocka_unit_test(what_was_not_enforced_is_told_of_any_end),
		cmocka_unit_test(memory_limit_is_named_where_it_was_in_force),
		cmocka_unit_test(who_was_ended_with_all_the_others_did_not_go_on),
		cmocka_unit_test(limits_of_the_user_are_named),
		cmocka_unit_test(a_good_end_warns_of_what_was_not_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
