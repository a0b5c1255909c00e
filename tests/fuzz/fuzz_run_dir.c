/* SPDX-License-Identifier: MIT */
/*
 * fuzz_run_dir - the four records of a run directory from anywhere
 *
 * Besides not crashing: what a parser takes, formatted and parsed again, gives the same bytes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/run_dir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_be_equal(const struct strbuf *a, const struct strbuf *b)
{
	if (a->size != b->size || memcmp(a->data, b->data, a->size) != 0)
		abort();
}

static void try_launch(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
	_cleanup_(run_launch_release) struct run_launch launch = { 0 };
	_cleanup_(run_launch_release) struct run_launch again = { 0 };

	if (run_launch_parse(data, size, &launch) < 0)
		return;
	run_launch_format(&launch, &first);
	if (run_launch_parse(first.data, first.size, &again) < 0)
		abort();
	run_launch_format(&again, &second);
	must_be_equal(&first, &second);
}

static void try_status(const char *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
	_cleanup_(run_status_release) struct run_status status = { 0 };
	_cleanup_(run_status_release) struct run_status again = { 0 };

	if (run_status_parse(data, size, &status) < 0)
		return;
	run_status_format(&status, &first);
	if (run_status_parse(first.data, first.size, &again) < 0)
		abort();
	run_status_format(&again, &second);
	must_be_equal(&first, &second);
}

/* The two that hold no memory. */
#define TRY(record) \
	static void try_##record(const char *data, size_t size) \
	{ \
		_cleanup_(strbuf_release) struct strbuf first = STRBUF_INIT, second = STRBUF_INIT; \
		struct run_##record one, again; \
\
		if (run_##record##_parse(data, size, &one) < 0) \
			return; \
		run_##record##_format(&one, &first); \
		if (run_##record##_parse(first.data, first.size, &again) < 0) \
			abort(); \
		run_##record##_format(&again, &second); \
		must_be_equal(&first, &second); \
	} \
	struct fuzz_needs_a_semicolon

TRY(stop);
TRY(exit);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;

	try_launch(text, size);
	try_status(text, size);
	try_stop(text, size);
	try_exit(text, size);
	return 0;
}
