/* SPDX-License-Identifier: MIT */
/* fuzz_percent - decoding any text is safe, and undone by encoding; see agent/http/http_server.h */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "http/http_server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = mem_strndup((const char *)data, size);
	_cleanup_(freep) char *decoded = NULL;
	_cleanup_(freep) char *encoded = NULL;
	_cleanup_(freep) char *again = NULL;

	if (http_percent_decode(text, &decoded) < 0)
		return 0;
	encoded = http_percent_encode(decoded);
	if (http_percent_decode(encoded, &again) < 0 || strcmp(again, decoded))
		abort();
	return 0;
}
