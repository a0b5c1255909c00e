/* SPDX-License-Identifier: MIT */
/*
 * fuzz_subuid - what /etc/subuid might hold
 *
 * Besides not crashing: an owner is the uid itself or a smaller one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/http_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uid_t uid;

	if (size < sizeof(uid))
		return 0;
	memcpy(&uid, data, sizeof(uid));
	if (http_subuid_owner((const char *)data + sizeof(uid), size - sizeof(uid), uid) > uid)
		abort();
	return 0;
}
