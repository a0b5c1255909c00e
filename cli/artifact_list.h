/* SPDX-License-Identifier: MIT */
/*
 * artifact_list - the artifacts of a run as the daemon lists them, with the bytes of their names
 *
 * The list's `path` is made for reading; the name as it is comes from `href`, percent-decoded.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cli/client.h"

struct listed_artifact {
	char *name;         /* bytes, relative */
	const char *href;   /* where to read it; belongs to the JSON */
	const char *digest; /* "sha256:..."; NULL while the run goes on */
	int64_t size;
	int64_t modified_us;
};

struct artifact_list {
	struct json *json;
	struct listed_artifact *items;
	size_t count;
	size_t room;
};

int artifact_list_get(
	struct client *client, const char *run, struct artifact_list *ret, struct error *err);
void artifact_list_release(struct artifact_list *list);
