/* SPDX-License-Identifier: MIT */
/*
 * fuzz_runconfig - any bytes as a run configuration
 *
 * Besides not crashing, a refusal says something, and what is accepted can go into a request.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/runconfig.h"
#include "common/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(runconfig_release) struct runconfig config = { 0 };
	struct error err = ERROR_INIT;
	int r = runconfig_parse((const char *)data, size, "fuzz", &config, &err);

	if (r < 0 && (!err.code || !err.message[0]))
		abort();
	if (r < 0)
		return 0;
	for (size_t i = 0; config.environment_variables && config.environment_variables[i]; i++)
		if (strchr(config.environment_variables[i], '=') <= config.environment_variables[i])
			abort();
	if ((config.script && config.command) || config.max_run_duration_seconds < 0)
		abort();
	return 0;
}
