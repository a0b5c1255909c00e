/* SPDX-License-Identifier: MIT */
/*
 * reload - SIGHUP: the configuration is read again, and put in force if it is right
 *
 * It is read on a work thread: the name service, which knows the groups, may take its time. A file
 * that is wrong changes nothing. A signal that comes meanwhile is answered with one more reading.
 *
 * Threads: the loop's.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "settings.h"

struct reload;

struct reload_options {
	uv_loop_t *loop;
	const char *path; /* kept */
	bool must_exist;
	void (*began)(void *data);
	/* settings NULL: refused, err says why. */
	void (*done)(void *data, const struct settings *settings, const struct error *err);
	void *data;
};

int reload_new(const struct reload_options *options, struct reload **ret);
/* `done` is not called any more; freed by the loop. NULL is fine. */
void reload_free(struct reload *reload);
