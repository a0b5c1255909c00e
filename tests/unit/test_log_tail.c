/* SPDX-License-Identifier: MIT */
/* test_log_tail - what the end of a log tells: tracebacks as Pythons 3.8 to 3.13 print them */
#include "test.h"

#include <stdlib.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/utf8.h"
#include "runs/log_tail.h"

#define WORK "/runs/r/work"
#define NEWLINES_10 "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n"

/* ---- real ones, each made by the Python named, of scripts in a folder that is called WORK here.
 * 3.13 was asked for colours. ---- */

/* clang-format off */
static const char plain_311[] =
	"Traceback (most recent call last):\n"
	"  File \"/runs/r/work/plain.py\", line 3, in <module>\n"
	"    step(1)\n"
	"  File \"/runs/r/work/plain.py\", line 2, in step\n"
	"    raise ValueError(\"bad shape\")\n"
	"ValueError: bad shape\n";

static const char plain_38[] =
	"Traceback (most recent call last):\n"
	"  File \"plain.py\", line 3, in <module>\n"
	"    step(1)\n"
	"  File \"plain.py\", line 2, in step\n"
	"    raise ValueError(\"bad shape\")\n"
	"ValueError: bad shape\n";

static const char coloured_313[] =
	"Traceback (most recent call last):\n"
	"  File \033[35m\"/runs/r/work/plain.py\"\033[0m, line \033[35m3\033[0m, in \033[35m<module>\033[0m\n"
	"    \033[31mstep\033[0m\033[1;31m(1)\033[0m\n"
	"    \033[31m~~~~\033[0m\033[1;31m^^^\033[0m\n"
	"  File \033[35m\"/runs/r/work/plain.py\"\033[0m, line \033[35m2\033[0m, in \033[35mstep\033[0m\n"
	"    raise ValueError(\"bad shape\")\n"
	"\033[1;35mValueError\033[0m: \033[35mbad shape\033[0m\n";

static const char chained[] =
	"Traceback (most recent call last):\n"
	"  File \"/runs/r/work/chained.py\", line 3, in load\n"
	"    {}[\"lr\"]\n"
	"    ~~^^^^^^\n"
	"KeyError: 'lr'\n"
	"\n"
	"The above exception was the direct cause of the following exception:\n"
	"\n"
	"Traceback (most recent call last):\n"
	"  File \"/runs/r/work/chained.py\", line 6, in <module>\n"
	"    load()\n"
	"  File \"/runs/r/work/chained.py\", line 5, in load\n"
	"    raise RuntimeError(\"no learning rate\\nlook at the configuration\") from e\n"
	"RuntimeError: no learning rate\n"
	"look at the configuration\n";

static const char library[] =
	"Traceback (most recent call last):\n"
	"  File \"library.py\", line 4, in <module>\n"
	"    read()\n"
	"  File \"library.py\", line 3, in read\n"
	"    return json.loads(\"{\")\n"
	"  File \"/opt/python/lib/python3.8/json/__init__.py\", line 357, in loads\n"
	"    return _default_decoder.decode(s)\n"
	"  File \"/opt/python/lib/python3.8/json/decoder.py\", line 337, in decode\n"
	"    obj, end = self.raw_decode(s, idx=_w(s, 0).end())\n"
	"  File \"/opt/python/lib/python3.8/json/decoder.py\", line 353, in raw_decode\n"
	"    obj, end = self.scan_once(s, idx)\n"
	"json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)\n";

static const char syntax[] =
	"  File \"syntax.py\", line 1\n"
	"    def f(:\n"
	"          ^\n"
	"SyntaxError: invalid syntax\n";

static const char syntax_imported[] =
	"Traceback (most recent call last):\n"
	"  File \"/runs/r/work/imports.py\", line 1, in <module>\n"
	"    import syntax\n"
	"  File \"/runs/r/work/syntax.py\", line 1\n"
	"    def f(:\n"
	"          ^\n"
	"SyntaxError: invalid syntax\n";

