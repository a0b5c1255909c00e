/* SPDX-License-Identifier: MIT */
/* mount_trust - can reading a descriptor be made to hang; see mount_trust.h */
#include "capture/mount_trust.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "common/mem.h"

static int64_t time_ns(const struct statx_timestamp *time)
{
	return file_time_ns((struct timespec){ time->tv_sec, time->tv_nsec });
}

/* AT_STATX_DONT_SYNC: FUSE and NFS say what they last knew, and ask nobody. */
int mount_look(int fd, struct file_stamp *ret, uint64_t *ret_mount)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID,
		    &st) < 0)
		return -errno;
	*ret = (struct file_stamp){
		.device = makedev(st.stx_dev_major, st.stx_dev_minor),
		.inode = st.stx_ino,
		.size = st.stx_size,
		.mtime = time_ns(&st.stx_mtime),
		.ctime = time_ns(&st.stx_ctime),
		.mode = st.stx_mode,
	};
	*ret_mount = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
	return 0;
}

/* Their buffered reads wait for the disk and for no user. */
static bool type_is_trusted(const char *type)
{
	static const char *const types[] = { "ext4", "ext3", "ext2", "btrfs", "tmpfs", "f2fs" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw"; proc(5). */
bool mount_is_trusted(uint64_t mount)
{
	_cleanup_(fclosep) FILE *file = mount ? fopen("/proc/self/mountinfo", "re") : NULL;
	_cleanup_(freep) char *line = NULL;
	size_t room = 0;

	while (file && getline(&line, &room, file) > 0) {
		const char *end = strstr(line, " - ");
		char type[32];
		uint64_t id;

		if (sscanf(line, "%" SCNu64, &id) == 1 && id == mount)
			return end && sscanf(end, " - %31s", type) == 1 && type_is_trusted(type);
	}
	return false;
}
