/* SPDX-License-Identifier: MIT */
/*
 * user_files_wire - what amlagent-user-helper and the daemon say to each other over its stdin
 *
 *	request   struct user_files_request, then `size` bytes
 *	reply     struct user_files_reply, then `size` bytes; a descriptor goes along with the first
 *
 * One reply for each request, in their order. Both sides are of one build on one machine: numbers are
 * the machine's. The daemon believes no byte of a reply (user_files.h).
 */
#pragma once

#include <stdint.h>

enum user_files_op {
	USER_FILES_ROOT, /* a path: the root from now on. Reply: user_files_root, the real path */
	USER_FILES_LOOK, /* a path below the root, links followed. Reply: uint32_t st_mode */
	USER_FILES_WALK, /* struct user_files_walk. Reply: walk_text; or an error as below */
	USER_FILES_OPEN, /* user_files_open, a path: a regular file, no link on the way. Reply: file_stamp, and
			  * its descriptor, or a pipe that its bytes come out of */
	USER_FILES_STAMP, /* a path, no link on the way. Reply: file_stamp of what is there now */
	USER_FILES_LIST, /* struct user_files_list: the run's outputs. Reply: outputs_text; or an error */
	USER_FILES_OP_COUNT,
};

/* The error of a WALK or a LIST: target, NUL, message, NUL. */

#define USER_FILES_PATH_MAX 65536u

struct user_files_request {
	uint32_t op;
	uint32_t size;
};

struct user_files_reply {
	int32_t error; /* 0, or a negative errno */
	uint32_t size;
};

struct user_files_root {
	uint64_t device, inode;
};

/* The descriptor itself is of use only where the file's mount is trusted (mount_trust.h), or this one;
 * 0: none. */
struct user_files_open {
	uint64_t mount;
};

struct user_files_walk {
	uint64_t entries_max;
	uint64_t skip_device, skip_inode;
};

struct user_files_list {
	uint32_t live; /* logs/ and user_logs/ alone, and nothing is made readable */
};
