/* SPDX-License-Identifier: MIT */
/*
 * mount_trust - can whoever reads a descriptor be made to wait for ever by the user who opened it?
 *
 * A file on a user's FUSE mount is answered by a process of his, or not: who reads or closes it then
 * waits, and no signal ends that. On others (NFS, XFS, overlayfs) a read takes a lock that a user can
 * hold while his own FUSE server lets him wait. So only some types of file systems are trusted, and
 * nothing here asks a file system: what the kernel knows by itself is enough.
 *
 * Threads: any. Errors: negative errno.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "capture/file_stamp.h"

/* What fd is (stamp.mode), and the mount that it is on (0: not known). -EACCES: its file system tells
 * nobody but its user. */
int mount_look(int fd, struct file_stamp *ret, uint64_t *ret_mount);

/* By its line in /proc/self/mountinfo: a mount of another namespace has none there. */
bool mount_is_trusted(uint64_t mount);
