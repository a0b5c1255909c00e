/* SPDX-License-Identifier: MIT */
/*
 * after - the runs that a run is to follow: `--after [afterok:|afterany:]RUN,...`
 *
 * Pure. A RUN is what the daemon resolves: an id, a unique beginning of one, or `latest`.
 */
#pragma once

#include "common/error.h"
#include "common/json.h"

/* The key "after" of a request, from what was given; nothing when nothing was. -EINVAL with target
 * "usage". */
int after_set(struct json *body, char *const *given, struct error *err);
