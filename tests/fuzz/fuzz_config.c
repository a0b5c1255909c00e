/* SPDX-License-Identifier: MIT */
/* fuzz_config - any bytes as amlagentd.conf */
#include <stdlib.h>

#include "common/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct config_lines lines;
	struct config config;

	if (config_parse((const char *)data, size, "fuzz", &config, &lines, &err) < 0 &&
		!err.message[0])
		abort();
	return 0;
}
