/* SPDX-License-Identifier: MIT */
/*
 * user_files - a folder of a user's, looked at by a process that is that user
 *
 * amlagent-user-helper (mode "files") walks, opens and lists on our behalf and hands descriptors over;
 * whoever calls keeps the bytes. Nothing is done with other rights than the user's, and all that comes
 * back is only what this user says: descriptors are proved to be of regular files that he cannot make
 * us hang on, open for reading alone (who sends others is served no more: -EPERM), texts are parsed
 * strictly. A process that says nothing for USER_FILES_TIMEOUT_MS (a file
 * system that hangs) is killed, and all that follows is -ETIMEDOUT.
 *
 * Threads: any, several at a time; one request is under way at a time. Blocks.
 * Errors: negative errno: the user's own (-EACCES, -ENOENT...), -ENOPKG (the helper is not installed),
 * -ETIMEDOUT, -EPERM, -EPROTO (what it says makes no sense, or it has gone). Who frees: user_files_close().
 */
#pragma once

#include <stdint.h>

#include "capture/collect_list.h"
#include "capture/file_stamp.h"
#include "capture/walk.h"
#include "common/identity.h"

#define USER_FILES_TIMEOUT_MS 30000

struct user_files;

/* path: what all others are below. ret_real: its real path; malloc'ed. */
int user_files_open(const struct identity *as, const char *path, struct user_files **ret,
	uint64_t *ret_device, uint64_t *ret_inode, char **ret_real);
void user_files_close(struct user_files *files);
DEFINE_CLEANUP(struct user_files *, user_files_close);

/* What is on the mount of dirfd, a folder of ours, is handed over as it is. */
void user_files_set_mount(struct user_files *files, int dirfd);

/* Its type and permissions, links followed. */
int user_files_look(struct user_files *files, const char *path, mode_t *ret);
int user_files_walk(struct user_files *files, const struct walk_options *options, struct walk *ret,
	struct error *err);
/* A descriptor of a regular file, without following a link, that can be read to its end. Where its
 * mount is trusted (mount_trust.h) it is the file itself; else a pipe, which does not block, and the
 * stamp is what the user says: read it with the size and the time in mind. */
int user_files_open_file(struct user_files *files, const char *path, struct file_stamp *ret);
/* The same, again: of fd, which was opened by path. */
int user_files_stamp(struct user_files *files, int fd, const char *path, struct file_stamp *ret);
/* What a run left in its folders; collect_list.h. The root is its work/. */
int user_files_list(
	struct user_files *files, bool live, struct collect_list *ret, struct error *err);

/* In the helper, as the user already: serve the socket that is stdin until it is closed. */
int user_files_main(void);
