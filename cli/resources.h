/* SPDX-License-Identifier: MIT */
/*
 * resources - CPUs, memory and GPUs in words
 */
#pragma once

#include <stdint.h>

#include "common/json.h"

/* "2 CPUs, 8.0 GiB memory, 1 GPU" of an object with `cpus`, `memory_bytes` and `gpus` (a number, or
 * an array of ids); what is 0 or missing is left out; "" for none. malloc'ed. */
char *resources_text(const struct json *resources);
/* How many GPUs that object speaks of. */
int64_t resources_gpus(const struct json *resources);
