/* SPDX-License-Identifier: MIT */
/*
 * fuzz_user_interpreter - what a user's process might say, and what it is asked
 *
 * Besides not crashing: what a parser takes, formatted and parsed again, gives the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/user_exec.h"
#include "capture/user_interpreter.h"
#include "common/strv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TRY(text) \
	static void try_##text(const char *data, size_t size) \
	{ \
		_cleanup_(strbuf_release) struct strbuf first = STRBUF_INIT, second = STRBUF_INIT; \
		struct user_interpreter_##text one, again; \
\
		if (user_interpreter_##text##_parse(data, size, &one) < 0) \
			return; \
		user_interpreter_##text##_format(&one, &first); \
		if (user_interpreter_##text##_parse(first.data, first.size, &again) < 0) \
			abort(); \
		user_interpreter_##text##_format(&again, &second); \
		if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0) \
			abort(); \
		user_interpreter_##text##_release(&one); \
		user_interpreter_##text##_release(&again); \
	} \
	struct fuzz_needs_a_semicolon

TRY(request);
TRY(answer);

static void try_environment(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(strv_freep) char **env = NULL;

	if (user_exec_parse(data, size, &env) < 0)
		return;
	user_exec_format(env, &text);
	if (text.size != size || (size && memcmp(text.data, data, size) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	try_request(text, size);
	try_answer(text, size);
	try_environment(text, size);
	return 0;
}
