/* SPDX-License-Identifier: MIT */
/*
 * fuzz_log_tail - the end of a log, which is whatever a script printed
 *
 * Besides not crashing: all that comes out is UTF-8 of modest size, the sentence made of it is one
 * line without control characters, and a traceback that follows it is found.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "runs/verdict.h"

#define WORK "/runs/r/work"
#define BOOM \
	"\nnext\nTraceback (most recent call last):\n" \
	"  File \"" WORK "/a.py\", line 3, in f\n" \
	"ValueError: boom\n"
#define SENTENCE_MAX (2 * VERDICT_SENTENCE_MAX)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_sentence(const char *message)
{
	size_t size = strcspn(message, "\n");

	must(size <= SENTENCE_MAX && utf8_valid(message, strlen(message)));
	for (size_t i = 0; i < size; i++)
		must((unsigned char)message[i] >= 0x20 && message[i] != 0x7f);
}

static void check_verdict(const struct log_tail *tail, int exit_code, int signal)
{
	struct run_exit exit = {
		.exit_code = exit_code, .signal = signal, .oom_kills = -1, .disk_free_bytes = -1
	};
	struct verdict_facts facts = { .exit = &exit, .program = "/bin/sh", .log_tail = tail };
	struct verdict verdict;

	verdict_of(&facts, &verdict);
	check_sentence(verdict.message);
	verdict_release(&verdict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *with = mem_alloc(size + strlen(BOOM));
	struct log_tail tail;

	log_tail_read((const char *)data, size, WORK, &tail);
	must(strlen(tail.text) <= LOG_TAIL_TEXT_MAX);
	must(!tail.last_line || utf8_valid(tail.last_line, strlen(tail.last_line)));
	must(tail.traceback.error || !tail.traceback.file);
	check_verdict(&tail, 1, 0);
	check_verdict(&tail, -1, 11);
	log_tail_release(&tail);

	if (size)
		memcpy(with, data, size);
	memcpy(with + size, BOOM, strlen(BOOM));
	log_tail_read(with, size + strlen(BOOM), WORK, &tail);
	must(tail.traceback.error != NULL);
	log_tail_release(&tail);
	return 0;
}
