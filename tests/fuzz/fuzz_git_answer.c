/* SPDX-License-Identifier: MIT */
/*
 * fuzz_git_answer - what the helper that reads repositories might say
 *
 * Besides not crashing: nothing comes out that is larger than what went in, and what was understood
 * is understood the same when it is written again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/git_answer.h"
#include "common/cleanup.h"
#include "common/strv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static void write_answer(const struct git_answer *answer, struct strbuf *out)
{
	git_answer_begin(out);
	git_answer_add(out, "repository_uri", answer->repository_uri);
	git_answer_add(out, "branch", answer->branch);
	git_answer_add(out, "commit", answer->commit);
	git_answer_add(out, "dirty", answer->dirty);
	for (size_t i = 0; answer->warnings && answer->warnings[i]; i++)
		git_answer_add(out, "warning", answer->warnings[i]);
	if (answer->patch)
		git_answer_add_patch(out, answer->patch, answer->patch_size);
	if (answer->complete)
		git_answer_end(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(git_answer_release) struct git_answer answer = { 0 }, again = { 0 };
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	if (git_answer_parse((const char *)data, size, &answer) < 0)
		return 0;
	if (answer.patch_size > size || strv_length(answer.warnings) > GIT_ANSWER_WARNINGS_MAX)
		abort();
	write_answer(&answer, &text);
	if (git_answer_parse(text.data, text.size, &again) < 0)
		abort();
	if (!same(answer.repository_uri, again.repository_uri) ||
		!same(answer.branch, again.branch) || !same(answer.commit, again.commit) ||
		!same(answer.dirty, again.dirty) || answer.patch_size != again.patch_size ||
		answer.complete != again.complete ||
		strv_length(answer.warnings) != strv_length(again.warnings))
		abort();
	return 0;
}
