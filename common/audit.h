/* SPDX-License-Identifier: MIT */
/*
 * audit - one line for everything that a user has done, or was refused
 *
 * On the log, at the level "notice", whatever log_level is set:
 *
 *	audit: action=submit user=ana uid=1001 pid=12 run=exp_1700000000_0a1b2c3d result=ok
 *	audit: action=cancel user=bob uid=1002 pid=14 run=exp_1700000000_0a1b2c3d result=denied
 *		reason="the run is ana's"                              (in one line)
 *	audit: action=drain user=root uid=0 pid=15 result=ok reason="new cards at noon"
 *
 * A value is bare while it is letters, digits and "_-.@+:/%"; else it is in double quotes, with \"
 * and \\, \n, \t and \xHH for whatever would end the line, steer a terminal, or is not UTF-8: no
 * name and no reason can forge a line. A reason is always quoted. What is not known is left out.
 *
 * In the journal the entry has AMLAGENT_AUDIT=1, AMLAGENT_ACTION, AMLAGENT_USER, AMLAGENT_UID,
 * AMLAGENT_PID, AMLAGENT_RUN_ID, AMLAGENT_RESULT and AMLAGENT_REASON, as they are:
 *
 *	journalctl AMLAGENT_AUDIT=1 AMLAGENT_USER=ana
 *
 * Threads: any. Never fails; blocks as long as writing to stderr does.
 */
#pragma once

#include <sys/types.h>

#include "common/strbuf.h"

#define AUDIT_OK "ok"
#define AUDIT_DENIED "denied" /* not allowed */
#define AUDIT_ERROR "error"   /* allowed, and it did not work */

struct audit_event {
	const char *action; /* submit, cancel, delete, hold, release, drain, resume, share, ... */
	const char *user;   /* NULL: no such user */
	uid_t uid;
	pid_t pid;          /* of the client; 0: not known */
	const char *run_id; /* NULL: about none */
	const char *result; /* AUDIT_... */
	const char *reason; /* of what was not done; or as the user gave it; NULL: none */
};

void audit(const struct audit_event *event);
/* The line; pure. */
void audit_format(const struct audit_event *event, struct strbuf *ret);
