/* SPDX-License-Identifier: MIT */
/* tree_link - symbolic links that lead out of the tree they are in; see tree_link.h */
#include "capture/tree_link.h"

#include <string.h>

#include "common/mem.h"

static long depth_of(const char *path)
{
	long depth = 0;

	for (; *path; path++)
		depth += *path == '/';
	return depth;
}

static bool part_is(const char *part, size_t size, const char *text)
{
	return strlen(text) == size && !memcmp(part, text, size);
}

bool tree_link_leads_out(const char *path, const char *target)
{
	long depth = depth_of(path);

	if (target[0] == '/')
		return true;
	for (const char *part = target; *part && depth >= 0;) {
		size_t size = strcspn(part, "/");

		if (part_is(part, size, ".."))
			depth--;
		else if (size && !part_is(part, size, "."))
			depth++;
		part += size;
		part += strspn(part, "/");
	}
	return depth < 0;
}

/* Size of path without its last part and the '/' before that. */
static size_t parent_size(const char *path, size_t size)
{
	const char *slash = memrchr(path, '/', size);

	return slash ? (size_t)(slash - path) : 0;
}

char *tree_link_absolute(const char *root, const char *path, const char *target)
{
	size_t folder = parent_size(path, strlen(path));

	for (;;) {
		size_t size = strcspn(target, "/");
		bool up = part_is(target, size, "..");

		if (!(up && folder) && !part_is(target, size, "."))
			break;
		if (up)
			folder = parent_size(path, folder);
		target += size;
		target += strspn(target, "/");
	}
	return mem_printf("%s%s%.*s%s%s", root, root[strlen(root) - 1] == '/' ? "" : "/",
		(int)folder, path, folder ? "/" : "", target);
}