static const char group[] =
	"  + Exception Group Traceback (most recent call last):\n"
	"  |   File \033[35m\"/runs/r/work/group.py\"\033[0m, line \033[35m11\033[0m, in \033[35m<module>\033[0m\n"
	"  |     \033[31mmain\033[0m\033[1;31m()\033[0m\n"
	"  |     \033[31m~~~~\033[0m\033[1;31m^^\033[0m\n"
	"  |   File \033[35m\"/runs/r/work/group.py\"\033[0m, line \033[35m10\033[0m, in \033[35mmain\033[0m\n"
	"  |     raise ExceptionGroup(\"many\", errors)\n"
	"  | \033[1;35mExceptionGroup\033[0m: \033[35mmany (2 sub-exceptions)\033[0m\n"
	"  +-+---------------- 1 ----------------\n"
	"    | Traceback (most recent call last):\n"
	"    |   File \"/runs/r/work/group.py\", line 7, in main\n"
	"    |     f()\n"
	"    |     ~^^\n"
	"    |   File \"/runs/r/work/group.py\", line 2, in one\n"
	"    |     raise ValueError(\"first\")\n"
	"    | ValueError: first\n"
	"    +---------------- 2 ----------------\n"
	"    | Traceback (most recent call last):\n"
	"    |   File \"/runs/r/work/group.py\", line 7, in main\n"
	"    |     f()\n"
	"    |     ~^^\n"
	"    |   File \"/runs/r/work/group.py\", line 5, in <lambda>\n"
	"    |     for f in (one, lambda: 1 / 0):\n"
	"    |                            ~~^~~\n"
	"    | ZeroDivisionError: division by zero\n"
	"    +------------------------------------\n";

static const char interrupt[] =
	"Traceback (most recent call last):\n"
	"  File \"/runs/r/work/interrupt.py\", line 5, in <module>\n"
	"    wait()\n"
	"  File \"/runs/r/work/interrupt.py\", line 3, in wait\n"
	"    os.kill(os.getpid(), signal.SIGINT)\n"
	"KeyboardInterrupt\n";

static const char fatal[] =
	"Fatal Python error: Segmentation fault\n"
	"\n"
	"Current thread 0x00007f0000000000 (most recent call first):\n"
	"  File \"/runs/r/work/fatal.py\", line 4 in crash\n"
	"  File \"/runs/r/work/fatal.py\", line 5 in <module>\n";

static const char ignored[] =
	"Traceback (most recent call last):\n"
	"  File \033[35m\"/runs/r/work/ignored.py\"\033[0m, line \033[35m5\033[0m, in \033[35m<module>\033[0m\n"
	"    raise ValueError(\"the cause\")\n"
	"\033[1;35mValueError\033[0m: \033[35mthe cause\033[0m\n"
	"Exception ignored in: <function A.__del__ at 0x7f0000000000>\n"
	"Traceback (most recent call last):\n"
	"  File \"/runs/r/work/ignored.py\", line 3, in __del__\n"
	"RuntimeError: in del\n";

static const char in_thread[] =
	"Exception in thread Thread-1 (work):\n"
	"Traceback (most recent call last):\n"
	"  File \"/usr/lib/python3.11/threading.py\", line 1038, in _bootstrap_inner\n"
	"    self.run()\n"
	"  File \"/usr/lib/python3.11/threading.py\", line 975, in run\n"
	"    self._target(*self._args, **self._kwargs)\n"
	"  File \"/runs/r/work/thread.py\", line 3, in work\n"
	"    raise OSError(28, \"No space left on device\")\n"
	"OSError: [Errno 28] No space left on device\n";

static const char noted[] =
	"Traceback (most recent call last):\n"
	"  File \"/runs/r/work/notes.py\", line 3, in <module>\n"
	"    raise e\n"
	"KeyError: 'x'\n"
	"a note\n";

static const char logging_error[] =
	"--- Logging error ---\n"
	"Traceback (most recent call last):\n"
	"  File \"/opt/python/lib/python3.8/logging/__init__.py\", line 1085, in emit\n"
	"    msg = self.format(record)\n"
	"  File \"/opt/python/lib/python3.8/logging/__init__.py\", line 929, in format\n"
	"    return fmt.format(record)\n"
	"  File \"/opt/python/lib/python3.8/logging/__init__.py\", line 668, in format\n"
	"    record.message = record.getMessage()\n"
	"  File \"/opt/python/lib/python3.8/logging/__init__.py\", line 373, in getMessage\n"
	"    msg = msg % self.args\n"
	"TypeError: %d format: a number is required, not str\n"
	"Call stack:\n"
	"  File \"logging_error.py\", line 2, in <module>\n"
	"    logging.warning(\"a %d\", \"b\")\n"
	"Message: 'a %d'\n"
	"Arguments: ('b',)\n";

