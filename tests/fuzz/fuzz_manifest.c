/* SPDX-License-Identifier: MIT */
/*
 * fuzz_manifest - a snapshot's manifest from anywhere
 *
 * Besides not crashing: what the parser takes is exactly what the builder writes for it, so that
 * one tree has one id.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "store/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(strbuf_release) struct strbuf again = STRBUF_INIT;
	struct manifest_reader reader;
	struct manifest_entry entry;
	int r = manifest_open(&reader, (const char *)data, size);

	if (r < 0)
		return 0;
	manifest_begin(&again);
	while ((r = manifest_next(&reader, &entry)) > 0)
		manifest_add(&again, &entry);
	if (again.size > size || memcmp(again.data, data, again.size) != 0)
		abort();
	if (r == 0 && again.size != size)
		abort();
	return 0;
}
