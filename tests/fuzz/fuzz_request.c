/* SPDX-License-Identifier: MIT */
/* fuzz_request - any bytes as a run request; what is understood must parse back from its definition
 */
#include <stdlib.h>
#include <string.h>

#include "common/run_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(json_freep) struct json *body = NULL, *definition = NULL, *copy = NULL;
	_cleanup_(run_request_release) struct run_request request = { 0 }, again = { 0 };
	_cleanup_(freep) char *text = NULL;
	struct error err = ERROR_INIT;

	if (json_parse((const char *)data, size, &body, &err) < 0 ||
		run_request_parse(body, &request, &err) < 0) {
		if (!err.message[0])
			abort();
		return 0;
	}
	definition = run_request_definition(&request);
	text = json_print(definition);
	if (json_parse(text, strlen(text), &copy, NULL) < 0 ||
		run_request_parse(copy, &again, NULL) < 0)
		abort();
	return 0;
}
