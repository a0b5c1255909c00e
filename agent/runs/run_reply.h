/* SPDX-License-Identifier: MIT */
/*
 * run_reply - a call about a run that is answered later (private to the run_*.c files)
 *
 * Ends with reply_send(): the record as it is then, or the error; or with reply_fail(), or with
 * reply_free() by one who has told himself. The manager is not freed before that.
 */
#pragma once

#include "runs/run_manager.h"
#include "runs/user_work.h"

struct reply {
	struct run_manager *manager;
	char *run_id;
	run_manager_done done;
	void *data;
	/* cancel */
	struct run_waiter waiter; /* until it is over */
	char *canceled_by;
	enum run_state before; /* the state that history was told of */
	/* patch */
	struct pairs tags;
	char *display_name;
	bool has_shared, shared;
	char *held_by;         /* hold, release: who is to hold it; NULL: nobody */
	struct user_work work; /* delete: the folder */
	uid_t owner;           /* likewise */
	char *dir;
	int marked, removed;      /* likewise: 0, or a negative errno */
	bool complained;          /* likewise: the log knows that it cannot be removed */
	TAILQ_ENTRY(reply) entry; /* run_manager::unremoved */
};

struct reply *reply_new(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data);
void reply_free(struct reply *reply);
void reply_fail(struct reply *reply, const struct error *err);
/* result negative: it could not be read or written. */
void reply_send(struct reply *reply, int result);

/* -ENOENT: there is none; another: the history's fault. Returns r. */
int no_such_run(const char *run_id, int r, struct error *err);
/* It is in no table: told at once that it has ended, or that there is none (yet). */
void reply_of_ended(
	struct run_manager *manager, const char *run_id, run_manager_done done, void *data);
