/* SPDX-License-Identifier: MIT */
/*
 * fuzz_gpu_information - what a driver might say of a GPU
 *
 * Besides not crashing: an id may stand in CUDA_VISIBLE_DEVICES, a name may be shown, and a number
 * is a device's.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/utf8.h"
#include "gpu/gpu_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(gpu_information_release) struct gpu_information information = { 0 };

	gpu_information_parse((const char *)data, size, &information);
	if (information.uuid && !gpu_id_is_valid(information.uuid))
		abort();
	if (information.model && !utf8_valid(information.model, strlen(information.model)))
		abort();
	if (information.minor < -1 || information.minor > 254)
		abort();
	return 0;
}