static const char pool[] =
	"multiprocessing.pool.RemoteTraceback: \n"
	"\"\"\"\n"
	"Traceback (most recent call last):\n"
	"  File \"/opt/python/lib/python3.8/multiprocessing/pool.py\", line 125, in worker\n"
	"    result = (True, func(*args, **kwds))\n"
	"  File \"/opt/python/lib/python3.8/multiprocessing/pool.py\", line 48, in mapstar\n"
	"    return list(map(*args))\n"
	"  File \"pool.py\", line 3, in f\n"
	"    raise ValueError(\"in the pool\")\n"
	"ValueError: in the pool\n"
	"\"\"\"\n"
	"\n"
	"The above exception was the direct cause of the following exception:\n"
	"\n"
	"Traceback (most recent call last):\n"
	"  File \"pool.py\", line 6, in <module>\n"
	"    p.map(f, [1])\n"
	"  File \"/opt/python/lib/python3.8/multiprocessing/pool.py\", line 364, in map\n"
	"    return self._map_async(func, iterable, mapstar, chunksize).get()\n"
	"  File \"/opt/python/lib/python3.8/multiprocessing/pool.py\", line 771, in get\n"
	"    raise self._value\n"
	"ValueError: in the pool\n";

/* As torchrun 2 prints them: the ranks' lines mixed, its own traceback, its report. */
static const char torchrun[] =
	"[rank1]: Traceback (most recent call last):\n"
	"[rank0]: Traceback (most recent call last):\n"
	"[rank1]:   File \"/runs/r/work/train.py\", line 7, in <module>\n"
	"[rank0]:   File \"/runs/r/work/train.py\", line 7, in <module>\n"
	"[rank1]:     step()\n"
	"[rank1]:   File \"/runs/r/work/train.py\", line 4, in step\n"
	"[rank0]:     step()\n"
	"[rank1]:     raise ValueError(\"bad batch\")\n"
	"[rank1]: ValueError: bad batch\n"
	"[rank0]:   File \"/runs/r/work/train.py\", line 5, in step\n"
	"[rank0]: RuntimeError: peer is gone\n"
	"E0325 20:57:27.620000 2606 torch/distributed/elastic/multiprocessing/api.py:869] failed (exitcode: 1)\n"
	"Traceback (most recent call last):\n"
	"  File \"/usr/bin/torchrun\", line 8, in <module>\n"
	"    sys.exit(main())\n"
	"  File \"/usr/lib/python3/dist-packages/torch/distributed/launcher/api.py\", line 269, in launch_agent\n"
	"    raise ChildFailedError(\n"
	"torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
	"============================================================\n"
	"train.py FAILED\n"
	"------------------------------------------------------------\n"
	"Failures:\n"
	"[1]:\n"
	"  time      : 2026-01-01_00:00:02\n"
	"  host      : node\n"
	"  rank      : 0 (local_rank: 0)\n"
	"  exitcode  : 3 (pid: 41)\n"
	"  error_file: <N/A>\n"
	"  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html\n"
	"------------------------------------------------------------\n"
	"Root Cause (first observed failure):\n"
	"[0]:\n"
	"  time      : 2026-01-01_00:00:01\n"
	"  host      : node\n"
	"  rank      : 1 (local_rank: 1)\n"
	"  exitcode  : 1 (pid: 42)\n"
	"  error_file: <N/A>\n"
	"  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html\n"
	"============================================================\n";

static const char torchrun_signal[] =
	"Traceback (most recent call last):\n"
	"  File \"/usr/bin/torchrun\", line 8, in <module>\n"
	"    sys.exit(main())\n"
	"torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
	"============================================================\n"
	"Root Cause (first observed failure):\n"
	"[0]:\n"
	"  rank      : 4 (local_rank: 4)\n"
	"  exitcode  : -9 (pid: 42)\n"
	"  traceback : Signal 9 (SIGKILL) received by PID 42\n"
	"============================================================\n";

