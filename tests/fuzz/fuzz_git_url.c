/* SPDX-License-Identifier: MIT */
/*
 * fuzz_git_url - a URL from anywhere
 *
 * Besides not crashing: nothing is added, and a password that is put in front of it is taken away.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "capture/git_url.h"
#include "common/cleanup.h"
#include "common/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *url = mem_strndup((const char *)data, size);
	_cleanup_(freep) char *stripped = git_url_strip(url);
	_cleanup_(freep) char *secret = mem_printf("https://ana:SECRET@%s", url);
	_cleanup_(freep) char *kept = git_url_strip(secret);

	if (strlen(stripped) > strlen(url))
		abort();
	if (strstr(kept, "SECRET") && !strstr(url, "SECRET"))
		abort();
	return 0;
}
