/* SPDX-License-Identifier: MIT */
/* identity - a user of the machine; see identity.h */
#include "common/identity.h"

#include <errno.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/mem.h"

void identity_release(struct identity *identity)
{
	free(identity->groups);
	free(identity->name);
	free(identity->home);
	free(identity->shell);
	*identity = (struct identity){ 0 };
}

void identity_copy(const struct identity *identity, struct identity *ret)
{
	*ret = *identity;
	ret->groups = identity->group_count
			      ? mem_dup(identity->groups,
					identity->group_count * sizeof(*identity->groups))
			      : NULL;
	ret->name = mem_strdup(identity->name);
	ret->home = mem_strdup(identity->home);
	ret->shell = mem_strdup(identity->shell);
}

/* ---- text ---- */

void identity_format(const struct identity *identity, struct strbuf *ret)
{
	strbuf_addf(ret, "%u:%u:", (unsigned)identity->uid, (unsigned)identity->gid);
	for (size_t i = 0; i < identity->group_count; i++)
		strbuf_addf(ret, "%s%u", i ? "," : "", (unsigned)identity->groups[i]);
}

/* A number and what follows it; (id_t)-1 means "leave it" to the kernel and is nobody. */
static int parse_id(const char **text, char end, id_t *ret)
{
	char *after;
	unsigned long value;

	if (**text < '0' || **text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoul(*text, &after, 10);
	if (errno || value >= (id_t)-1 || (*after && *after != end))
		return -EINVAL;
	*text = *after ? after + 1 : after;
	*ret = (id_t)value;
	return *after == end ? 1 : 0;
}

static int parse_groups(const char *text, struct identity *identity)
{
	size_t room = 0;
	int r = 1;

	while (r > 0) {
		id_t group;

		r = parse_id(&text, ',', &group);
		if (r < 0 || identity->group_count >= IDENTITY_GROUPS_MAX)
			return -EINVAL;
		GROW(identity->groups, identity->group_count, room);
		identity->groups[identity->group_count++] = group;
	}
	return r;
}

int identity_parse(const char *text, struct identity *ret)
{
	_cleanup_(identity_release) struct identity identity = { 0 };

	if (parse_id(&text, ':', &identity.uid) != 1 || parse_id(&text, ':', &identity.gid) != 1)
		return -EINVAL;
	if (*text && parse_groups(text, &identity) < 0)
		return -EINVAL;
	*ret = identity;
	identity = (struct identity){ 0 };
	return 0;
}

/* ---- being him ---- */

/* Else all runs would share the keyring of the daemon's session. Kernels without keys have none. */
void identity_leave_keyring(void)
{
	(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

int identity_assume(const struct identity *identity)
{
	uid_t real, effective, saved;

	identity_leave_keyring();
	if (setgroups(identity->group_count, identity->groups) < 0)
		return -errno;
	if (setresgid(identity->gid, identity->gid, identity->gid) < 0)
		return -errno;
	if (setresuid(identity->uid, identity->uid, identity->uid) < 0)
		return -errno;
	if (getresuid(&real, &effective, &saved) < 0)
		return -errno;
	if (real != identity->uid || effective != identity->uid || saved != identity->uid)
		return -EPERM;
	/* The kernel takes the capabilities with the uid; what it left would be a way back. */
	if (identity->uid != 0 && setresuid((uid_t)-1, 0, (uid_t)-1) == 0)
		return -EPERM;
	return 0;
}
