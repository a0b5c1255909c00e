/* SPDX-License-Identifier: MIT */
/*
 * service - what the service manager is told: ready, alive, how it goes, ending
 *
 * Alive is said from the loop: when the loop hangs, nobody says it, and the manager ends the daemon
 * and starts another; no run notices. What "systemctl status" shows ("3 runs running, 5 queued") is
 * told when it has changed, once a second at most. Nothing of it costs anything where nobody
 * listens.
 *
 * Threads: the loop's.
 */
#pragma once

#include <uv.h>

#include "common/notify.h"

struct run_manager;
struct service;

/* From now on it is said to be alive; not yet ready. */
struct service *service_new(uv_loop_t *loop, struct run_manager *runs, const struct notify *notify);
/* Before the runs go; its handles are closed by the loop. NULL is fine. */
void service_free(struct service *service);

void service_ready(struct service *service);
void service_reloading(struct service *service);
/* Said beside how it goes, until it is NULL. */
void service_set_trouble(struct service *service, const char *trouble);
void service_stopping(struct service *service);
