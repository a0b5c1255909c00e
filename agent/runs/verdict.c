/* SPDX-License-Identifier: MIT */
/* verdict - why a run ended, in one sentence with its evidence; see verdict.h */
#include "runs/verdict.h"

#include <signal.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "runs/verdict_warnings.h"
#include "runs/wording.h"

/* Quotations give way when the sentence gets long, but not below this. */
#define QUOTE_MIN 60
#define FILE_MAX 60
#define FUNCTION_MAX 40
#define PROGRAM_MAX 100
/* A tree of processes takes a moment to be gone. */
#define GONE_LATE_US USEC_PER_SEC
/* The timers of a busy machine. */
#define GRACE_SLACK_US (USEC_PER_SEC / 10)

/* A sentence in the making: a quotation of unknown length stands between two texts. */
struct sentence {
	struct strbuf before, after;
	const char *quote; /* NULL: none */
};

/* ---- the sentence ---- */

/* " (train.py, line 42, in step)", "" when it is not known. */
static char *place_text(const struct traceback *traceback)
{
	_cleanup_(freep) char *file = NULL;
	_cleanup_(freep) char *function = NULL;

	if (!traceback->file)
		return mem_strdup("");
	file = text_cut_front(traceback->file, FILE_MAX);
	if (!traceback->function)
		return mem_printf(" (%s, line %lld)", file, (long long)traceback->line);
	function = text_cut(traceback->function, FUNCTION_MAX);
	return mem_printf(" (%s, line %lld, in %s)", file, (long long)traceback->line, function);
}

static char *sentence_end(struct sentence *sentence)
{
	_cleanup_(strbuf_release) struct strbuf whole = STRBUF_INIT;
	size_t used = sentence->before.size + sentence->after.size;
	size_t room =
		used + QUOTE_MIN < VERDICT_SENTENCE_MAX ? VERDICT_SENTENCE_MAX - used : QUOTE_MIN;

	strbuf_add(&whole, sentence->before.data, sentence->before.size);
	if (sentence->quote) {
		_cleanup_(freep) char *quote = text_cut(sentence->quote, room);

		strbuf_adds(&whole, quote);
	}
	strbuf_add(&whole, sentence->after.data, sentence->after.size);
	strbuf_release(&sentence->before);
	strbuf_release(&sentence->after);
	return strbuf_steal(&whole);
}

/* ---- evidence ---- */

static void add_memory(struct strbuf *to, const struct run_exit *exit)
{
	_cleanup_(freep) char *peak = size_text(exit->peak_bytes);

	if (exit->peak_bytes > 0)
		strbuf_addf(to, "; its peak memory was %s (%s)", peak,
			exit->peak_of_all ? "all processes together" : "the largest process");
}

/* Where its kills are counted, its limit is in force. */
static void add_memory_limit(struct strbuf *to, const struct verdict_facts *facts)
{
	_cleanup_(freep) char *limit = size_text(facts->memory_bytes);

	if (facts->memory_bytes > 0 && facts->exit->oom_kills > 0)
		strbuf_addf(to, "; its limit was %s (--memory)", limit);
}

static void add_oom_kills(struct strbuf *to, const struct run_exit *exit)
{
	if (exit->oom_kills > 0)
		strbuf_addf(to, "; the kernel ended %lld of its processes for want of memory",
			(long long)exit->oom_kills);
}

static bool speaks_of_disk(const char *text)
{
	return text && (strstr(text, "No space left on device") || strstr(text, "[Errno 28]"));
}

/* A full disk explains many ends; how much was free is told to those who complain of it. */
static void add_disk(struct strbuf *to, const struct verdict_facts *facts)
{
	const struct run_exit *exit = facts->exit;
	const struct log_tail *tail = facts->log_tail;
	_cleanup_(freep) char *free_text = size_text(exit->disk_free_bytes);

	if (verdict_disk_was_full(exit))
		strbuf_addf(to, "; the disk of its folder was full (%s free)", free_text);
	else if (exit->disk_free_bytes >= 0 && tail &&
		 (speaks_of_disk(tail->traceback.error) || speaks_of_disk(tail->last_line)))
		strbuf_addf(to, "; the disk of its folder had %s free when it ended", free_text);
}

/* The traceback, if the log ends with one. False when it does not. joint: before one that is the
 * cause, as far as a log can tell. */
static bool add_traceback(struct sentence *sentence, const struct log_tail *tail, const char *joint)
{
	const struct traceback *traceback = tail ? &tail->traceback : NULL;
	_cleanup_(freep) char *place = NULL;

	if (!traceback || !traceback->error)
		return false;
	place = place_text(traceback);
	strbuf_adds(
		&sentence->before, traceback->at_end ? joint : "; the last traceback in its log: ");
	if (traceback->origin)
		strbuf_addf(&sentence->before, "%s: ", traceback->origin);
	sentence->quote = traceback->error;
	strbuf_adds(&sentence->after, place);
	return true;
}

