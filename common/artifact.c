/* SPDX-License-Identifier: MIT */
/* artifact - a file that a run left, and lists of them; see artifact.h */
#include "common/artifact.h"

#include <string.h>

#include "common/mem.h"

void artifacts_add(struct artifacts *list, const char *path, uint64_t size,
	const struct digest *digest, int64_t modified_us)
{
	GROW(list->items, list->count, list->room);
	list->items[list->count++] = (struct artifact){
		.path = mem_strdup(path),
		.size = size,
		.digest = digest ? *digest : (struct digest){ { 0 } },
		.modified_us = modified_us,
	};
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct artifact *)a)->path, ((const struct artifact *)b)->path);
}

void artifacts_sort(struct artifacts *list)
{
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), compare);
}

const struct artifact *artifacts_find(const struct artifacts *list, const char *path)
{
	for (size_t i = 0; i < list->count; i++)
		if (!strcmp(list->items[i].path, path))
			return &list->items[i];
	return NULL;
}

void artifacts_release(struct artifacts *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i].path);
	free(list->items);
	*list = (struct artifacts){ 0 };
}
