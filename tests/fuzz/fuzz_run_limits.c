/* SPDX-License-Identifier: MIT */
/*
 * fuzz_run_limits - limits as text, of ours and of the kernel's form
 *
 * Besides not crashing: what a parser takes is read back from its text as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/run_limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_read_back(const struct run_limits *limits)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct run_limits again;

	run_limits_format(limits, &text);
	if (run_limits_parse(text.size ? text.data : "", &again) < 0 ||
		memcmp(limits, &again, sizeof(again)) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = mem_strndup((const char *)data, size);
	struct run_limits limits;

	if (run_limits_parse(text, &limits) == 0)
		must_be_read_back(&limits);
	if (run_limits_parse_proc(text, &limits) == 0)
		must_be_read_back(&limits);
	return 0;
}