static void add_last_line(struct sentence *sentence, const struct log_tail *tail)
{
	if (!tail)
		return;
	if (!tail->last_line) {
		strbuf_adds(&sentence->before, "; it printed nothing");
		return;
	}
	strbuf_adds(&sentence->before, "; the last line of its log: \"");
	sentence->quote = tail->last_line + strspn(tail->last_line, " \t");
	strbuf_addc(&sentence->after, '"');
}

/* ---- a stop: by the limit, a cancel, a shutdown ---- */

/* " 2.1 s after SIGTERM"; the clock may have been set in between. */
static char *after_term_text(const struct run_exit *exit)
{
	_cleanup_(freep) char *span = span_text(exit->end_us - exit->stop_us);

	if (!exit->stop_us || exit->end_us < exit->stop_us)
		return mem_strdup("after SIGTERM");
	return mem_printf("%s after SIGTERM", span);
}

static bool was_killed_by_us(const struct verdict_facts *facts)
{
	const struct run_exit *exit = facts->exit;

	return exit->signal == SIGKILL && facts->grace_us && exit->stop_us &&
	       exit->end_us - exit->stop_us + GRACE_SLACK_US >= facts->grace_us;
}

static void add_way_of_stop(struct strbuf *to, const struct verdict_facts *facts)
{
	const struct run_exit *exit = facts->exit;
	_cleanup_(freep) char *after = after_term_text(exit);
	_cleanup_(freep) char *name = signal_text(exit->signal);

	if (exit->exit_code >= 0)
		strbuf_addf(to, "it exited with code %d, %s", exit->exit_code, after);
	else if (!exit->signal)
		strbuf_adds(to, "its command had not been started");
	else if (exit->signal == SIGTERM)
		strbuf_addf(to, "it ended %s, by that signal", after);
	else if (was_killed_by_us(facts))
		strbuf_addf(to, "it did not end by itself, and got SIGKILL %s", after);
	else
		strbuf_addf(to, "it was ended by %s %s", name, after);
	if (exit->gone_us - exit->end_us > GONE_LATE_US) {
		_cleanup_(freep) char *late = span_text(exit->gone_us - exit->end_us);

		strbuf_addf(to, "; the last of its processes was gone %s later", late);
	}
}

static char *stopped_at(const struct run_exit *exit)
{
	_cleanup_(freep) char *time = time_text(exit->stop_us);

	return exit->stop_us ? mem_printf(" at %s", time) : mem_strdup("");
}

static void of_limit(const struct verdict_facts *facts, struct verdict *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	ret->cause = RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED;
	if (facts->limit_seconds)
		strbuf_addf(&text, "stopped after its limit of %lld s (max_run_duration_seconds): ",
			(long long)facts->limit_seconds);
	else
		strbuf_adds(&text, "stopped after its limit (max_run_duration_seconds): ");
	add_way_of_stop(&text, facts);
	ret->message = strbuf_steal(&text);
}

static void of_cancel(const struct verdict_facts *facts, struct verdict *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *when = stopped_at(facts->exit);

	ret->cause = RUN_CAUSE_CANCELED_BY_USER;
	strbuf_addf(&text, "canceled%s%s%s: ", facts->canceled_by ? " by " : "",
		facts->canceled_by ? facts->canceled_by : "", when);
	add_way_of_stop(&text, facts);
	ret->message = strbuf_steal(&text);
}

static void of_shutdown(const struct verdict_facts *facts, struct verdict *ret)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(freep) char *when = stopped_at(facts->exit);

	ret->cause = RUN_CAUSE_KILLED;
	strbuf_addf(&text,
		"stopped%s because its supervisor got SIGTERM, as when the machine or the session "
		"is shut down: ",
		when);
	add_way_of_stop(&text, facts);
	ret->message = strbuf_steal(&text);
}

/* ---- an end of its own ---- */

static void of_exec(const struct verdict_facts *facts, struct verdict *ret)
{
	static const struct {
		int error;
		const char *meaning;
	} meanings[] = {
		{ ENOENT, "; it, or what its first line names, is not there" },
		{ EACCES, "; make it executable, and look whether its disk is mounted noexec" },
		{ ENOEXEC, "; it is not a program for this machine" },
		{ E2BIG, "; its arguments and its environment are too long together" },
		{ EAGAIN, "; the user has as many processes as are allowed (ulimit -u)" },
		{ EPERM, "; its supervisor may not become the run's user" },
	};
	_cleanup_(freep) char *program =
		text_cut_front(facts->program ? facts->program : "the command", PROGRAM_MAX);
	const char *meaning = "";

	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
		if (meanings[i].error == facts->exit->exec_errno)
			meaning = meanings[i].meaning;
	ret->cause = RUN_CAUSE_SETUP_ERROR;
	if (facts->exit->exec_errno == EUSERS)
		ret->message = mem_printf(
			"cannot execute %s: the limits of its user leave no room for it; look at "
			"processes (ulimit -u) and address space (ulimit -v) where it was submitted",
			program);
	else
		ret->message = mem_printf("cannot execute %s: %s%s", program,
			strerror(facts->exit->exec_errno), meaning);
}