#define BOOM \
	"Traceback (most recent call last):\n" \
	"  File \"/runs/r/work/a.py\", line 3, in f\n" \
	"    g()\n" \
	"ValueError: boom\n"

static const struct expected {
	const char *what, *log;
	const char *error; /* NULL: no traceback */
	const char *file;
	int64_t line;
	const char *function;
	bool at_end;
	const char *origin;
} expectations[] = {
	{ "3.11", plain_311, "ValueError: bad shape", "plain.py", 2, "step", true },
	{ "3.8: the script's name is relative", plain_38, "ValueError: bad shape", "plain.py", 2, "step", true },
	{ "3.13 with colours", coloured_313, "ValueError: bad shape", "plain.py", 2, "step", true },
	{ "chained, with a message of two lines", chained, "RuntimeError: no learning rate", "chained.py", 5, "load", false },
	{ "the run's own frame, not the library's", library,
		"json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
		"library.py", 3, "read", true },
	{ "a syntax error of the script", syntax, "SyntaxError: invalid syntax", "syntax.py", 1, NULL, true },
	{ "a syntax error of a module", syntax_imported, "SyntaxError: invalid syntax", "syntax.py", 1, NULL, true },
	{ "an exception group", group, "ExceptionGroup: many (2 sub-exceptions), the first: ValueError: first",
		"group.py", 2, "one", true },
	{ "an exception without a message", interrupt, "KeyboardInterrupt", "interrupt.py", 3, "wait", true },
	{ "faulthandler", fatal, "Fatal Python error: Segmentation fault", "fatal.py", 4, "crash", true },
	{ "one that Python ignores follows", ignored, "ValueError: the cause", "ignored.py", 5, NULL, true },
	{ "in a thread: Python goes on", in_thread, "OSError: [Errno 28] No space left on device", "thread.py", 3, "work", false },
	{ "with a note", noted, "KeyError: 'x'", "notes.py", 3, NULL, false },
	{ "logging's own trouble", logging_error },
	{ "a pool's worker", pool, "ValueError: in the pool", "pool.py", 6, NULL, true },
	{ "torchrun", torchrun, "ValueError: bad batch", "train.py", 4, "step", true, "rank 1 failed first, with exit code 1" },
	{ "torchrun and a signal", torchrun_signal, "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
		NULL, 0, NULL, true, "rank 4 failed first, by signal 9" },
	{ "nothing", "" },
	{ "other lines", "epoch 1\nepoch 2\nloss: 3\n" },
	{ "output before it", "epoch 1\n" BOOM, "ValueError: boom", "a.py", 3, "f", true },
	{ "blank lines after it", BOOM "\n \n\n", "ValueError: boom", "a.py", 3, "f", true },
	{ "some noise after it", BOOM NEWLINES_10, "ValueError: boom", "a.py", 3, "f", false },
	{ "it was long ago", BOOM NEWLINES_10 "k\n" },
	{ "an earlier one was handled", BOOM "handled\n" "Traceback (most recent call last):\n"
		"  File \"/runs/r/work/b.py\", line 9, in <module>\nTypeError: no\n", "TypeError: no", "b.py", 9, NULL, true },
	{ "behind a progress bar", " 10%|# | 1/9\r 20%|## | 2/9Traceback (most recent call last):\n"
		"  File \"/runs/r/work/a.py\", line 3, in f\nValueError: boom\n", "ValueError: boom", "a.py", 3, "f", true },
	{ "indented", "log:\n    Traceback (most recent call last):\n      File \"/runs/r/work/a.py\", line 3, in f\n"
		"        g()\n    ValueError: boom\n", "ValueError: boom", "a.py", 3, "f", true },
	{ "a message that begins on the next line", "Traceback (most recent call last):\n"
		"  File \"/runs/r/work/a.py\", line 3, in f\nRuntimeError: Error(s) in loading state_dict for Net:\n"
		"\tMissing key(s): \"w\".\n", "RuntimeError: Error(s) in loading state_dict for Net: Missing key(s): \"w\".",
		"a.py", 3, "f", true },
	{ "its beginning is out of sight", "le \"/runs/r/work/a.py\", line 1, in f\n    a()\n"
		"  File \"/runs/r/work/a.py\", line 3, in f\n    a()\nRecursionError: maximum recursion depth exceeded\n",
		"RecursionError: maximum recursion depth exceeded", "a.py", 3, "f", true },
	{ "no frame of the run's", "Traceback (most recent call last):\n  File \"/runs/r/work/.venv/lib/site-packages/m.py\", line 3, in f\n"
		"  File \"pandas/_libs/index.pyx\", line 8, in get\n  File \"<frozen x>\", line 1, in y\nKeyError: 1\n",
		"KeyError: 1", "pandas/_libs/index.pyx", 8, "get", true },
	{ "a loader's worker: the original one", "Traceback (most recent call last):\n  File \"/runs/r/work/a.py\", line 1, in f\n"
		"ValueError: Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
		"  File \"/runs/r/work/data.py\", line 5, in __getitem__\nValueError: bad item\n\n",
		"ValueError: bad item", "data.py", 5, "__getitem__", true },
	{ "a header alone", "Traceback (most recent call last):\n" },
	{ "it was cut off", "Traceback (most recent call last):\n  File \"/runs/r/work/a.py\", line 3, in f\n" },
	{ "a stack that was only printed", "x\ny\n  File \"/runs/r/work/a.py\", line 3, in f\n    g()\nloss: 3\n" },
};
/* clang-format on */

