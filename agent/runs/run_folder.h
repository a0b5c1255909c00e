/* SPDX-License-Identifier: MIT */
/*
 * run_folder - what a run directory says, as the daemon reads it (common/run_dir.h has the contract)
 *
 * Nothing here changes anything. Errors: negative errno. Threads: any; short reads.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/run_dir.h"
#include "runs/executor.h"

/*
 * The questions of run_dir.h, in their order. ret_exit is filled in with EXECUTOR_ENDED. In doubt
 * (no descriptor left, an error of the disk) it lives: nothing is declared dead because it could not
 * be looked at. -EPROTONOSUPPORT: what is there was written by a newer version.
 */
int run_folder_ask(int dirfd, enum executor_found *ret, struct run_exit *ret_exit);

/* The same when the supervisor is known to have ended: who holds the lock now is none. */
int run_folder_ask_ended(int dirfd, enum executor_found *ret, struct run_exit *ret_exit);

/* Does a supervisor hold the lock? When in doubt it does. */
bool run_folder_is_locked(int dirfd);

/* run_status_release() it. */
int run_folder_status(int dirfd, struct run_status *ret);

/*
 * Of one that is lost: what can be read of an `exit` that tells no verdict, made one line; malloc'ed, ""
 * when that is nothing. NULL: there is no such file. Under its name or, once it has been put aside
 * for a look, RUN_DIR_EXIT_DAMAGED.
 */
char *run_folder_damaged_exit(int dirfd);

/* When it gave its last sign, UTC; 0: there is none. */
int64_t run_folder_last_sign_us(int dirfd);

/* The last thing that the supervisor said, in one line. malloc'ed; NULL: nothing. */
char *run_folder_last_words(int dirfd);