static void of_memory(const struct verdict_facts *facts, struct verdict *ret)
{
	const struct run_exit *exit = facts->exit;
	struct sentence sentence = { 0 };

	ret->cause = RUN_CAUSE_OUT_OF_MEMORY;
	if (exit->oom_kills > 0)
		strbuf_addf(&sentence.before,
			"killed by the kernel for want of memory: %lld out-of-memory kill%s in the "
			"run's group",
			(long long)exit->oom_kills, exit->oom_kills > 1 ? "s" : "");
	else
		strbuf_adds(&sentence.before,
			"ended by signal 9 (SIGKILL), and the kernel's out-of-memory killer was "
			"at work on this machine while it ran");
	add_memory(&sentence.before, exit);
	add_memory_limit(&sentence.before, facts);
	ret->message = sentence_end(&sentence);
}

enum sender { ANYBODY, ITSELF, A_LIMIT };

/* What is as a rule behind a signal that amlagent did not send. */
static const struct signal_kind {
	int number;
	enum sender sender;
	const char *meaning;
} signal_kinds[] = {
	{ SIGSEGV, ITSELF, "an invalid memory access" },
	{ SIGBUS, ITSELF, "a memory access that could not be carried out" },
	{ SIGFPE, ITSELF, "an arithmetic fault" },
	{ SIGILL, ITSELF, "an instruction that this machine does not know" },
	{ SIGABRT, ITSELF, "abort()" },
	{ SIGTRAP, ITSELF, "a trap" },
	{ SIGSYS, ITSELF, "a forbidden system call" },
	{ SIGXCPU, A_LIMIT, "it used more CPU time than its limit allows (ulimit -t)" },
	{ SIGXFSZ, A_LIMIT, "it wrote a larger file than its limit allows (ulimit -f)" },
	{ SIGPIPE, ANYBODY, "it wrote to a pipe or socket that nobody reads; " },
};

static struct signal_kind kind_of(int number)
{
	for (size_t i = 0; i < ARRAY_SIZE(signal_kinds); i++)
		if (signal_kinds[i].number == number)
			return signal_kinds[i];
	return (struct signal_kind){ number, ANYBODY, "" };
}

static void add_signal(struct strbuf *to, const struct run_exit *exit)
{
	struct signal_kind kind = kind_of(exit->signal);
	_cleanup_(freep) char *name = signal_text(exit->signal);

	switch (kind.sender) {
	case ITSELF:
		strbuf_addf(to,
			"ended by %s: %s, as a rule the program's own fault; amlagent did not "
			"send it",
			name, kind.meaning);
		break;
	case A_LIMIT:
		strbuf_addf(to, "ended by %s: %s", name, kind.meaning);
		break;
	case ANYBODY:
		strbuf_addf(to, "ended by %s%s%s%s", name, kind.meaning[0] ? ": " : ", ",
			kind.meaning,
			kind.meaning[0] ? "amlagent did not send the signal"
					: "which amlagent did not send");
		break;
	}
}

static void of_signal(const struct verdict_facts *facts, struct verdict *ret)
{
	const struct run_exit *exit = facts->exit;
	struct sentence sentence = { 0 };

	ret->cause = RUN_CAUSE_KILLED;
	add_signal(&sentence.before, exit);
	if (exit->signal == SIGKILL && exit->oom_kills == 0)
		strbuf_adds(&sentence.before, "; no out-of-memory kill was counted");
	if (exit->signal == SIGKILL)
		add_memory(&sentence.before, exit);
	else
		add_oom_kills(&sentence.after, exit);
	if (!add_traceback(&sentence, facts->log_tail, "; its log ends with: ") &&
		kind_of(exit->signal).sender == ITSELF)
		add_last_line(&sentence, facts->log_tail);
	add_disk(&sentence.after, facts);
	ret->message = sentence_end(&sentence);
}

/* Exit codes that say more than "not zero", by who gives them (bash(1), "EXIT STATUS"; Python's
 * documentation of Py_FinalizeEx()). */
