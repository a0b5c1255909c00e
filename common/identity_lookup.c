/* SPDX-License-Identifier: MIT */
/*
 * identity_lookup - a user in the user database; see identity.h
 *
 * Apart from identity.c: the supervisor is static, and the name service is shared libraries.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>

#include "common/identity.h"
#include "common/mem.h"

/* Some name services have entries with hundreds of members. */
#define ENTRY_MAX (1u << 20)
#define GROUPS_AT_FIRST 64

static int look_up(uid_t uid, struct passwd *entry, char **ret_buffer)
{
	for (size_t size = 4096; size <= ENTRY_MAX; size *= 4) {
		_cleanup_(freep) char *buffer = mem_alloc(size);
		struct passwd *found = NULL;
		int error = getpwuid_r(uid, entry, buffer, size, &found);

		if (error == ERANGE)
			continue;
		if (error)
			return -error;
		if (!found)
			return -ENOENT;
		*ret_buffer = TAKE(buffer);
		return 0;
	}
	return -ERANGE;
}

static int list_groups(struct identity *identity)
{
	int room = GROUPS_AT_FIRST;
	int count;

	do {
		count = room;
		identity->groups =
			mem_realloc(identity->groups, (size_t)room * sizeof(*identity->groups));
		if (getgrouplist(identity->name, identity->gid, identity->groups, &count) >= 0) {
			identity->group_count = (size_t)count;
			return 0;
		}
		room = count > room ? count : 2 * room;
	} while (room <= IDENTITY_GROUPS_MAX);
	return -E2BIG;
}

int identity_of_user(uid_t uid, struct identity *ret)
{
	_cleanup_(identity_release) struct identity identity = { 0 };
	_cleanup_(freep) char *buffer = NULL;
	struct passwd entry;
	int r = look_up(uid, &entry, &buffer);

	if (r < 0)
		return r;
	identity.uid = uid;
	identity.gid = entry.pw_gid;
	identity.name = mem_strdup(entry.pw_name);
	identity.home = mem_strdup(entry.pw_dir);
	identity.shell = mem_strdup(entry.pw_shell);
	r = list_groups(&identity);
	if (r < 0)
		return r;
	*ret = identity;
	identity = (struct identity){ 0 };
	return 0;
}
