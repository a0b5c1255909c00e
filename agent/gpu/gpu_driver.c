/* SPDX-License-Identifier: MIT */
/* gpu_driver - what NVIDIA's driver says of its GPUs in /proc and /dev; see gpu_internal.h */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/file.h"
#include "common/mem.h"
#include "common/strv.h"
#include "common/utf8.h"
#include "gpu/gpu_internal.h"

#define INFORMATION_MAX (64u * 1024)
#define VALUE_MAX 128

/* ---- the text ---- */

static void set_text(char **field, const char *value)
{
	if (!*field && value[0])
		*field = utf8_sanitize(value, strlen(value));
}

static void set_field(struct gpu_information *ret, const char *key, const char *value)
{
	char *end;
	long number;

	if (!strcmp(key, "Model"))
		set_text(&ret->model, value);
	else if (!strcmp(key, "GPU UUID") && gpu_id_is_valid(value)) /* not "GPU-????????-..." */
		set_text(&ret->uuid, value);
	else if (!strcmp(key, "GPU Excluded") || !strcmp(key, "Blacklisted"))
		ret->excluded = !strcmp(value, "Yes");
	else if (!strcmp(key, "Device Minor")) {
		number = strtol(value, &end, 10);
		if (end != value && !*end && number >= 0 && number < 255)
			ret->minor = (int)number;
	}
}

/* "Key: \t value", trimmed at both ends. */
static void parse_line(const char *line, size_t size, struct gpu_information *ret)
{
	const char *colon = memchr(line, ':', size);
	const char *end = line + size;
	char key[32], value[VALUE_MAX];

	if (!colon || (size_t)(colon - line) >= sizeof(key))
		return;
	snprintf(key, sizeof(key), "%.*s", (int)(colon - line), line);
	for (colon++; colon < end && isspace((unsigned char)*colon); colon++)
		;
	while (end > colon && isspace((unsigned char)end[-1]))
		end--;
	if ((size_t)(end - colon) >= sizeof(value) || memchr(colon, '\0', (size_t)(end - colon)))
		return;
	snprintf(value, sizeof(value), "%.*s", (int)(end - colon), colon);
	set_field(ret, key, value);
}

void gpu_information_parse(const char *text, size_t size, struct gpu_information *ret)
{
	*ret = (struct gpu_information){ .minor = -1 };
	while (size) {
		const char *end = memchr(text, '\n', size);
		size_t length = end ? (size_t)(end - text) : size;

		parse_line(text, length, ret);
		text += length + (end ? 1 : 0);
		size -= length + (end ? 1 : 0);
	}
}

void gpu_information_release(struct gpu_information *information)
{
	free(information->model);
	free(information->uuid);
}

/* ---- the folders ---- */

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "0000:07:00.0": as texts they sort as the bus does. */
static int list_folder(const char *path, char ***ret)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			strv_add(ret, entry->d_name);
	if (*ret)
		qsort(*ret, strv_length(*ret), sizeof(**ret), compare_text);
	return 0;
}

static void add_driver_gpu(
	struct gpus *gpus, const char *proc_dir, const char *name, const char *dev_dir)
{
	_cleanup_(freep) char *path = mem_printf("%s/%s/information", proc_dir, name);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	_cleanup_(gpu_information_release) struct gpu_information information = { 0 };
	struct gpu gpu = { 0 };
	struct stat st;

	if (file_read(AT_FDCWD, path, INFORMATION_MAX, &text) < 0)
		return;
	gpu_information_parse(text.data ? text.data : "", text.size, &information);
	if (information.minor < 0 || information.excluded)
		return;
	gpu.device = mem_printf("%s/nvidia%d", dev_dir, information.minor);
	gpu.rdev = stat(gpu.device, &st) == 0 ? st.st_rdev
					      : makedev(NVIDIA_MAJOR, (unsigned)information.minor);
	gpu.id = information.uuid ? TAKE(information.uuid) : mem_printf("%zu", gpus->count);
	gpu.name = TAKE(information.model);
	gpus_add(gpus, &gpu);
}

int gpus_find_by_driver(const char *proc_dir, const char *dev_dir, struct gpus *ret)
{
	_cleanup_(strv_freep) char **names = NULL;
	int r = list_folder(proc_dir, &names);

	for (size_t i = 0; r >= 0 && names && names[i] && ret->count < GPUS_MAX; i++)
		add_driver_gpu(ret, proc_dir, names[i], dev_dir);
	return r;
}

/* Minor numbers up to 254; 255 is nvidiactl. */
int gpus_find_by_name(const char *dev_dir, struct gpus *ret)
{
	for (unsigned number = 0; number < 255; number++) {
		_cleanup_(freep) char *path = mem_printf("%s/nvidia%u", dev_dir, number);
		struct stat st;

		if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
			continue;
		gpus_add(ret, &(struct gpu){ .id = mem_printf("%zu", ret->count),
				      .device = TAKE(path),
				      .rdev = st.st_rdev });
	}
	return 0;
}