static void add_meaning_of_code(struct strbuf *to, const struct verdict_facts *facts)
{
	int code = facts->exit->exit_code;
	_cleanup_(freep) char *name = signal_text(code - 128);

	if (!facts->shell && code == 120)
		strbuf_adds(to, " (Python's word for: its output could not be written)");
	else if (facts->shell && code == 126)
		strbuf_adds(to, " (a shell's word for: the command cannot be executed)");
	else if (facts->shell && code == 127)
		strbuf_adds(to, " (a shell's word for: command not found)");
	else if (facts->shell && code > 128 && sigabbrev_np(code - 128))
		strbuf_addf(to, " (a shell's word for: its command was ended by %s)", name);
}

static void of_code(const struct verdict_facts *facts, struct verdict *ret)
{
	struct sentence sentence = { 0 };

	ret->cause = RUN_CAUSE_USER_ERROR;
	strbuf_addf(&sentence.before, "exited with code %d", facts->exit->exit_code);
	add_meaning_of_code(&sentence.before, facts);
	if (!add_traceback(&sentence, facts->log_tail, ": "))
		add_last_line(&sentence, facts->log_tail);
	add_oom_kills(&sentence.after, facts->exit);
	add_disk(&sentence.after, facts);
	ret->message = sentence_end(&sentence);
}

/* The lines after the sentence. */
static void with_log(const struct verdict_facts *facts, struct verdict *verdict)
{
	const struct log_tail *tail = facts->log_tail;
	_cleanup_(freep) char *sentence = verdict->message;

	verdict->message = NULL;
	if (!tail || !tail->text || !tail->text[0]) {
		verdict->message = TAKE(sentence);
		return;
	}
	verdict->message = mem_printf("%s\n%s:\n%s", sentence,
		tail->traceback.error ? "last traceback of the log" : "last lines of the log",
		tail->text);
}

static void of_own_end(const struct verdict_facts *facts, struct verdict *ret)
{
	const struct run_exit *exit = facts->exit;

	if (exit->exec_errno) {
		of_exec(facts, ret);
		return;
	}
	if (exit->exit_code == 0 && !exit->signal)
		return;
	if (exit->signal == SIGKILL && (exit->oom || exit->oom_kills > 0)) {
		of_memory(facts, ret);
	} else if (exit->signal) {
		of_signal(facts, ret);
	} else if (exit->exit_code > 0) {
		of_code(facts, ret);
	} else {
		ret->cause = RUN_CAUSE_LOST;
		ret->message = mem_strdup("the command ended and left no exit status");
	}
	with_log(facts, ret);
}

/* A record that is damaged, or went with its folder, may have been written by a supervisor in the
 * best of health: nothing is said of that one. */
static char *loss_text(const struct verdict_facts *facts)
{
	_cleanup_(freep) char *quote = NULL;

	if (facts->damaged && !facts->damaged[0])
		return mem_strdup(
			"the run's exit record is damaged, and nothing of it can be read");
	if (facts->damaged) {
		quote = text_cut(facts->damaged, QUOTE_MIN);
		return mem_printf(
			"the run's exit record is damaged; what can be read of it: \"%s\"", quote);
	}
	if (facts->folder_gone)
		return mem_strdup("the run's folder is gone, and with it what it told of the end");
	return mem_strdup(
		facts->rebooted ? "the machine was restarted (or lost power) while the run went on"
				: "the run's supervisor was killed or died");
}

static void of_lost(const struct verdict_facts *facts, struct verdict *ret)
{
	_cleanup_(freep) char *seen = time_text(facts->seen_us);
	_cleanup_(freep) char *loss = loss_text(facts);

	ret->cause = RUN_CAUSE_LOST;
	ret->message = mem_printf("%s; it was last seen at %s; its exit status is not known%s",
		loss, facts->seen_us ? seen : "a time that is not known",
		facts->swept && !facts->rebooted ? "; what was found of the run was stopped" : "");
	with_log(facts, ret);
}

static void (*const by_stop[RUN_STOP_WHY_COUNT])(
	const struct verdict_facts *facts, struct verdict *ret) = {
	[RUN_STOP_NONE] = of_own_end,
	[RUN_STOP_LIMIT] = of_limit,
	[RUN_STOP_CANCEL] = of_cancel,
	[RUN_STOP_SHUTDOWN] = of_shutdown,
};

void verdict_of(const struct verdict_facts *facts, struct verdict *ret)
{
	*ret = (struct verdict){ .cause = RUN_CAUSE_NONE, .exit_code = -1 };
	if (!facts->exit) {
		of_lost(facts, ret);
		return;
	}
	ret->exit_code = facts->exit->exit_code;
	ret->signal = facts->exit->signal;
	by_stop[facts->exit->stopped](facts, ret);
	verdict_warn(facts, &ret->warnings);
}

void verdict_release(struct verdict *verdict)
{
	free(verdict->message);
	strv_free(verdict->warnings);
	*verdict = (struct verdict){ 0 };
}
