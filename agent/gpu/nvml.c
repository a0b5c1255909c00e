/* SPDX-License-Identifier: MIT */
/* nvml - NVIDIA's management library, loaded when it is there; see gpu_internal.h */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "gpu/gpu_internal.h"

#define LIBRARY "libnvidia-ml.so.1"

/* Of its documented ABI (docs.nvidia.com/deploy/nvml-api): results and sizes. */
#define NVML_SUCCESS 0
#define NVML_ERROR_INSUFFICIENT_SIZE 7
#define NVML_TEXT_SIZE 96

struct nvml_memory {
	unsigned long long total, free, used;
};

/* nvmlProcessInfo_v1_t, of the functions without a version. */
struct nvml_process_v1 {
	unsigned pid;
	unsigned long long used_memory;
};

/* nvmlProcessInfo_v2_t, of those that end in _v2 and _v3. */
struct nvml_process_v2 {
	unsigned pid;
	unsigned long long used_memory;
	unsigned gpu_instance, compute_instance;
};

typedef int (*list_function)(void *device, unsigned *count, void *infos);

struct nvml {
	void *library;
	int (*init)(void);
	int (*shutdown)(void);
	int (*count)(unsigned *count);
	int (*handle)(unsigned index, void **device);
	int (*uuid)(void *device, char *to, unsigned size);
	int (*name)(void *device, char *to, unsigned size);
	int (*memory)(void *device, struct nvml_memory *memory);
	int (*minor_number)(void *device, unsigned *number);
};

/* Without these there is nothing to be had from it. */
static const struct {
	const char *name;
	size_t offset;
} symbols[] = {
	{ "nvmlInit_v2", offsetof(struct nvml, init) },
	{ "nvmlShutdown", offsetof(struct nvml, shutdown) },
	{ "nvmlDeviceGetCount_v2", offsetof(struct nvml, count) },
	{ "nvmlDeviceGetHandleByIndex_v2", offsetof(struct nvml, handle) },
	{ "nvmlDeviceGetUUID", offsetof(struct nvml, uuid) },
	{ "nvmlDeviceGetName", offsetof(struct nvml, name) },
	{ "nvmlDeviceGetMemoryInfo", offsetof(struct nvml, memory) },
	{ "nvmlDeviceGetMinorNumber", offsetof(struct nvml, minor_number) },
};

/* Newest first: the first of a kind that the library has is asked. */
static const struct {
	const char *names[3];
} lists[] = {
	{ { "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2",
		"nvmlDeviceGetComputeRunningProcesses" } },
	{ { "nvmlDeviceGetMPSComputeRunningProcesses_v3",
		"nvmlDeviceGetMPSComputeRunningProcesses_v2",
		"nvmlDeviceGetMPSComputeRunningProcesses" } },
};

static bool load(struct nvml *nvml)
{
	nvml->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!nvml->library)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
		void *symbol = dlsym(nvml->library, symbols[i].name);

		if (!symbol)
			return false;
		memcpy((char *)nvml + symbols[i].offset, &symbol, sizeof(symbol));
	}
	return true;
}

static void unload(struct nvml *nvml)
{
	if (nvml->library)
		dlclose(nvml->library);
	free(nvml);
}

int nvml_open(struct nvml **ret)
{
	struct nvml *nvml = NEW(struct nvml);

	if (!load(nvml) || nvml->init() != NVML_SUCCESS) {
		unload(nvml);
		return -ENOENT;
	}
	*ret = nvml;
	return 0;
}

void nvml_close(struct nvml *nvml)
{
	if (!nvml)
		return;
	nvml->shutdown();
	unload(nvml);
}

/* A GPU of which the library does not know the name of its device file cannot be looked at. */
static bool describe(struct nvml *nvml, const char *dev_dir, unsigned index, struct gpu *ret)
{
	struct nvml_memory memory = { 0 };
	char text[NVML_TEXT_SIZE] = "";
	void *device;
	unsigned number;
	struct stat st;

	if (nvml->handle(index, &device) != NVML_SUCCESS ||
		nvml->minor_number(device, &number) != NVML_SUCCESS)
		return false;
	ret->nvml_device = device;
	ret->device = mem_printf("%s/nvidia%u", dev_dir, number);
	/* The file is made when the first one asks for it. */
	ret->rdev = stat(ret->device, &st) == 0 ? st.st_rdev : makedev(NVIDIA_MAJOR, number);
	if (nvml->uuid(device, text, sizeof(text) - 1) == NVML_SUCCESS && gpu_id_is_valid(text))
		ret->id = mem_strdup(text);
	else
		ret->id = mem_printf("%u", index);
	if (nvml->name(device, text, sizeof(text) - 1) == NVML_SUCCESS && text[0])
		ret->name = utf8_sanitize(text, strlen(text));
	if (nvml->memory(device, &memory) == NVML_SUCCESS)
		ret->memory_bytes = (int64_t)memory.total;
	return true;
}

void nvml_find(struct nvml *nvml, const char *dev_dir, struct gpus *ret)
{
	unsigned count;

	if (nvml->count(&count) != NVML_SUCCESS)
		return;
	for (unsigned i = 0; i < count && ret->count < GPUS_MAX; i++) {
		struct gpu gpu = { 0 };

		if (describe(nvml, dev_dir, i, &gpu))
			gpus_add(ret, &gpu);
	}
}

static list_function find_list(const struct nvml *nvml, size_t kind, size_t *ret_item_size)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists[kind].names); i++) {
		void *symbol = dlsym(nvml->library, lists[kind].names[i]);
		list_function function;

		if (!symbol)
			continue;
		memcpy(&function, &symbol, sizeof(symbol));
		*ret_item_size = i + 1 < ARRAY_SIZE(lists[kind].names)
					 ? sizeof(struct nvml_process_v2)
					 : sizeof(struct nvml_process_v1);
		return function;
	}
	return NULL;
}

/* The pid comes first in both kinds of item. The list may grow between two calls. */
static int call_list(list_function list, void *device, size_t item_size, struct pid_list *pids)
{
	_cleanup_(freep) char *items = NULL;
	unsigned count = 64;
	int r;

	do {
		unsigned room = count;

		items = mem_realloc(items, room * item_size);
		r = list(device, &count, items);
		count = r == NVML_ERROR_INSUFFICIENT_SIZE && count <= room ? 2 * room : count;
	} while (r == NVML_ERROR_INSUFFICIENT_SIZE && count < (1u << 20));
	if (r != NVML_SUCCESS)
		return -ENOTSUP;
	for (unsigned i = 0; i < count; i++) {
		unsigned pid;

		memcpy(&pid, items + i * item_size, sizeof(pid));
		GROW(pids->items, pids->count, pids->room);
		pids->items[pids->count++] = (pid_t)pid;
	}
	return 0;
}

/* MPS's list is a supplement: old libraries and many GPUs have none. */
int nvml_processes(struct nvml *nvml, const struct gpu *gpu, struct pid_list *pids)
{
	size_t item_size;
	list_function compute = find_list(nvml, 0, &item_size);
	int r = compute ? call_list(compute, gpu->nvml_device, item_size, pids) : -ENOTSUP;
	list_function mps = r < 0 ? NULL : find_list(nvml, 1, &item_size);

	if (mps)
		call_list(mps, gpu->nvml_device, item_size, pids);
	return r;
}