static void same(const char *what, const char *got, const char *expected)
{
	if (!got || !expected ? got != expected : strcmp(got, expected) != 0)
		fail_msg("%s: \"%s\" is not \"%s\"", what, got ? got : "(null)",
			expected ? expected : "(null)");
}

static void each_traceback_tells_error_and_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expectations); i++) {
		const struct expected *e = &expectations[i];
		struct log_tail tail;

		log_tail_read(e->log, strlen(e->log), WORK, &tail);
		same(e->what, tail.traceback.error, e->error);
		same(e->what, tail.traceback.file, e->file);
		same(e->what, tail.traceback.function, e->function);
		same(e->what, tail.traceback.origin, e->origin);
		if (tail.traceback.line != e->line || tail.traceback.at_end != e->at_end)
			fail_msg("%s: line %lld, at the end: %d", e->what,
				(long long)tail.traceback.line, tail.traceback.at_end);
		log_tail_release(&tail);
	}
}

/* Cut anywhere, as the last bytes of a log are. */
static void any_part_of_a_log_is_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expectations); i++)
		for (size_t from = 0; from < strlen(expectations[i].log); from++) {
			const char *log = expectations[i].log;
			struct log_tail tail;

			log_tail_read(log + from, strlen(log) - from, WORK, &tail);
			assert_true(strlen(tail.text) <= LOG_TAIL_TEXT_MAX);
			assert_true(utf8_valid(tail.text, strlen(tail.text)));
			log_tail_release(&tail);
			log_tail_read(log, from, NULL, &tail);
			log_tail_release(&tail);
		}
}

/* ---- the last lines ---- */

static void text_is(const char *log, size_t size, const char *text, const char *last)
{
	struct log_tail tail;

	log_tail_read(log, size, WORK, &tail);
	assert_string_equal(tail.text, text);
	same("last line", tail.last_line, last);
	log_tail_release(&tail);
}

static void the_text_is_the_last_ten_lines_as_a_terminal_shows_them(void **state)
{
	char many[400] = "";
	char expected[200] = "";
	char line[24];

	(void)state;
	for (int i = 1; i <= 30; i++) {
		snprintf(line, sizeof(line), "line %d\n", i);
		strcat(many, line);
		if (i > 20)
			strcat(expected, line);
	}
	expected[strlen(expected) - 1] = '\0';
	text_is(many, strlen(many), expected, "line 30");
	text_is("", 0, "", NULL);
	text_is("\n \n", 3, "", NULL);
	text_is("a\n\nb\n\n", 6, "a\n\nb", "b");
	text_is("10%\r50%\r100%\r\n", 14, "100%", "100%");
	text_is("a\xff"
		"b\0c",
		5,
		"a\xef\xbf\xbd"
		"b\xef\xbf\xbd"
		"c",
		"a\xef\xbf\xbd"
		"b\xef\xbf\xbd"
		"c");
}

