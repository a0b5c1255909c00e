/* SPDX-License-Identifier: MIT */
/* verdict - why a run ended, in one sentence with its evidence; see verdict.h */
#include "runs/verdict.h"

#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/utf8.h"

#define TAIL_LINES 10
#define TAIL_BYTES 1500

static void of_lost(const struct verdict_facts *facts, struct verdict *ret)
{
	char seen[CLOCK_TEXT_SIZE] = "unknown";

	if (facts->seen_us)
		clock_format(facts->seen_us, seen);
	ret->cause = RUN_CAUSE_LOST;
	ret->message = mem_printf("%s; it was last seen at %s and its exit status is not known",
		facts->rebooted ? "the machine was restarted while the run went on"
				: "the run's supervisor is gone without a verdict",
		seen);
}

static void of_limit(const struct verdict_facts *facts, struct verdict *ret)
{
	ret->cause = RUN_CAUSE_MAX_RUN_DURATION_EXCEEDED;
	ret->message = mem_printf(
		"stopped after max_run_duration_seconds = %lld s", (long long)facts->limit_seconds);
}

static void of_cancel(const struct verdict_facts *facts, struct verdict *ret)
{
	ret->cause = RUN_CAUSE_CANCELED_BY_USER;
	ret->message =
		mem_printf("canceled by %s", facts->canceled_by ? facts->canceled_by : "user");
}

static void of_shutdown(const struct verdict_facts *facts, struct verdict *ret)
{
	(void)facts;
	ret->cause = RUN_CAUSE_KILLED;
	ret->message =
		mem_strdup("the run's supervisor was told to end (SIGTERM: the machine or the "
			   "session was shutting down), and stopped the run");
}

/* The first line says it all, with the log's last line; the others follow for who wants them. */
static void with_tail(struct verdict *verdict, const char *tail)
{
	const char *last;
	char *whole;

	if (!tail || !tail[0])
		return;
	last = strrchr(tail, '\n');
	whole = mem_printf("%s: %s\nlast lines of the log:\n%s", verdict->message,
		last ? last + 1 : tail, tail);
	free(verdict->message);
	verdict->message = whole;
}

static const char *signal_name(int signal)
{
	const char *name = sigabbrev_np(signal);

	return name ? name : "unknown";
}

static void of_own_end(const struct verdict_facts *facts, struct verdict *ret)
{
	const struct run_exit *exit = facts->exit;

	if (exit->exec_errno) {
		ret->cause = RUN_CAUSE_SETUP_ERROR;
		ret->message = mem_printf(
			"cannot execute %s: %s", facts->program, strerror(exit->exec_errno));
	} else if (exit->signal && exit->oom) {
		ret->cause = RUN_CAUSE_OUT_OF_MEMORY;
		ret->message = mem_printf(
			"killed by SIGKILL while the kernel's out-of-memory killer was at "
			"work (largest process: %lld MiB)",
			(long long)(exit->peak_bytes >> 20));
	} else if (exit->signal) {
		ret->cause = RUN_CAUSE_KILLED;
		ret->message = mem_printf("ended by signal %d (SIG%s), which amlagent did not send",
			exit->signal, signal_name(exit->signal));
		with_tail(ret, facts->log_tail);
	} else if (exit->exit_code > 0) {
		ret->cause = RUN_CAUSE_USER_ERROR;
		ret->message = mem_printf("the command exited with code %d", exit->exit_code);
		with_tail(ret, facts->log_tail);
	} else if (exit->exit_code < 0) {
		ret->cause = RUN_CAUSE_LOST;
		ret->message = mem_strdup("the command ended and left no exit status");
	}
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
}

/* What a terminal would show of a line: the text after its last carriage return. */
static void add_line(struct strbuf *out, const char *line, size_t size)
{
	_cleanup_(freep) char *clean = NULL;
	const char *shown;

	while (size && line[size - 1] == '\r')
		size--;
	shown = memrchr(line, '\r', size);
	if (shown) {
		size -= (size_t)(shown + 1 - line);
		line = shown + 1;
	}
	clean = utf8_sanitize(line, size);
	strbuf_addf(out, "%s%s", out->size ? "\n" : "", clean);
}

char *verdict_log_tail(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	size_t start;
	int lines = 0;

	while (size && (data[size - 1] == '\n' || data[size - 1] == '\r'))
		size--;
	for (start = size; start > 0 && size - start < TAIL_BYTES; start--)
		if (data[start - 1] == '\n' && ++lines == TAIL_LINES)
			break;
	while (start < size) {
		const char *end = memchr(data + start, '\n', size - start);
		size_t length = end ? (size_t)(end - data) - start : size - start;

		add_line(&out, data + start, length);
		start += length + 1;
	}
	return strbuf_steal(&out);
}
