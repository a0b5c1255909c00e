/* SPDX-License-Identifier: MIT */
/*
 * list_reply - an array of the API, made in pieces
 *
 * How long an array is nobody knows before: whoever asks for a long one is not to keep the loop from
 * the others, nor to have it in memory while he reads slowly. So at most a piece of it is made at a
 * time, when the one before has been sent. What fits into one piece is an answer like any other, with
 * its length; more goes in chunks. A source that fails is an error answer as long as nothing has been
 * sent; later the connection is cut.
 *
 * A source reads what it needs for the next items and leaves nothing open in between: no statement of
 * history's. It may use its call until it is closed.
 *
 * Threads: the loop's.
 */
#pragma once

#include "api/api_internal.h"

struct list_source {
	/* 1: *ret is the next item, taken over; 0: that was all; else a negative errno. */
	int (*next)(void *list, struct json **ret);
	void (*close)(void *list); /* the last call */
};

/* Answers the call. list: the source's object, taken over. */
void list_reply(struct call *call, const struct list_source *source, void *list);
