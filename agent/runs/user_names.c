/* SPDX-License-Identifier: MIT */
/* user_names - the names of the users of this daemon; see user_names.h */
#include "runs/user_names.h"

#include <stdlib.h>
#include <string.h>

#include "common/identity.h"
#include "common/mem.h"

struct user_name {
	uid_t uid;
	char *name;
};

static size_t find(const struct user_names *names, uid_t uid)
{
	size_t low = 0, high = names->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (names->items[middle].uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void user_names_set(struct user_names *names, uid_t uid, const char *name)
{
	size_t at = find(names, uid);

	if (at < names->count && names->items[at].uid == uid) {
		mem_replace(&names->items[at].name, name);
		return;
	}
	GROW(names->items, names->count, names->room);
	memmove(&names->items[at + 1], &names->items[at],
		(names->count++ - at) * sizeof(*names->items));
	names->items[at] = (struct user_name){ uid, mem_strdup(name) };
}

const char *user_names_get(const struct user_names *names, uid_t uid)
{
	size_t at = find(names, uid);

	return at < names->count && names->items[at].uid == uid ? names->items[at].name : NULL;
}

void user_names_release(struct user_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i].name);
	free(names->items);
	*names = (struct user_names){ 0 };
}

char *user_name_look_up(uid_t uid)
{
	_cleanup_(identity_release) struct identity identity = { 0 };

	if (identity_of_user(uid, &identity) < 0 || !identity.name)
		return mem_printf("%u", (unsigned)uid);
	return TAKE(identity.name);
}
