/* SPDX-License-Identifier: MIT */
/* gpu_find - the GPUs that the setting names; see gpu.h */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/strv.h"
#include "gpu/gpu_internal.h"

#define PROC_DIR "/proc/driver/nvidia/gpus"
#define DEV_DIR "/dev"
#define ID_MAX 128

void gpus_add(struct gpus *gpus, const struct gpu *gpu)
{
	gpus->items = mem_realloc(gpus->items, (gpus->count + 1) * sizeof(*gpus->items));
	gpus->items[gpus->count++] = *gpu;
}

static void gpu_release(struct gpu *gpu)
{
	free(gpu->id);
	free(gpu->name);
	free(gpu->device);
}

void gpus_release(struct gpus *gpus)
{
	for (size_t i = 0; i < gpus->count; i++)
		gpu_release(&gpus->items[i]);
	free(gpus->items);
	nvml_close(gpus->nvml);
	*gpus = (struct gpus){ 0 };
}

bool gpu_id_is_valid(const char *id)
{
	size_t size = strlen(id);

	if (!size || size > ID_MAX)
		return false;
	for (const char *c = id; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-_.:/", *c))
			return false;
	return true;
}

/* The first that knows of any. */
static void find_nvidia(struct gpus *ret)
{
	if (nvml_open(&ret->nvml) == 0) {
		nvml_find(ret->nvml, DEV_DIR, ret);
		if (ret->count)
			return;
		nvml_close(TAKE(ret->nvml));
	}
	if (gpus_find_by_driver(PROC_DIR, DEV_DIR, ret) < 0 || !ret->count)
		gpus_find_by_name(DEV_DIR, ret);
}

/* ---- a list ---- */

static const struct gpu *find_rdev(const struct gpus *gpus, uint64_t rdev)
{
	for (size_t i = 0; i < gpus->count; i++)
		if (gpus->items[i].rdev == rdev)
			return &gpus->items[i];
	return NULL;
}

/* One entry: a path, and an id or NULL. */
static int add_listed(struct gpus *gpus, const char *path, const char *id, struct error *err)
{
	struct stat st;

	if (id && !gpu_id_is_valid(id))
		return error_set(err, -EINVAL, "gpus",
			"gpus: \"%.80s\" is no id of a GPU: `nvidia-smi -L` shows them", id);
	if (path[0] != '/')
		return error_set(err, -EINVAL, "gpus",
			"gpus: \"%.200s\" is no absolute path of a device file", path);
	if (stat(path, &st) < 0)
		return error_errno(err, -errno, "gpus", "gpus: cannot use %.200s", path);
	if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, -ENODEV, "gpus", "gpus: %.200s is no device file", path);
	if (find_rdev(gpus, st.st_rdev))
		return error_set(err, -EINVAL, "gpus",
			"gpus: the GPU %.200s is there twice, under this name or another", path);
	gpus_add(gpus,
		&(struct gpu){
			.id = mem_strdup(id), .device = mem_strdup(path), .rdev = st.st_rdev });
	return 0;
}

static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return text + strspn(text, " \t");
}

static int read_list(const char *setting, struct gpus *ret, struct error *err)
{
	_cleanup_(freep) char *copy = mem_strdup(setting);
	char *rest = copy;
	char *entry;
	int r = 0;

	while (r >= 0 && (entry = strsep(&rest, ","))) {
		char *path = strsep(&entry, "=");

		if (ret->count == GPUS_MAX)
			return error_set(err, -EINVAL, "gpus", "gpus: more than %d", GPUS_MAX);
		r = add_listed(ret, trim(path), entry ? trim(entry) : NULL, err);
	}
	return r;
}

/* What the driver knows of a listed GPU; an id that was given stays. */
static void enrich(struct gpu *gpu, const struct gpu *known)
{
	if (!gpu->id)
		gpu->id = mem_strdup(known->id);
	gpu->name = mem_strdup(known->name);
	gpu->memory_bytes = known->memory_bytes;
	gpu->nvml_device = known->nvml_device;
}

static bool any_is_nvidia(const struct gpus *gpus)
{
	for (size_t i = 0; i < gpus->count; i++)
		if (gpu_is_nvidia(&gpus->items[i]))
			return true;
	return false;
}

/* Ids that were given may be those that others have; NULL: not known yet. */
static int check_ids(const struct gpus *gpus, struct error *err)
{
	for (size_t i = 0; i < gpus->count; i++)
		for (size_t k = 0; k < i; k++)
			if (gpus->items[i].id && gpus->items[k].id &&
				!strcmp(gpus->items[i].id, gpus->items[k].id))
				return error_set(err, -EINVAL, "gpus",
					"gpus: %.200s and %.200s have one id: %.80s",
					gpus->items[k].device, gpus->items[i].device,
					gpus->items[i].id);
	return 0;
}

static int find_listed(const char *setting, struct gpus *ret, struct error *err)
{
	_cleanup_(gpus_release) struct gpus all = { 0 };
	int r = read_list(setting, ret, err);

	if (r < 0)
		return r;
	if (any_is_nvidia(ret))
		find_nvidia(&all);
	for (size_t i = 0; i < ret->count; i++) {
		const struct gpu *known = find_rdev(&all, ret->items[i].rdev);

		if (known)
			enrich(&ret->items[i], known);
		else if (!ret->items[i].id)
			ret->items[i].id = mem_printf("%zu", i);
	}
	ret->nvml = TAKE(all.nvml);
	return check_ids(ret, err);
}

static bool is_list(const char *setting)
{
	return strcmp(setting, "auto") != 0 && strcmp(setting, "none") != 0;
}

int gpus_check(const char *setting, struct error *err)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	int r = is_list(setting) ? read_list(setting, &gpus, err) : 0;

	return r < 0 ? r : check_ids(&gpus, err);
}

int gpus_find(const char *setting, struct gpus *ret, struct error *err)
{
	_cleanup_(gpus_release) struct gpus gpus = { 0 };
	int r = 0;

	if (is_list(setting))
		r = find_listed(setting, &gpus, err);
	else if (strcmp(setting, "none") != 0)
		find_nvidia(&gpus);
	if (r < 0)
		return r;
	*ret = gpus;
	gpus = (struct gpus){ 0 };
	return 0;
}
