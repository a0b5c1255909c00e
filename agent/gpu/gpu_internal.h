/* SPDX-License-Identifier: MIT */
/* gpu_internal - what the files of this folder share (private to agent/gpu/) */
#pragma once

#include <stdbool.h>
#include <sys/sysmacros.h>

#include "common/strbuf.h"
#include "gpu/gpu.h"

/* The major number of /dev/nvidia0, 1, 2...: assigned, see the kernel's devices.txt. */
#define NVIDIA_MAJOR 195

static inline bool gpu_is_nvidia(const struct gpu *gpu)
{
	return gpu->nvml_device || major(gpu->rdev) == NVIDIA_MAJOR;
}

/* Open in every process that computes on one of them. */
#define GPU_UVM_PATH "/dev/nvidia-uvm"

/* gpu_look.c: gpus_look(), where uvm_path takes the place of GPU_UVM_PATH. */
int gpus_look_beside(const struct gpus *gpus, const char *uvm_path, struct gpu_holder *ret);

/* gpu_find.c */
void gpus_add(struct gpus *gpus, const struct gpu *gpu); /* takes its strings over */
/* May it stand in CUDA_VISIBLE_DEVICES? */
bool gpu_id_is_valid(const char *id);

/* gpu_driver.c: what NVIDIA's driver says of itself. */

/* One GPU's "information" file: fields are NULL and minor -1 where it does not say. Pure: fuzzed. */
struct gpu_information {
	char *model;
	char *uuid; /* NULL also while the driver does not know it */
	int minor;
	bool excluded; /* the driver does not give it out */
};
void gpu_information_parse(const char *text, size_t size, struct gpu_information *ret);
void gpu_information_release(struct gpu_information *information);
/* All that `proc_dir` (/proc/driver/nvidia/gpus) tells of, in the order of the PCI bus. -ENOENT:
 * there is no driver. */
int gpus_find_by_driver(const char *proc_dir, const char *dev_dir, struct gpus *ret);
/* dev_dir/nvidia0, nvidia1...; nothing is no error. */
int gpus_find_by_name(const char *dev_dir, struct gpus *ret);

/* nvml.c: libnvidia-ml.so.1 */

/* -ENOENT: there is none, or it has no driver below it. */
int nvml_open(struct nvml **ret);
void nvml_close(struct nvml *nvml); /* NULL is fine */
/* All it knows. Their order is the PCI bus's. */
void nvml_find(struct nvml *nvml, const char *dev_dir, struct gpus *ret);
/* Those that compute on this GPU are added to *pids (used, room: GROW). -ENOTSUP: it does not
 * say. */
struct pid_list {
	pid_t *items;
	size_t count;
	size_t room;
};
int nvml_processes(struct nvml *nvml, const struct gpu *gpu, struct pid_list *pids);

/* gpu_scan.c: what processes have open or mapped */

#define GPU_SET_WORDS (GPUS_MAX / 64)

/* A process that has the device file of some GPU. */
struct gpu_sight {
	pid_t pid;
	bool has_uvm;                 /* and GPU_UVM_PATH */
	uint64_t held[GPU_SET_WORDS]; /* bit i: gpus->items[i] */
};

struct gpu_sights {
	struct gpu_sight *items;
	size_t count;
	size_t room;
	unsigned unseen; /* processes that we may not look into */
};

/* Every process but this one, by rising pid. uvm: rdev of GPU_UVM_PATH; 0: there is none. The caller
 * frees ret->items. */
int gpu_scan(const struct gpus *gpus, int proc_fd, uint64_t uvm, struct gpu_sights *ret);

static inline bool gpu_sight_holds(const struct gpu_sight *sight, size_t index)
{
	return sight->held[index / 64] >> (index % 64) & 1;
}