static void escape_sequences_are_dropped(void **state)
{
	static const struct {
		const char *log, *text;
	} logs[] = {
		{ "\033[1;31mred\033[0m", "red" },
		{ "\033]0;title\ax\033]0;title\033\\y", "xy" },
		{ "\033(Ba\033=b", "ab" },
		{ "a\033[", "a" },
		{ "a\033[1", "a" },
		{ "a\033", "a" },
		{ "a\033]0;title", "a" },
		{ "a\033]0;title\nb", "a\nb" },
		{ "a\033[1\xc3\xa9", "a\xc3\xa9" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
		struct log_tail tail;

		log_tail_read(logs[i].log, strlen(logs[i].log), WORK, &tail);
		same("escapes", tail.text, logs[i].text);
		log_tail_release(&tail);
	}
}

static void a_log_without_newlines_is_cut(void **state)
{
	_cleanup_(strbuf_release) struct strbuf log = STRBUF_INIT;
	struct log_tail tail;

	(void)state;
	for (int i = 0; i < 20000; i++)
		strbuf_adds(&log, "\xe2\x82\xac");
	log_tail_read(log.data, log.size, WORK, &tail);
	assert_in_range(strlen(tail.text), 1400, LOG_TAIL_TEXT_MAX);
	assert_true(utf8_valid(tail.text, strlen(tail.text)));
	assert_int_equal(strlen(tail.last_line), log.size);
	log_tail_release(&tail);
}

static void the_text_of_a_traceback_is_all_of_it_or_its_end(void **state)
{
	_cleanup_(strbuf_release) struct strbuf log = STRBUF_INIT;
	struct log_tail tail;

	(void)state;
	text_is("one\n" BOOM "after\n", strlen("one\n" BOOM "after\n"), BOOM "after", "after");
	strbuf_adds(&log, "Traceback (most recent call last):\n");
	for (int i = 0; i < 100; i++)
		strbuf_adds(&log, "  File \"/runs/r/work/a.py\", line 3, in f\n    f()\n");
	strbuf_adds(&log, "RecursionError: too deep\n");
	log_tail_read(log.data, log.size, WORK, &tail);
	assert_in_range(strlen(tail.text), 1400, LOG_TAIL_TEXT_MAX);
	assert_non_null(strstr(tail.text, "\nRecursionError: too deep"));
	log_tail_release(&tail);
}

/* ---- pieces for a sentence ---- */

static void texts_are_cut_between_characters_and_are_one_line(void **state)
{
	static const struct {
		const char *text;
		size_t max;
		const char *end, *front;
	} cuts[] = {
		{ "short", 5, "short", "short" },
		{ "abcdef", 5, "ab\xe2\x80\xa6",
			"\xe2\x80\xa6"
			"ef" },
		{ "\xc3\xa9\xc3\xa9\xc3\xa9", 5, "\xc3\xa9\xe2\x80\xa6", "\xe2\x80\xa6\xc3\xa9" },
		{ "\xe2\x82\xac\xe2\x82\xac", 5, "\xe2\x80\xa6", "\xe2\x80\xa6" },
		{ "a\tb\033c", 9, "a b c", "a b c" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		_cleanup_(freep) char *end = text_cut(cuts[i].text, cuts[i].max);
		_cleanup_(freep) char *front = text_cut_front(cuts[i].text, cuts[i].max);

		assert_string_equal(end, cuts[i].end);
		assert_string_equal(front, cuts[i].front);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_traceback_tells_error_and_place),
		cmocka_unit_test(any_part_of_a_log_is_taken),
		cmocka_unit_test(the_text_is_the_last_ten_lines_as_a_terminal_shows_them),
		cmocka_unit_test(escape_sequences_are_dropped),
		cmocka_unit_test(a_log_without_newlines_is_cut),
		cmocka_unit_test(the_text_of_a_traceback_is_all_of_it_or_its_end),
		cmocka_unit_test(texts_are_cut_between_characters_and_are_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
