/* SPDX-License-Identifier: MIT */
/*
 * paths - where the socket, the state and the configuration are
 *
 * The same answers for amlagentd and amlctl, so that they meet. Per user:
 *
 *	socket   $XDG_RUNTIME_DIR/amlagent/amlagentd.sock, else /tmp/amlagent-$UID/amlagentd.sock
 *	state    $XDG_STATE_HOME/amlagent, else ~/.local/state/amlagent
 *	config   $XDG_CONFIG_HOME/amlagent/amlagentd.conf, else ~/.config/amlagent/amlagentd.conf
 *
 * With a state folder given (--state-dir) and no socket, the socket is DIR/amlagentd.sock: daemons
 * of two state folders never meet. All results are malloc'ed.
 */
#pragma once

#include "common/error.h"

#define PATHS_SYSTEM_SOCKET "/run/amlagent/amlagentd.sock"
#define PATHS_SYSTEM_STATE "/var/lib/amlagent"
#define PATHS_SYSTEM_CONFIG "/etc/amlagent/amlagentd.conf"
#define PATHS_SOCKET_NAME "amlagentd.sock"

char *paths_user_socket(void);
char *paths_user_state(void);
char *paths_user_config(void);
char *paths_state_socket(const char *state_dir);

/*
 * Make the folder of a socket, 0700, when it is not there; refuse one that another user could have
 * made or can write to. -EPERM with err set.
 */
int paths_prepare_socket_dir(const char *socket_path, struct error *err);

/* A program of ours: beside this one, in ../libexec/amlagent, or where it was installed. NULL: not
 * found. */
char *paths_program(const char *name);
/* A file of ours that is read: in the sources beside the build folder, or where it was installed.
 */
char *paths_data(const char *name);

/*
 * Bind or connect a Unix stream socket at a path of any length (sockaddr_un takes 107 bytes): by
 * way of a descriptor of its folder. Returns a close-on-exec descriptor or a negative errno.
 */
int unix_socket_connect(const char *path);
/* Replaces a socket that nobody listens on; -EADDRINUSE when somebody does, -EEXIST when another
 * kind of file is in the way. */
int unix_socket_listen(const char *path, unsigned mode);
