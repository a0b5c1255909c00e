/* SPDX-License-Identifier: MIT */
/*
 * gpu - which GPUs the machine has, and who uses them at this moment
 *
 * gpus_find() takes the setting `gpus` of amlagentd.conf:
 *
 *	auto    libnvidia-ml.so.1 where there is one (loaded, never linked), else what the driver
 *	        says in /proc/driver/nvidia/gpus, else /dev/nvidia0, /dev/nvidia1...
 *	none    no GPUs
 *	a list  of device files, "/dev/nvidia0,/dev/nvidia2=GPU-5a1c...": these, under the ids that
 *	        follow '=', else under their places in the list. Any device file will do: tests take
 *	        loop devices.
 *
 * An id is what CUDA_VISIBLE_DEVICES takes: the UUID where it is known, else the index in the order
 * of the PCI bus. Indices mean that order to CUDA only under CUDA_DEVICE_ORDER=PCI_BUS_ID.
 *
 * gpus_look() says of each GPU whether a process holds it. That is one which has its device file
 * open, under whatever name and in whatever container, or mapped under the name we know it by.
 * NVIDIA's files are opened by many who compute nothing and stay for ever: nvidia-persistenced,
 * display servers, and whoever watches GPUs (nvtop, exporters, the experiment trackers within a
 * training process, this daemon). There is no list of their names, which anybody could borrow. What
 * tells them apart is /dev/nvidia-uvm: CUDA has it open, and they do not. So of NVIDIA's GPUs a
 * process holds one when
 *
 *	- the driver lists it as computing there (NVML), or
 *	- it has both files open, the driver lists it on no GPU, and it is not of a run of ours.
 *	  (Those the driver does not list are workers that outlived their parent and keep its
 *	  memory. One that is listed elsewhere has opened all GPUs to look at them; so have the
 *	  workers of our runs, which are gone before their GPU is given on.)
 *
 * Who only draws does not hold a GPU. Where NVML is not there, every process with both files open
 * does.
 *
 * What cannot be seen: a daemon that is not root may not look into processes of other users. NVML
 * lists those too; without it a GPU that another user computes on is taken for free, and the result
 * of gpus_look() says of how many processes nothing is known. MIG: a GPU is given out as a whole.
 *
 * A process that ends while it is looked at is no error. NVML can hang in a driver that does: the
 * caller's work thread is lost then, until the driver answers.
 *
 * Threads: gpus_look() blocks (50 us a process, on up to four threads) and runs on any thread, one at
 * a time; the others at start and end. Errors: negative errno. Who frees: gpus_release(), also of a
 * zeroed one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define GPUS_MAX 1024

struct gpu {
	char *id;
	char *name;           /* "NVIDIA H200"; NULL: not known */
	char *device;         /* "/dev/nvidia0" */
	uint64_t rdev;        /* st_rdev of that */
	int64_t memory_bytes; /* 0: not known */
	void *nvml_device;    /* nvml.c's; NULL: it does not know this one */
};

struct gpus {
	struct gpu *items;
	size_t count;
	struct nvml *nvml; /* NULL: not there, or not asked for */
};

/* A zeroed one: nobody. */
struct gpu_holder {
	pid_t pid;        /* of the first that was found; 0: nobody */
	uid_t uid;        /* (uid_t)-1: not known (NVML named a process that we do not see) */
	char user[64];    /* his name, else the number; "?": not known */
	char command[64]; /* "python3"; "?": not known */
};

/* -EINVAL, -ENOENT, -ENODEV: the list names something twice, that is not there, that is no device
 * file. auto finds none: that is no error. */
int gpus_find(const char *setting, struct gpus *ret, struct error *err);
/* What of that is wrong at the first look: no driver is asked, which may hang. The same errors. */
int gpus_check(const char *setting, struct error *err);
void gpus_release(struct gpus *gpus);

/* Fills in ret[gpus->count]. The number of processes of which nothing is known. */
int gpus_look(const struct gpus *gpus, struct gpu_holder *ret);
