/* SPDX-License-Identifier: MIT */
/*
 * blob_reply - a stored file as an answer: damaged bytes are not handed out as if they were right
 *
 * The whole file is verified against its digest: a small one before anything is sent (500 when it
 * is damaged), a large one on the way, the last piece being held back until the sum is right (else
 * the connection is cut). A part of a file cannot be verified and is sent as it is; amlctl verifies
 * what it downloads against the digest of the list.
 */
#pragma once

#include "api/api_internal.h"

struct blob_reply {
	const struct artifact *artifact;
	const char *content_type;
	uint64_t offset, size; /* of the part; the whole is offset 0 and the artifact's size */
	unsigned status;       /* 200, or 206 */
	char *const *headers;  /* strv; NULL: none */
};

void blob_reply_send(struct call *call, const struct blob_reply *reply);
