/* SPDX-License-Identifier: MIT */
/*
 * fake_nvml - a libnvidia-ml.so.1 of two GPUs for tests; see agent/gpu/nvml.c
 *
 * The tests say what it answers through the environment, which they may change between two looks:
 *
 *	FAKE_NVML_COUNT     how many GPUs there are; absent: the library does not start
 *	FAKE_NVML_PIDS_<i>  "123 456": who computes on GPU i; "-": it does not say
 *	FAKE_NVML_MINORS    their minor numbers, one digit each, "01" unless it says otherwise
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUCCESS 0
#define ERROR_UNINITIALIZED 1
#define ERROR_INVALID_ARGUMENT 2
#define ERROR_NOT_SUPPORTED 3
#define ERROR_INSUFFICIENT_SIZE 7

struct memory {
	unsigned long long total, free, used;
};

struct process {
	unsigned pid;
	unsigned long long used_memory;
	unsigned gpu_instance, compute_instance;
};

static int starts;
static int devices[16]; /* a handle is one's address */

int nvmlInit_v2(void)
{
	if (!getenv("FAKE_NVML_COUNT"))
		return ERROR_UNINITIALIZED;
	starts++;
	return SUCCESS;
}

int nvmlShutdown(void)
{
	return starts-- > 0 ? SUCCESS : ERROR_UNINITIALIZED;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
	*count = (unsigned)atoi(getenv("FAKE_NVML_COUNT"));
	return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
	if (index >= 16)
		return ERROR_INVALID_ARGUMENT;
	*device = &devices[index];
	return SUCCESS;
}

static int index_of(void *device)
{
	return (int)((int *)device - devices);
}

int nvmlDeviceGetUUID(void *device, char *to, unsigned size)
{
	snprintf(to, size, "GPU-fake-%d", index_of(device));
	return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *to, unsigned size)
{
	snprintf(to, size, "Fake GPU %d", index_of(device));
	return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory)
{
	memory->total = (unsigned long long)(index_of(device) + 1) << 30;
	return SUCCESS;
}

int nvmlDeviceGetMinorNumber(void *device, unsigned *number)
{
	const char *minors = getenv("FAKE_NVML_MINORS");

	*number = (unsigned)((minors ? minors : "01")[index_of(device)] - '0');
	return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, struct process *infos)
{
	char name[32];
	const char *text;
	unsigned room = *count, used = 0;

	snprintf(name, sizeof(name), "FAKE_NVML_PIDS_%d", index_of(device));
	text = getenv(name);
	if (text && !strcmp(text, "-"))
		return ERROR_NOT_SUPPORTED;
	for (char *end; text && *text; text = end, used++) {
		unsigned pid = (unsigned)strtoul(text, &end, 10);

		if (used < room)
			infos[used] = (struct process){ .pid = pid, .used_memory = 1 };
	}
	*count = used;
	return used > room ? ERROR_INSUFFICIENT_SIZE : SUCCESS;
}
